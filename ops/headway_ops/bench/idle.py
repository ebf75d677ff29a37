"""The lines idle_pss and first_result: what a stack costs at rest, and how fast it is there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from headway_ops.bench import procs
from headway_ops.bench.report import Measured, Stage

if TYPE_CHECKING:
    from headway_ops.bench.rig import Rig

SETTLE, WATCHED = 2.0, 5.0
"""Seconds before and during the look at an idle stack."""
SERVERS = ("nats", "postgres")
_MB = 1024 * 1024


async def idle_pss(rig: Rig) -> dict[str, Measured]:
    """Memory of NATS, Postgres, engine and agent before any task is deployed, so without pool."""
    rig.say(f"idle_pss: an idle stack for {SETTLE + WATCHED:g} s")
    await asyncio.sleep(SETTLE)
    parts = [p for p in rig.stack.parts() if p.name != "client"]
    meter, before = procs.Meter(parts), time.perf_counter()
    await asyncio.sleep(WATCHED)
    spent, took = meter.spent(), time.perf_counter() - before
    times = procs.all_times()
    if not times:
        return {"idle_pss": Measured(error="memory and CPU are read from /proc: Linux only")}
    memory = {p.name: procs.pss(p.pids(times)) / _MB for p in parts}
    total, raw = sum(memory.values()), sum(memory.get(name, 0.0) for name in SERVERS)
    measured = Measured(
        value=total,
        raw=raw,
        raw_of="PSS of nats-server and Postgres alone",
        ratio=total / raw if raw else None,
        detail={"cpu_percent": sum(spent.values()) / took * 100},
        stages=[
            *(Stage(f"PSS: {name}", size, "MB") for name, size in memory.items() if size),
            *(Stage(f"CPU: {n}", s / took * 100, "% of a core") for n, s in spent.items()),
        ],
    )
    return {"idle_pss": measured}
