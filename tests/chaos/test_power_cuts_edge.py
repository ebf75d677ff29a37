"""The power goes at the edge: one nats-server that fsyncs is the truth, all of it is still there.

RUNS and the projection lie on one disk, which is copied at a random moment while runs go on. On the
copy a store must have every operation that had been acknowledged by then, and its projection, taken
up where the disk has it, must say what one made anew says.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest

from headway import bus
from headway_engine.happenings import Finished
from headway_engine.store import StoreDown
from headway_engine.store.edge import EdgeStore
from headway_engine.streams import ensure_streams
from headway_ops.local.nats import NatsConfig, NatsServer
from support.disks import running_disk
from support.factories import NS, a_checkpoint, a_deployment, an_agent, an_enqueue
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

CUTS = [pytest.param(2, id="2"), pytest.param(20, id="20", marks=pytest.mark.nightly)]
LEASE = 600.0
TABLES = ("runs", "bodies", "events", "checkpoints", "marks", "keys")


@contextlib.asynccontextmanager
async def store_on(server: NatsServer, folder: Path, name: str) -> AsyncGenerator[EdgeStore]:
    """An engine's store on a server; its projection lies in `folder`."""
    nc = await bus.connect(settings_for(server.url), kind="engine", ident=name)
    store = EdgeStore(nc, folder, name)
    try:
        await ensure_streams(nc, "edge", fsynced=True)
        await store.open()
        yield store
    finally:
        await store.close()
        await nc.close()


@contextlib.asynccontextmanager
async def nats_on(place: Path) -> AsyncGenerator[NatsServer]:
    server = NatsServer(place / "nats", NatsConfig(max_store="100GB"))
    await server.start()
    try:
        yield server
    finally:
        server.kill()


async def living(store: EdgeStore, session: int, k: int, journal: list[tuple[Any, ...]]) -> None:
    """Runs from the enqueue to the end; notes what the store has acknowledged."""
    queue = f"q{k}"
    while True:
        with contextlib.suppress(StoreDown):
            new = an_enqueue(queue=queue, created_at=await store.now())
            await store.enqueue(NS, [new], {queue: (1, 0)})
            journal.append(("run", new.run.id))
            (got,) = (await store.claim(NS, "a1", session, "n", [new.run.id], None)).claimed
            for number in (1, 2):
                save = a_checkpoint(got.run, number)
                (done,) = await store.save([save])
                assert done.outcome == "ok"
                journal.append(("saved", new.run.id, number, save.sha256))
            (end,) = await store.commit([(new.run.id, Finished(got.run.epoch))])
            assert end.outcome == "ok"
            journal.append(("ended", new.run.id))


async def lost(store: EdgeStore, journal: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What was acknowledged and is not there."""
    missing: list[tuple[Any, ...]] = []
    for entry in journal:
        run = await store.get(NS, entry[1])
        match entry:
            case ("saved", run_id, number, sha):
                found = await store.state(NS, run_id, number)
                there = found is not None and found[0].sha256 == sha
            case ("ended", _):
                there = run is not None and run.ended_at is not None
            case _:
                there = run is not None
        if not there:
            missing.append(entry)
    return missing


def rows(store: EdgeStore) -> dict[str, list[Any]]:
    """All that the projection says."""
    return {
        table: sorted(store.db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
        for table in TABLES
    }


@pytest.mark.parametrize("cuts", CUTS)
async def test_what_the_edge_has_acknowledged_survives_a_power_cut(
    cuts: int, tmp_path: Path
) -> None:
    rng = random.Random()
    with running_disk(256) as disk:
        async with (
            nats_on(disk.place) as server,
            store_on(server, disk.place / "edge", "e1") as store,
        ):
            await store.deploy(NS, a_deployment())
            session, _, _ = await store.register(NS, an_agent(), LEASE)
            journal: list[tuple[Any, ...]] = []
            tasks = [asyncio.create_task(living(store, session, k, journal)) for k in range(3)]
            try:
                for cut in range(cuts):
                    before = len(journal)
                    await until(lambda n=before: len(journal) > n + 20)
                    await asyncio.sleep(rng.uniform(0.05, 0.6))
                    async with (
                        disk.cut(server.pid, journal) as (left, acknowledged),
                        nats_on(left) as again,
                        store_on(again, left / "edge", "e1") as after,
                        store_on(again, tmp_path / str(cut), "anew") as anew,
                    ):
                        assert await lost(after, acknowledged[-400:]) == []
                        # Much is read by a process of its own.
                        await until(lambda one=anew: not one.journal.behind)
                        assert rows(after) == rows(anew)
                        assert after.projection.skipped == anew.projection.skipped == 0
                assert not any(task.done() for task in tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
