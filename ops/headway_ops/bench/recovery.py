"""The line recovery: kill -9 of the running container or process, and how soon it goes on."""

from __future__ import annotations

import os
import signal
import statistics
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from headway_ops.bench import tasks
from headway_ops.bench.raw import docker_run, process_start
from headway_ops.bench.report import Measured, path_stages
from headway_ops.bench.stats import spread

if TYPE_CHECKING:
    from datetime import datetime

    from headway.client import RunHandle
    from headway.wire.events import Event
    from headway_ops.bench.rig import Rig

KILLS = 9
STEPS, PAUSE = 24, 0.02
AT_CHECKPOINT = 6
"""The kill comes when this checkpoint is seen."""


class Kill(Struct):
    """One kill. Times in milliseconds from it."""

    lost: float
    """The store has committed that the attempt is lost."""
    claimed: float
    begun: float
    resumed: float
    """User code has its state back."""
    twice: int
    """Steps that both attempts may have run, at most."""


def _ms(at: datetime, since_ns: int) -> float:
    return (int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000 - since_ns) / 1e6


async def _where(run: RunHandle[tasks.Recovered]) -> str:
    """Where the first attempt runs, by its own word, as soon as it has saved often enough."""
    async for event in run.events():
        if event.kind == "checkpoint" and int(event.data.get("number", 0)) >= AT_CHECKPOINT:
            return str(event.data.get("name", ""))
    raise RuntimeError(f"run {run.id} ended before it could be killed")


def measured_kill(killed_ns: int, answer: tasks.Recovered, story: list[Event]) -> Kill:
    """What the events and the last attempt's answer say of one kill. Pure.

    A step that the first attempt began has its checkpoint before it, so those that ran twice are
    at most the steps of the last attempt up to the first attempt's last checkpoint.
    """
    first = min(e.epoch for e in story if e.kind == "starting")
    saved = sum(e.kind == "checkpoint" and e.epoch == first for e in story)
    lost = next(e for e in story if e.kind in ("lost", "retrying"))
    claim = next(e for e in story if e.kind == "starting" and e.epoch > first)
    return Kill(
        lost=_ms(lost.at, killed_ns),
        claimed=_ms(claim.at, killed_ns),
        begun=(answer.begun_ns - killed_ns) / 1e6,
        resumed=(answer.resumed_ns - killed_ns) / 1e6,
        twice=sum(step < saved for step in answer.ran),
    )


async def _kill(rig: Rig) -> Kill:
    run = await tasks.bench_recovery.enqueue(steps=STEPS, pause=PAUSE)
    host, pid_there = (await _where(run)).split()
    pid = await rig.stack.pid_of(host, int(pid_there))
    killed = time.time_ns()
    os.kill(pid, signal.SIGKILL)
    answer = await run.result()
    return measured_kill(killed, answer, await rig.events(run.id))


async def recovery(rig: Rig) -> dict[str, Measured]:
    """The task's own process gets SIGKILL while it runs; measured until `resume` has answered."""
    kills = list[Kill]()
    for number in range(KILLS):
        if number % 3 == 0:
            rig.say(f"recovery: kills {number + 1} to {min(number + 3, KILLS)} of {KILLS}")
        kills.append(await _kill(rig))
    spawn = await process_start()
    raw_of = "starting a Python process until its end"
    if rig.stack.runtime == "docker":
        docker = await docker_run(rig.stack.image)
        spawn, raw_of = (docker, "`docker run` of the same image") if docker else (spawn, raw_of)
    back = spread([k.resumed / 1e3 for k in kills])
    path = path_stages(
        [
            ("kill", [0.0 for _ in kills]),
            ("to the loss committed", [k.lost for k in kills]),
            ("to the next claim's commit", [k.claimed for k in kills]),
            ("to the first line", [k.begun for k in kills]),
            ("to the state given back", [k.resumed for k in kills]),
        ]
    )
    measured = Measured(
        p50=back.p50,
        p99=back.p99,
        raw=spawn / 1e3,
        raw_of=raw_of,
        ratio=back.p50 * 1e3 / spawn,
        detail={
            "steps_twice": max(k.twice for k in kills),
            "steps_twice_median": statistics.median(k.twice for k in kills),
            "kills": len(kills),
            "isolation": "run",
        },
        stages=path,
    )
    return {"recovery": measured}
