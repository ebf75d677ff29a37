"""The power goes, the disk is full or lies (fault matrix rows 23, 24, 34, 36, 40 and 62).

The servers' files lie on a disk of their own, which is copied at a random moment while they work;
servers started on the copy must have every operation that had been acknowledged by then.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest
from msgspec import Raw

from headway import bus, subjects
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.enqueue import EnqueueBatch, EnqueueItem
from headway_engine.config import Config
from headway_engine.config import NatsConfig as NatsSettings
from headway_engine.config import PostgresConfig as PostgresSettings
from headway_engine.happenings import Finished
from headway_engine.store import StoreDown
from headway_engine.store.postgres import PostgresStore
from headway_engine.streams import ensure_streams
from headway_ops.local.nats import NatsConfig, NatsServer
from headway_ops.local.postgres import PostgresConfig, PostgresServer
from support.disks import fill, running_disk, small_disk
from support.engines import calling, running_engine
from support.factories import NS, a_checkpoint, a_deployment, an_agent, an_enqueue
from support.scripted_agent import finish
from support.servers import open_folder, settings_for
from support.stacks import agent_on
from support.stores import PostgresKit
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

CUTS = [pytest.param(2, id="2"), pytest.param(20, id="20", marks=pytest.mark.nightly)]


async def a_moment(rng: random.Random) -> None:
    """The cut comes at any time."""
    await asyncio.sleep(rng.uniform(0.05, 0.6))


# --- NATS


@contextlib.asynccontextmanager
async def nats_on(place: Path, config: NatsConfig) -> AsyncGenerator[NatsServer]:
    server = NatsServer(place / "nats", config)
    await server.start()
    try:
        yield server
    finally:
        server.kill()


async def enqueueing(nc: bus.Connection, journal: list[str]) -> None:
    """Enqueues without an engine; notes what JetStream has acknowledged."""
    while True:
        run = new_run_id()
        batch = EnqueueBatch([Raw(encode(EnqueueItem(run, "t", Raw(b"{}"))))], "c", "")
        with contextlib.suppress(bus.HeadwayError):
            await bus.publish_acked(nc, subjects.ingest(NS), encode(batch))
            journal.append(run)


async def waiting_in_ingest(server: NatsServer) -> set[str]:
    """The run ids that are there."""
    nc = await bus.connect(settings_for(server.url), kind="engine", ident="after")
    try:
        state = (await bus.jsapi(nc, f"STREAM.INFO.{subjects.INGEST}"))["state"]
        found: set[str] = set()

        async def one(seq: int) -> None:
            got = await bus.jsapi(nc, f"STREAM.MSG.GET.{subjects.INGEST}", {"seq": seq})
            batch = msgspec.json.decode(base64.b64decode(got["message"]["data"]), type=EnqueueBatch)
            found.add(msgspec.json.decode(bytes(batch.items[0]), type=EnqueueItem).run)

        numbers = range(state["first_seq"], state["last_seq"] + 1)
        for i in range(0, len(numbers), 64):
            await asyncio.gather(*(one(n) for n in numbers[i : i + 64]))
        return found
    finally:
        await nc.close()


@pytest.mark.parametrize("cuts", CUTS)
async def test_row_24_what_a_fsyncing_nats_has_acknowledged_survives_a_power_cut(
    cuts: int,
) -> None:
    rng = random.Random()
    with running_disk(256) as disk:
        async with nats_on(disk.place, NatsConfig(max_store="100GB")) as server:
            nc = await bus.connect(settings_for(server.url), kind="engine", ident="t")
            await ensure_streams(nc, fsynced=True)
            journal: list[str] = []
            tasks = [asyncio.create_task(enqueueing(nc, journal)) for _ in range(4)]
            try:
                for _ in range(cuts):
                    before = len(journal)
                    await until(lambda n=before: len(journal) > n + 20)
                    await a_moment(rng)
                    async with (
                        disk.cut(server.pid, journal) as (left, acknowledged),
                        nats_on(left, server.config) as again,
                    ):
                        missing = set(acknowledged) - await waiting_in_ingest(again)
                    assert not missing, f"{len(missing)} of {len(acknowledged)} are lost"
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await nc.close()


# --- Postgres


@contextlib.asynccontextmanager
async def postgres_on(place: Path) -> AsyncGenerator[PostgresServer]:
    server = PostgresServer(place / "pg", PostgresConfig(max_connections=20))
    # Of the machine that lost its power no process lives.
    (server.data / "postmaster.pid").unlink(missing_ok=True)
    for lock in server.socket_dir.glob(".s.PGSQL.*"):
        lock.unlink()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def living(store: PostgresStore, session: int, journal: list[tuple[Any, ...]]) -> None:
    """Runs from the enqueue to the end; notes what the store has acknowledged."""
    while True:
        with contextlib.suppress(StoreDown):
            new = an_enqueue()
            (outcome,), _ = await store.enqueue(NS, [new], {"default": (99, 99)})
            if outcome.outcome != "recorded":
                continue
            journal.append(("recorded", new.run.id))
            answer = await store.claim(NS, "a1", session, new_run_id(), [new.run.id], None)
            if not answer.claimed:
                continue
            run = answer.claimed[0].run
            for number in (1, 2, 3):
                save = a_checkpoint(run, number)
                (done,) = await store.save([save])
                if done.outcome == "ok":
                    journal.append(("saved", run.id, number, save.sha256))
            (end,) = await store.commit([(run.id, Finished(run.epoch, Raw(b"7"), size=1))])
            if end.outcome == "ok":
                journal.append(("ended", run.id))


async def missing_in(dsn: str, journal: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What was acknowledged and is not there."""
    conn: Any = await asyncpg.connect(dsn)
    try:
        runs = {r["id"]: r["state"] for r in await conn.fetch("SELECT id, state FROM runs")}
        saved = {
            (r["run"], r["number"]): (r["sha256"], sha256(r["state"]).hexdigest())
            for r in await conn.fetch("SELECT run, number, sha256, state FROM checkpoints")
        }
    finally:
        await conn.close()
    lost: list[tuple[Any, ...]] = []
    for entry in journal:
        match entry:
            case ("saved", run, number, digest):
                ok = saved.get((run, number)) == (digest, digest)
            case ("ended", run):
                ok = runs.get(run) == "SUCCEEDED"
            case (_, run):
                ok = run in runs
            case _:
                ok = False
        if not ok:
            lost.append(entry)
    return lost


@pytest.mark.parametrize("cuts", CUTS)
async def test_row_36_what_postgres_has_committed_survives_a_power_cut(cuts: int) -> None:
    rng = random.Random()
    with running_disk() as disk:
        async with postgres_on(disk.place) as server:
            store = PostgresStore(server.dsn(), "e1", size=4, list_size=1)
            await store.open()
            await store.deploy(NS, a_deployment())
            session, _, _ = await store.register(NS, an_agent("a1"), 3600.0)
            journal: list[tuple[Any, ...]] = []
            tasks = [asyncio.create_task(living(store, session, journal)) for _ in range(4)]
            try:
                for _ in range(cuts):
                    before = len(journal)
                    await until(lambda n=before: len(journal) > n + 100)
                    await a_moment(rng)
                    async with (
                        disk.cut(server.pid, journal) as (left, acknowledged),
                        postgres_on(left) as again,
                    ):
                        lost = await missing_in(again.dsn(), acknowledged)
                    assert not lost, f"{len(lost)} of {len(acknowledged)}: {lost[:5]}"
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await store.close()


# --- what is not promised, and how it is said


@pytest.mark.nightly
async def test_row_23_without_fsync_accepted_may_be_lost_and_recorded_never_is(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running_disk(256) as disk:
        config = NatsConfig(max_store="100GB", sync_always=False, monitor=True)
        async with nats_on(disk.place, config) as server:
            settings = Config(
                NatsSettings(server.url, monitor_url=server.monitor_url), PostgresSettings(database)
            )
            async with running_engine(settings), calling(server.url) as caller:
                assert "before it has fsynced" in caplog.text
                await caller.deploy()
                recorded = [(await caller.enqueue()).run for _ in range(20)]
            # No engine: these are only accepted.
            nc = await bus.connect(settings_for(server.url), kind="engine", ident="t")
            journal: list[str] = []
            task = asyncio.create_task(enqueueing(nc, journal))
            await until(lambda: len(journal) > 200)
            async with disk.cut(server.pid, journal) as (left, acknowledged):
                task.cancel()
                await asyncio.wait([task])
                await nc.close()
                server.kill()
                shutil.rmtree(disk.place / "nats" / "store")
                if (left / "nats" / "store").exists():
                    await asyncio.to_thread(
                        shutil.copytree, left / "nats" / "store", disk.place / "nats" / "store"
                    )
            await server.start()
            kept: set[str] = set()
            with contextlib.suppress(bus.JetStreamRefused):  # the whole stream is gone
                kept = await waiting_in_ingest(server)
            assert len(kept) < len(acknowledged), "the cut cuts: else these tests prove nothing"
            async with (
                running_engine(settings), calling(server.url) as caller, agent_on(server.url) as a,
            ):  # fmt: skip
                a.script = finish()
                await a.start()

                async def ended() -> bool:
                    conn: Any = await asyncpg.connect(database)
                    try:
                        states = await conn.fetch(
                            "SELECT state FROM runs WHERE id = ANY($1)", recorded
                        )
                    finally:
                        await conn.close()
                    return [r["state"] for r in states] == ["SUCCEEDED"] * len(recorded)

                await until(ended, 60, every=0.2)


@pytest.mark.nightly
async def test_row_34_a_full_disk_under_nats_loses_nothing_that_was_acknowledged() -> None:
    with small_disk(64) as place:
        async with nats_on(place, NatsConfig(max_store="100GB")) as server:
            nc = await bus.connect(settings_for(server.url), kind="engine", ident="t")
            await ensure_streams(nc, fsynced=True)
            journal: list[str] = []
            task = asyncio.create_task(enqueueing(nc, journal))
            await until(lambda: len(journal) > 50)
            full = fill(place)
            for _ in range(100):
                if task.done():
                    break
                before = len(journal)
                await asyncio.sleep(0.3)
                if len(journal) == before:
                    break
            task.cancel()
            await asyncio.wait([task])
            await nc.close()
            # It may stay stuck although there is room again: the runbook's restart.
            full.unlink()
            await server.stop()
            await server.start()
            assert set(journal) <= await waiting_in_ingest(server)


@pytest.mark.nightly
async def test_row_40_a_full_disk_under_postgres_is_an_outage() -> None:
    with small_disk(400) as place:
        async with postgres_on(place) as server:
            store = PostgresStore(server.dsn(), "e1", size=4, list_size=1, patience=0.5)
            await store.open()
            await store.deploy(NS, a_deployment())
            session, _, _ = await store.register(NS, an_agent("a1"), 3600.0)
            journal: list[tuple[Any, ...]] = []
            task = asyncio.create_task(living(store, session, journal))
            await until(lambda: len(journal) > 50)
            full = fill(place)
            large = an_enqueue("x" * 4_000_000)

            async def refused() -> bool:
                try:
                    await store.enqueue(NS, [an_enqueue("x" * 1_000_000), large], {})
                except StoreDown:
                    return True
                return False

            await until(refused, 60)
            full.unlink()
            if not server.running:
                await server.start()
            before = len(journal)
            await until(lambda: len(journal) > before + 20, 60)
            task.cancel()
            await asyncio.wait([task])
            await store.close()
            assert await missing_in(server.dsn(), journal) == []


@pytest.mark.nightly
async def test_row_62_a_flipped_bit_in_a_page_is_an_error_and_no_wrong_state() -> None:
    with open_folder("flip") as place:
        async with postgres_on(place) as server:
            kit = PostgresKit(server.dsn())
            await kit.start()
            run = await kit.attempt(await kit.ready())
            await kit.store.save([a_checkpoint(run, 1, "s" * 1000)])
            await kit.execute("CHECKPOINT")
            (row,) = await kit.fetch("SELECT pg_relation_filepath('checkpoints') AS path")
            await kit.stop()
            await server.stop()
            page = server.data / row["path"]
            body = bytearray(page.read_bytes())
            body[body.index(b"ssss")] ^= 1
            page.write_bytes(body)
            await server.start()
            with pytest.raises(asyncpg.DataCorruptedError):
                await kit.fetch("SELECT state FROM checkpoints")
