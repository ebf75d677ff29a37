"""The lines start_warm and result: from the enqueue to user code, and back to the caller."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from headway_ops.bench import tasks
from headway_ops.bench.raw import after_idle, socket_echo
from headway_ops.bench.report import Measured, Stage, path_stages
from headway_ops.bench.rig import cpu_stages
from headway_ops.bench.stats import middle, ratio_of, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from headway.wire.events import Event
    from headway_ops.bench.rig import Rig

ROUNDS = 3
SAMPLES = 30
RAW_SAMPLES = 12
IDLE = {"process": 0.25, "docker": 0.5}
"""Seconds between two runs, by runtime: the pool has refilled and is idle again."""
SHARED, SHARED_IDLE = 100, 0.01


class Sample(Struct):
    """One run. Times in milliseconds from the moment before the enqueue."""

    run: str
    enqueued_ns: int
    first_line: float
    recorded: float
    result: float


def _ms(at: datetime, since_ns: int) -> float:
    whole = int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000
    return (whole - since_ns) / 1e6


async def _sample(shared: bool) -> Sample:
    task = tasks.bench_first_line_shared if shared else tasks.bench_first_line
    before = time.time_ns()
    run = await task.enqueue()
    recorded = time.time_ns()
    first = await run.result()
    after = time.time_ns()
    return Sample(
        run.id,
        before,
        (first - before) / 1e6,
        (recorded - before) / 1e6,
        (after - before) / 1e6,
    )


async def _round(count: int, idle: float, *, shared: bool) -> list[Sample]:
    samples = list[Sample]()
    for _ in range(count):
        # Idle is the condition that is measured, not something that is waited for.
        await asyncio.sleep(idle)
        samples.append(await _sample(shared))
    return samples


def points(samples: Sequence[Sample], stories: Mapping[str, Sequence[Event]]) -> list[Stage]:
    """Where the time of these runs went, from their events' times and the task's own clock."""
    names = ("queued", "starting", "succeeded")
    kept = [
        (s, {e.kind: _ms(e.at, s.enqueued_ns) for e in stories[s.run]})
        for s in samples
        if s.run in stories
    ]
    kept = [(s, at) for s, at in kept if all(n in at for n in names)]
    return path_stages(
        [
            ("enqueue", [0.0 for _ in kept]),
            ("enqueue to intake's commit", [at["queued"] for _, at in kept]),
            ("to the claim's commit: dispatch, pull", [at["starting"] for _, at in kept]),
            ("to the first line: container, runner", [s.first_line for s, _ in kept]),
            ("to the end's commit", [at["succeeded"] for _, at in kept]),
            ("to the result in hand", [s.result for s, _ in kept]),
        ]
    )


def _cold(story: Sequence[Event]) -> bool:
    return any(e.kind == "started" and bool(e.data.get("cold")) for e in story)


async def latency(rig: Rig) -> dict[str, Measured]:
    """One run at a time on an idle stack with a warm pool, isolation `run`; `shared` as detail."""
    idle = IDLE.get(rig.stack.runtime, 0.5)
    rounds = list[list[Sample]]()
    raws_start, raws_result = list[float](), list[float]()
    await _round(2, idle, shared=False)  # the pool fills
    await _round(SHARED, SHARED_IDLE, shared=True)  # workers, statements, plans
    for number in range(ROUNDS):
        rig.say(f"start_warm, result: round {number + 1} of {ROUNDS}, {SAMPLES} runs")
        async with socket_echo(str(rig.folder)) as echo:
            steps = [rig.jetstream.publisher(), await rig.db.committer(300), echo]
            publish, commit, socket = await after_idle(idle, RAW_SAMPLES, steps)
        raws_start.append(publish + 2 * commit + socket)
        raws_result.append(publish + 3 * commit + 2 * socket)
        rounds.append(await _round(SAMPLES, idle, shared=False))
    meter, before = rig.meter(), await rig.stack.messages()
    shared = await _round(SHARED, SHARED_IDLE, shared=True)
    spent, messages = meter.spent(), await rig.stack.messages() - before
    stories = {s.run: await rig.events(s.run) for one in rounds for s in one}
    cold = {run for run, story in stories.items() if _cold(story)}
    warm = [[s for s in one if s.run not in cold] or one for one in rounds]
    path = points([s for one in warm for s in one], stories)
    # Of the close-packed shared runs: between spaced ones idle work would be counted too.
    cpu = cpu_stages([spent], [SHARED], "shared run")
    cpu.append(Stage("NATS messages per shared run, in and out", messages / SHARED, ""))
    detail = {"isolation": "run", "cold": len(cold)}
    starts = [spread([s.first_line for s in one]) for one in warm]
    ends = [spread([s.result for s in one]) for one in warm]
    recorded = spread([s.recorded for one in warm for s in one])
    start, end = middle(starts), middle(ends)
    shared_start = spread([s.first_line for s in shared])
    shared_end = spread([s.result for s in shared])
    return {
        "start_warm": Measured(
            p50=start.p50,
            p99=start.p99,
            raw=statistics.median(raws_start),
            raw_of="a fsynced publish, two commits, a socket round trip, after the same idle time",
            ratio=ratio_of([s.p50 for s in starts], raws_start),
            detail={
                **detail,
                "shared_p50": shared_start.p50,
                "shared_p99": shared_start.p99,
                "recorded_p50": recorded.p50,
            },
            stages=[*path[:3], *cpu],
        ),
        "result": Measured(
            p50=end.p50,
            p99=end.p99,
            raw=statistics.median(raws_result),
            raw_of="a fsynced publish, three commits, two socket round trips, after idle time",
            ratio=ratio_of([s.p50 for s in ends], raws_result),
            detail={**detail, "shared_p50": shared_end.p50, "shared_p99": shared_end.p99},
            stages=[*path, *cpu],
        ),
    }
