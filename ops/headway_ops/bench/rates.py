"""The lines throughput, enqueue_single, enqueue_32, enqueue_batch and due_2000."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from headway_ops.bench import tasks
from headway_ops.bench.report import Measured, Stage
from headway_ops.bench.rig import cpu_stages
from headway_ops.bench.single import SingleEnqueues
from headway_ops.bench.stats import rate, ratio_of, spread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_ops.bench.rig import Rig

ROUNDS = 3
BATCHED = 6000
"""No-op runs of one round, enqueued by one batch call."""
SINGLY = 3000
"""No-op runs of one round, one enqueue a message."""
DUE = 2000
NO_ARGUMENTS: dict[str, object] = {}
DUE_AFTER = 4.0
"""Seconds from the enqueue of the delayed runs to the instant at which all are due."""


async def _batched(count: int) -> float:
    before = time.perf_counter()
    runs = await tasks.bench_nothing.batch([NO_ARGUMENTS] * count)
    for run in runs:
        await run.result()
    return rate(count, time.perf_counter() - before)


async def throughput(rig: Rig) -> dict[str, Measured]:
    """No-op runs from the enqueue to the stored result in the caller's hands, live workers."""
    rates, singles, raws = list[float](), list[float](), list[float]()
    spent = list[dict[str, float]]()
    await _batched(500)
    async with SingleEnqueues.open() as one_by_one:
        for number in range(ROUNDS):
            rig.say(f"throughput: round {number + 1} of {ROUNDS}, {BATCHED + SINGLY:,} runs")
            raws.append(await rig.db.rows(300, 64))
            meter = rig.meter()
            rates.append(await _batched(BATCHED))
            spent.append(meter.spent())
            singles.append(await one_by_one.runs("bench-nothing", SINGLY))
        per_message = ROUNDS * SINGLY / one_by_one.messages
    raw, single = statistics.median(raws), statistics.median(singles)
    measured = Measured(
        value=statistics.median(rates),
        raw=raw,
        raw_of="rows of 300 bytes in INSERTs of 64, one connection",
        ratio=ratio_of(rates, raws),
        detail={"single": single, "isolation": "shared", "single_per_message": per_message},
        stages=cpu_stages(spent, [BATCHED] * ROUNDS, "run"),
    )
    return {"throughput": measured}


async def _enqueues(
    rig: Rig,
    name: str,
    count: int,
    once: Callable[[int], Awaitable[float]],
    limit: Callable[[], Awaitable[float]],
    raw_of: str,
) -> dict[str, Measured]:
    rates, raws = list[float](), list[float]()
    spent = list[dict[str, float]]()
    for number in range(ROUNDS):
        rig.say(f"{name}: round {number + 1} of {ROUNDS}, {count:,} enqueues")
        raws.append(await limit())
        meter = rig.meter()
        rates.append(await once(count))
        spent.append(meter.spent())
    measured = Measured(
        value=statistics.median(rates),
        raw=statistics.median(raws),
        raw_of=raw_of,
        ratio=ratio_of(rates, raws),
        stages=cpu_stages(spent, [count] * ROUNDS, "enqueue"),
    )
    return {name: measured}


async def _workers(count: int, in_flight: int) -> float:
    async def worker(first: int) -> None:
        for number in range(first, count, in_flight):
            await tasks.bench_parked.enqueue(number)

    before = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for first in range(in_flight):
            group.create_task(worker(first))
    return rate(count, time.perf_counter() - before)


async def enqueue_single(rig: Rig) -> dict[str, Measured]:
    """One enqueue after the other, each awaited until recorded, into a queue that nobody serves."""

    async def limit() -> float:
        return 1e3 / (await rig.jetstream.publish() + await rig.db.commit(300))

    return await _enqueues(
        rig,
        "enqueue_single",
        500,
        lambda count: _workers(count, 1),
        limit,
        "a fsynced publish and a commit, one after the other",
    )


async def enqueue_32(rig: Rig) -> dict[str, Measured]:
    """32 callers at once, each awaiting *recorded*; what is ready together travels together."""
    return await _enqueues(
        rig,
        "enqueue_32",
        32 * 150,
        lambda count: _workers(count, 32),
        lambda: rig.jetstream.publishes(32),
        "fsynced publishes with 32 in flight",
    )


async def enqueue_batch(rig: Rig) -> dict[str, Measured]:
    """One batch call, awaited until the last run is recorded."""

    async def once(count: int) -> float:
        calls = [{"number": n} for n in range(count)]
        before = time.perf_counter()
        await tasks.bench_parked.batch(calls)
        return rate(count, time.perf_counter() - before)

    return await _enqueues(
        rig,
        "enqueue_batch",
        10_000,
        once,
        lambda: rig.db.rows(300, 500),
        "rows of 300 bytes in INSERTs of 500, one connection",
    )


async def due_2000(rig: Rig) -> dict[str, Measured]:
    """2,000 runs delayed to one instant: how late their first lines run, live workers."""
    rig.say(f"due_2000: {DUE:,} runs due in {DUE_AFTER:g} s")
    raw_rows = await rig.db.rows(300, 64)
    due = datetime.now(UTC) + timedelta(seconds=DUE_AFTER)
    due_ns = int(due.timestamp()) * 1_000_000_000 + due.microsecond * 1000
    runs = await tasks.bench_first_line_shared.options(at=due).batch([NO_ARGUMENTS] * DUE)
    enqueued = (due_ns - time.time_ns()) / 1e9
    meter = rig.meter()
    lateness = [(await run.result() - due_ns) / 1e9 for run in runs]
    spent = meter.spent()
    late = spread(lateness)
    raw = DUE / raw_rows
    ordered = sorted(lateness)
    measured = Measured(
        p50=late.p50,
        p99=late.p99,
        raw=raw,
        raw_of=f"{DUE:,} rows of 300 bytes in INSERTs of 64, one connection",
        ratio=late.p99 / raw,
        detail={
            "early": sum(late_by < 0 for late_by in lateness),
            "first": ordered[0],
            "last": ordered[-1],
            "enqueued_before_due": enqueued,
            "isolation": "shared",
        },
        stages=[
            Stage("the first of them late by", ordered[0] * 1e3, "ms"),
            Stage("from the first to the last", (ordered[-1] - ordered[0]) * 1e3, "ms"),
            *cpu_stages([spent], [DUE], "run"),
        ],
    )
    return {"due_2000": measured}
