"""An edge with very many ended runs: how soon it is back, how fast its projection is made anew."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec import Raw

from chaos.figures.lines import Line, note, p, under
from headway import bus
from headway.client import Client
from headway.config import Settings
from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.api import Info
from headway.wire.enqueue import EnqueueItem
from headway.wire.rpc import Beat
from headway_engine.happenings import Finished
from headway_engine.store.edge import EdgeStore
from headway_ops.bench import procs
from headway_ops.bench.stack import TASKS_FILE, copy_tasks
from headway_ops.check import examine
from headway_ops.local.ports import free_port
from headway_ops.local.stack import Plan, Stack
from headway_ops.local.state import StateDir
from support.factories import NS, a_checkpoint, a_deployment, an_agent, an_enqueue
from support.servers import open_folder, settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    Say = Callable[[str], None]

AT_ONCE = 500
QUEUE, AGENT = "archive", "archivist"
LEASE = 15.0
EVENTS_A_SECOND = 20_000.0
MEANWHILE = 0.5
"""Seconds that all but one in a hundred runs may take while the projection is made anew."""
PACE = 0.1
"""Seconds between two runs that are asked for while the projection is made anew."""
FILLS = 600.0
"""Seconds after which the projection must be full."""
_FULL = re.compile(r"the projection is full: messages=(\d+) seconds=([\d.]+)")


async def ended(url: str, folder: Path, count: int, say: Say) -> int:
    """Put so many runs through their whole life; the number of their events."""
    nc = await bus.connect(settings_for(url), kind="engine", ident="archive")
    store = EdgeStore(nc, folder, "archive")
    try:
        await store.open()
        await store.deploy(NS, a_deployment("archive", task="archived", queue=QUEUE))
        agent = an_agent(AGENT, queues=(QUEUE,), slots=AT_ONCE)
        session, _, _ = await store.register(NS, agent, LEASE)
        for done in range(0, count, AT_ONCE):
            await store.beat(NS, Beat(AGENT, session, ""), LEASE)
            now = await store.now()
            new = [
                an_enqueue({"n": k}, task="archived", queue=QUEUE, created_at=now)
                for k in range(done, done + AT_ONCE)
            ]
            await store.enqueue(NS, new, {})
            given = await store.dispatch(NS, QUEUE, AT_ONCE, 0)
            assert given is not None
            ids = [run for run, _ in given.runs]
            claimed = (await store.claim(NS, AGENT, session, "n", ids, None)).claimed
            await store.save([a_checkpoint(c.run, 1, {"text": "x" * 200}) for c in claimed])
            out = await store.commit([(c.run.id, Finished(c.run.epoch)) for c in claimed])
            assert {o.outcome for o in out} == {"ok"}, out[0]
            if done % 10_000 == 0:
                say(f"{done:,} of {count:,} runs have ended")
        ((events,),) = store.db.execute("SELECT count(*) FROM events")
        return events
    finally:
        await store.close()
        await nc.close()


@asynccontextmanager
async def stack_in(folder: Path) -> AsyncGenerator[Stack]:
    """An edge with the bench's tasks."""
    state = StateDir(folder / "state", "edge")
    state.open()
    stack = Stack(state, Plan(port=free_port(), edge=True), lambda _: None)
    try:
        await stack.start()
        await stack.ready()
        file = copy_tasks(folder / "tasks")
        assert file.name == TASKS_FILE
        await stack.register(await examine([str(file)], file.parent), "v1")
        yield stack
    finally:
        await stack.stop()


async def answers(stack: Stack, since: float) -> float:
    """Seconds from then until the engine can commit."""
    while True:
        try:
            async with asyncio.timeout(0.5):
                info = await stack.client.api("info", None, Info)
            if info.store_ok:
                return time.monotonic() - since
        except (HeadwayError, TimeoutError):
            pass
        await asyncio.sleep(0.02)


async def _again(stack: Stack, *, killed: bool) -> float:
    """Seconds from the start of the engine's process until it can commit."""
    if killed:
        stack.engine.kill()
    else:
        await stack.engine.stop()
    since = time.monotonic()
    await stack.engine.start()
    return await answers(stack, since)


async def _working(stack: Stack, full: asyncio.Event) -> list[float]:
    """Runs, one after the other: seconds from each enqueue to its result."""
    took: list[float] = []
    async with await Client.open(Settings(nats_url=stack.nats.url)) as client:
        while not full.is_set():
            begun = time.monotonic()
            item = EnqueueItem(new_run_id(), "bench-first-line-shared", Raw(encode({})))
            (run,) = await client.submit([item])
            await run.result(60)
            took.append(time.monotonic() - begun)
            await asyncio.sleep(PACE)
    return took


def _filled(log: Path, after: int) -> list[str]:
    """(messages, seconds) of the last word that it is full; empty = not yet."""
    found = _FULL.findall(log.read_text(errors="replace"), after)
    return list(found[-1]) if found else []


async def _rebuild(stack: Stack, events: int) -> list[Line]:
    log = stack.state.path / "logs" / "engine.log"
    await stack.engine.stop()
    shutil.rmtree(stack.state.path / "edge")
    stack.state.folder("edge")
    before = len(log.read_text(errors="replace"))
    since = time.monotonic()
    await stack.engine.start()
    ready = await answers(stack, since)
    pid = stack.engine.pid
    filler = procs.Part("filler", pid, itself=False, descendants=True)
    meter = procs.Meter([procs.Part("engine", pid), filler])
    full = asyncio.Event()
    working = asyncio.create_task(_working(stack, full))
    said = await until(lambda: _filled(log, before), FILLS, what="the projection is full")
    spent = meter.spent()
    full.set()
    took = await working
    rate = events / float(said[1])
    shown = f"{rate:,.0f}/s"
    return [
        under("... with the projection deleted", 3.0, ready),
        Line(
            "projection made anew, events, while working",
            f">= {EVENTS_A_SECOND:,.0f}/s",
            shown,
            ok=rate >= EVENTS_A_SECOND,
        ),
        note(f"{int(said[0]):,} messages, {events:,} events", f"{said[1]} s"),
        note(
            "CPU of the process that makes it, of the engine",
            f"{spent['filler']:.1f} s, {spent['engine']:.1f} s",
        ),
        under(f"a run meanwhile ({len(took)}), p99", MEANWHILE, p(took, 99)),
        note("p50", f"{statistics.median(took) * 1000:.0f} ms"),
        note("slowest", f"{p(took, 100) * 1000:.0f} ms"),
    ]


async def archive(count: int, say: Say) -> list[Line]:
    """So many ended runs: restart, kill, and the projection made anew."""
    with open_folder("figures") as folder:
        async with stack_in(folder) as stack:
            events = await ended(stack.nats.url, folder / "filler", count, say)
            say("the engine is started again")
            lines = [
                under(f"{count:,} ended runs: restart to ready", 3.0,
                      await _again(stack, killed=False)),
                under("... after kill -9", 3.0, await _again(stack, killed=True)),
            ]  # fmt: skip
            say("the projection is made anew")
            return lines + await _rebuild(stack, events)
