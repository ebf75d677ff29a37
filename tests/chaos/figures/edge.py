"""What an edge costs at rest and at its start, and what a checkpoint costs that it fsyncs."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Raw

from chaos.figures.lines import Line, note, p, under
from headway import bus
from headway.client import Client
from headway.config import Settings
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.enqueue import EnqueueItem
from headway_engine.happenings import Finished
from headway_engine.store.edge import EdgeStore
from headway_ops.bench import procs
from headway_ops.bench.first import up_once
from headway_ops.bench.stack import TASKS_FILE, copy_tasks
from support.factories import NS, a_checkpoint, a_deployment, an_agent, an_enqueue
from support.servers import open_folder, settings_for
from support.up import Up, start

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]

STARTS = 5
SETTLE, WATCHED = 10.0, 60.0
"""Seconds before and during the look at an idle edge."""
SAVES, ROUNDS = 300, 3
RATIO = 2.5
CUTS = "tests/chaos/test_power_cuts_edge.py"
ROOT = Path(__file__).parents[3]
_MB = 1024 * 1024


async def first_result(say: Say) -> list[Line]:
    """From the command, in an empty folder, until its caller, another process, has a result."""
    took: list[float] = []
    for number in range(STARTS):
        with open_folder("figures") as folder:
            copy_tasks(folder / "tasks")
            took.append((await up_once(folder, "process", "--edge")).result)
        say(f"start {number + 1} of {STARTS}: {took[-1]:.2f} s")
    return [
        under(f"up --edge to the first result ({STARTS}), p50", 2.0, statistics.median(took)),
        note("slowest", f"{max(took):.2f} s"),
    ]


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def idle(say: Say) -> list[Line]:
    """Memory and CPU of an edge that has nothing to do, without the command that started it."""
    with open_folder("figures") as folder:
        up = await asyncio.to_thread(start, folder, "--edge")
        try:
            parts = [procs.Part(name, pid) for name, pid in up.facts["pids"].items()]
            say(f"an idle edge for {SETTLE + WATCHED:g} s: {', '.join(x.name for x in parts)}")
            await asyncio.sleep(SETTLE)
            meter = procs.Meter(parts)
            await asyncio.sleep(WATCHED)
            spent = {name: 100 * s / WATCHED for name, s in meter.spent().items()}
            size = {x.name: _resident(x.pid) / _MB for x in parts}
            share = procs.pss(x.pid for x in parts) / _MB
        finally:
            await asyncio.to_thread(up.stop)
    by = ", ".join(f"{name} {mb:.0f}" for name, mb in size.items())
    cpu = ", ".join(f"{name} {percent:.2f}" for name, percent in spent.items())
    return [
        under("idle: memory of nats-server, engine with agent", 120.0, sum(size.values()), "MB"),
        note(f"RSS: {by}; PSS together", f"{share:.0f} MB"),
        under("idle: CPU of a core", 1.0, sum(spent.values()), "%"),
        note(cpu, ""),
    ]


async def _raw(url: str, count: int) -> float:
    """Seconds of a publish of 1 KB, fsynced, to a stream of its own on the same server: p50."""
    nc = await bus.connect(settings_for(url), kind="engine", ident="figures")
    body, took = b"x" * 1024, list[float]()
    clock = asyncio.get_running_loop().time
    config = {"name": "FIGURES", "subjects": ["figures.>"], "storage": "file"}
    try:
        await bus.jsapi(nc, "STREAM.CREATE.FIGURES", config)
        for _ in range(count):
            begun = clock()
            await bus.publish_acked(nc, "figures.raw", body)
            took.append(clock() - begun)
        await bus.jsapi(nc, "STREAM.DELETE.FIGURES")
    finally:
        await nc.close()
    return statistics.median(took)


async def _saved(up: Up, count: int) -> list[float]:
    """Seconds of each save, around the await in the task, the first ones left out."""
    async with await Client.open(Settings(nats_url=up.facts["nats_url"])) as client:
        payload = {"count": count + 10, "size": 1024, "kind": "checkpoint", "settle": 0.6}
        item = EnqueueItem(new_run_id(), "bench-saves", Raw(encode(payload)))
        (run,) = await client.submit([item])
        saved = await run.result(120)
    return [float(s) for s in saved["seconds"][10:]]


async def _stored(url: str, folder: Path, count: int) -> float:
    """Seconds of a save in a store of this process, beside the engine's: the median."""
    nc = await bus.connect(settings_for(url), kind="engine", ident="figures")
    store, took = EdgeStore(nc, folder, "figures"), list[float]()
    clock = asyncio.get_running_loop().time
    try:
        await store.open()
        await store.deploy(NS, a_deployment("figures", task="figures", queue="figures"))
        agent = an_agent("figures", queues=("figures",))
        session, _, _ = await store.register(NS, agent, 15.0)
        new = an_enqueue(task="figures", queue="figures", created_at=await store.now())
        await store.enqueue(NS, [new], {})
        await store.dispatch(NS, "figures", 1, 0)
        (got,) = (await store.claim(NS, "figures", session, "n", [new.run.id], None)).claimed
        state = {"text": "x" * 1000}
        for number in range(1, count + 1):
            save = a_checkpoint(got.run, number, state)
            begun = clock()
            (done,) = await store.save([save])
            took.append(clock() - begun)
            assert done.outcome == "ok", done
        await store.commit([(got.run.id, Finished(got.run.epoch))])
    finally:
        await store.close()
        await nc.close()
    return statistics.median(took)


async def checkpoint(say: Say) -> list[Line]:
    """A checkpoint of 1 KB, from the task to the disk and back, beside a raw publish."""
    took, raws, ratios, stores = list[float](), list[float](), list[float](), list[float]()
    with open_folder("figures") as folder:
        copy_tasks(folder / "tasks")
        up = await asyncio.to_thread(start, folder, "--edge", "--tasks", f"tasks/{TASKS_FILE}")
        try:
            for number in range(ROUNDS):
                raw = await _raw(up.facts["nats_url"], SAVES)
                stored = await _stored(up.facts["nats_url"], folder / f"store{number}", SAVES)
                stores.append(stored / raw)
                saved = await _saved(up, SAVES)
                raws.append(raw)
                took += saved
                ratios.append(statistics.median(saved) / raw)
                say(f"checkpoints, round {number + 1} of {ROUNDS}: {ratios[-1]:.2f} publishes")
        finally:
            await asyncio.to_thread(up.stop)
    ratio, middle = statistics.median(ratios), statistics.median(took) * 1000
    said = f"{ratio:.2f} x"
    return [
        Line("checkpoint 1 KB, p50, in raw publishes", f"<= {RATIO} x", said, ok=ratio <= RATIO),
        note("of that the engine's store", f"{statistics.median(stores):.2f} x"),
        note("a publish, p50", f"{statistics.median(raws) * 1000:.2f} ms"),
        note("a checkpoint, p50 / p99", f"{middle:.2f} / {p(took, 99) * 1000:.2f} ms"),
    ]


async def power_cuts(say: Say) -> list[Line]:
    """The power-cut kit: needs root, to mount the disk that it copies."""
    say("20 power cuts")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "nightly",
        CUTS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT,
        env={**os.environ, "HEADWAY_REQUIRE": "powercut"},
    )  # fmt: skip
    out, _ = await process.communicate()
    ok = process.returncode == 0
    if not ok:
        say(out.decode(errors="replace"))
    said = "0" if ok else "see above"
    return [Line("20 power cuts: acknowledged and lost", "0", said, ok=ok)]
