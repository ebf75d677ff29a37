"""The tasks that the bench runs. This file is copied into the stack's task folder and mounted.

It imports the SDK and the standard library alone, since a task's container holds nothing else.
Times are `time.time_ns()`: client, servers and tasks share one machine and so one clock.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import dataclass, field

from headway import checkpoint, resume, step, task


@dataclass
class Saved:
    """What a run of saves measured of itself."""

    seconds: list[float]
    """Of each save, around its await."""
    begun_ns: int
    ended_ns: int


@dataclass
class Recovered:
    """What a run that was killed tells: the last attempt speaks."""

    begun_ns: int
    """First line of the last attempt."""
    resumed_ns: int
    """`resume` has given its state back."""
    resumed_at: int
    """The number of the step at which it went on."""
    ran: list[int]
    """Steps whose function ran in the last attempt."""


@dataclass
class Place:
    """Where the recovery task is."""

    at: int = 0
    notes: list[str] = field(default_factory=list[str])


def _body(size: int) -> str:
    return os.urandom((size + 1) // 2).hex()[:size]


async def _nothing(body: str) -> str:
    return body


async def _save(count: int, size: int, kind: str) -> Saved:
    body = _body(size)
    seconds: list[float] = []
    begun = time.time_ns()
    for i in range(count):
        if kind == "step":
            before = time.perf_counter()
            await step(f"s{i}", _nothing, body)
        else:
            state = {"i": i, "body": body}
            before = time.perf_counter()
            await checkpoint(f"c{i}", state)
        seconds.append(time.perf_counter() - before)
    return Saved(seconds, begun, time.time_ns())


@task(timeout="5m")
async def bench_saves(count: int, size: int, kind: str, settle: float) -> Saved:
    """Checkpoints or steps of `size` bytes one at a time, in a container of its own."""
    await asyncio.sleep(settle)
    return await _save(count, size, kind)


@task(timeout="5m", isolation="shared")
async def bench_saves_shared(count: int, size: int, begin_ns: int) -> Saved:
    """Checkpoints of `size` bytes; all runs begin at the same instant."""
    await asyncio.sleep(max(0.0, (begin_ns - time.time_ns()) / 1e9))
    return await _save(count, size, "checkpoint")


@task
async def bench_first_line() -> int:
    """When its first line ran."""
    return time.time_ns()


@task(isolation="shared")
async def bench_first_line_shared() -> int:
    """The same in a live worker."""
    return time.time_ns()


@task(isolation="shared")
async def bench_nothing() -> None:
    """A no-op."""


@task(queue="parked", isolation="shared")
async def bench_parked(number: int) -> None:
    """Never runs: no agent serves its queue, so that enqueueing alone is measured."""


async def _ran(ran: list[int], i: int, pause: float) -> int:
    ran.append(i)
    await asyncio.sleep(pause)
    return i


@task(timeout="5m")
async def bench_recovery(steps: int, pause: float) -> Recovered:
    """A checkpoint and a short step in turn, until it is killed; then it goes on.

    The checkpoints' names say where it runs: whoever is to kill it finds it by them.
    """
    begun = time.time_ns()
    place = await resume(Place())
    resumed, at, ran = time.time_ns(), place.at, list[int]()
    where = f"{socket.gethostname()} {os.getpid()}"
    while place.at < steps:
        await checkpoint(where, place)
        await step(f"s{place.at}", _ran, ran, place.at, pause)
        place.at += 1
    return Recovered(begun, resumed, at, ran)
