"""Settings of the servers that break a promise: refused, put right, or said; nothing is hidden."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from msgspec import Raw

from headway.client import Client
from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem
from headway_engine.assembly import Engine
from headway_engine.config import Config, NatsConfig, PostgresConfig
from headway_engine.store.postgres import PostgresStore
from headway_engine.store.postgres.migrate import StoreTooOld
from headway_engine.streams import PayloadTooSmall
from headway_ops.local.nats import NatsConfig as LocalNats
from support.engines import calling, config_for, running_engine
from support.servers import running_nats, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def client_of(url: str) -> AsyncGenerator[Client]:
    """A client of the SDK."""
    client = await Client.open(settings_for(url))
    try:
        yield client
    finally:
        await client.close()


async def test_what_is_acknowledged_is_on_the_disk_whatever_the_database_defaults_to(
    database: str,
) -> None:
    conn: Any = await asyncpg.connect(database)
    name = await conn.fetchval("SELECT current_database()")
    await conn.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    store = PostgresStore(database, "e1")
    facts = await store.open()
    try:
        for read in (store.db.fetch, store.db.read):
            assert (await read("SHOW synchronous_commit"))[0][0] == "on"
        assert not any("synchronous_commit" in problem for problem in facts.problems)
        # A stronger setting stays.
        await conn.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = remote_apply')
        other = PostgresStore(database, "e2")
        await other.open()
        assert (await other.db.fetch("SHOW synchronous_commit"))[0][0] == "remote_apply"
        await other.close()
    finally:
        await store.close()
        await conn.close()


async def test_an_old_postgres_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the same name as the function that the package shows.
    module = sys.modules["headway_engine.store.postgres.migrate"]
    monkeypatch.setattr(module, "OLDEST", 99)
    with pytest.raises(StoreTooOld, match="install 99 or newer"):
        await PostgresStore(database, "e1").open()


async def test_a_nats_whose_messages_are_too_small_is_refused_at_the_start(database: str) -> None:
    async with running_nats(LocalNats(max_payload="64KB")) as server:
        with pytest.raises(PayloadTooSmall, match="max_payload: 1MB"):
            await asyncio.wait_for(Engine(config_for(server.url, database)).run(), 20)


async def test_a_nats_that_does_not_fsync_is_said_to_the_operator_and_to_callers(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_nats(LocalNats(sync_always=False, monitor=True)) as server:
        config = Config(
            NatsConfig(server.url, monitor_url=server.monitor_url), PostgresConfig(database)
        )
        async with (
            running_engine(config),
            calling(server.url) as caller,
            client_of(server.url) as c,
        ):
            await caller.deploy()
            assert "before it has fsynced" in caplog.text
            assert (await caller.api("info"))["durability"] == "lazy"
            item = EnqueueItem(new_run_id(), "noop", Raw(b"{}"))
            (run,) = await c.submit([item])
            assert (run.recorded, run.durability) == ("recorded", "lazy")
