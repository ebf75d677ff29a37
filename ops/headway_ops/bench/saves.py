"""The lines save_1k, save_1k_64 and save_100k: a checkpoint, acknowledged durable."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from headway_ops.bench import tasks
from headway_ops.bench.raw import socket_round_trip
from headway_ops.bench.report import Measured, Stage
from headway_ops.bench.rig import cpu_stages
from headway_ops.bench.stats import Spread, middle, rate, ratio_of, spread

if TYPE_CHECKING:
    from headway_ops.bench.rig import Rig

ROUNDS = 3
WARM = 10
"""The first saves of a run that are left out: connections and statements get warm."""
SETTLE = 0.6
"""Seconds a run waits before its saves, so that the pool's refill is not measured with them."""
AT_ONCE = 64


async def _round(rig: Rig, count: int, size: int, kind: str) -> tuple[Spread, dict[str, float]]:
    run = await tasks.bench_saves.enqueue(count=count + WARM, size=size, kind=kind, settle=SETTLE)
    meter = rig.meter()
    saved = await run.result()
    return spread([s * 1e3 for s in saved.seconds[WARM:]]), meter.spent()


async def _saves(rig: Rig, name: str, size: int, count: int) -> Measured:
    spreads, spent = list[Spread](), list[dict[str, float]]()
    steps, raws = list[float](), list[float]()
    for number in range(ROUNDS):
        rig.say(f"{name}: round {number + 1} of {ROUNDS}, {count} checkpoints")
        raws.append(await rig.db.commit(size))
        one, used = await _round(rig, count, size, "checkpoint")
        spreads.append(one)
        spent.append(used)
        steps.append((await _round(rig, count // 2, size, "step"))[0].p50)
    whole, raw = middle(spreads), statistics.median(raws)
    socket = await socket_round_trip(str(rig.folder), size=size)
    request = await rig.jetstream.request(size)
    rest = whole.p50 - raw - socket - request
    return Measured(
        p50=whole.p50,
        p99=whole.p99,
        raw=raw,
        raw_of=f"one INSERT of {size:,} bytes committed, the same Postgres",
        ratio=ratio_of([s.p50 for s in spreads], raws),
        detail={"step_p50": statistics.median(steps), "samples": whole.count, "isolation": "run"},
        stages=[
            Stage("raw commit", raw, "ms"),
            Stage("raw NATS request and answer", request, "ms"),
            Stage("raw unix socket round trip", socket, "ms"),
            Stage("the rest: runner, agent, engine, waiting", max(0.0, rest), "ms"),
            *cpu_stages(spent, [count + WARM] * ROUNDS, "save"),
        ],
    )


async def save_1k(rig: Rig) -> dict[str, Measured]:
    """1 KB, one after the other, measured around the await inside the task."""
    return {"save_1k": await _saves(rig, "save_1k", 1024, 300)}


async def save_100k(rig: Rig) -> dict[str, Measured]:
    """100 KB, one after the other."""
    return {"save_100k": await _saves(rig, "save_100k", 100 * 1024, 100)}


async def save_1k_64(rig: Rig) -> dict[str, Measured]:
    """64 runs save at once in live workers: all checkpoints over the time they took together."""
    each, spent = 200, list[dict[str, float]]()
    rates, raws, waits = list[float](), list[float](), list[float]()
    for number in range(ROUNDS):
        rig.say(f"save_1k_64: round {number + 1} of {ROUNDS}, {AT_ONCE * each:,} checkpoints")
        raws.append(await rig.db.rows(1024, AT_ONCE))
        begin = time.time_ns() + 1_500_000_000
        runs = await tasks.bench_saves_shared.batch(
            [{"count": each, "size": 1024, "begin_ns": begin}] * AT_ONCE
        )
        meter = rig.meter()
        saved = [await run.result() for run in runs]
        spent.append(meter.spent())
        begun = min(s.begun_ns for s in saved)
        rates.append(rate(AT_ONCE * each, (max(s.ended_ns for s in saved) - begun) / 1e9))
        waits += [s * 1e3 for one in saved for s in one.seconds]
    each_save = spread(waits)
    raw = statistics.median(raws)
    measured = Measured(
        value=statistics.median(rates),
        raw=raw,
        raw_of=f"rows of 1 KB in INSERTs of {AT_ONCE}, one connection",
        ratio=ratio_of(rates, raws),
        detail={"save_p50_ms": each_save.p50, "save_p99_ms": each_save.p99, "isolation": "shared"},
        stages=[
            Stage("one save, p50", each_save.p50, "ms"),
            *cpu_stages(spent, [AT_ONCE * each] * ROUNDS, "save"),
        ],
    )
    return {"save_1k_64": measured}
