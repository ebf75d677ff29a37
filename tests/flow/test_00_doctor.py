"""`headway doctor` against real servers that are set wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from headway import bus
from headway_ops import doctor
from headway_ops.checks import containers
from headway_ops.checks.broker import nats
from headway_ops.checks.database import postgres
from headway_ops.local.nats import NatsConfig
from headway_ops.local.postgres import PostgresConfig
from support.docker import require_docker
from support.servers import running_nats, running_postgres, settings_for
from support.unixproxy import HoldingProxy

if TYPE_CHECKING:
    from headway_ops.checks.finding import Finding


async def ask(config: NatsConfig) -> list[Finding]:
    async with running_nats(config) as server:
        nc = await bus.connect(settings_for(server.url), kind="client", ident="doctor")
        try:
            return await nats(nc)
        finally:
            await nc.close()


def bad(findings: list[Finding]) -> str:
    found = [f for f in findings if f.state == "bad"]
    assert all(f.todo for f in found)
    return " / ".join(f.what for f in found)


async def test_a_nats_without_streams_is_not_bad_yet() -> None:
    found = await ask(NatsConfig())
    assert bad(found) == ""
    assert {"nats", "jetstream", "streams"} <= {f.name for f in found}
    assert any("INGEST: missing" in f.what for f in found)


async def test_a_small_max_payload_is_bad() -> None:
    assert "max_payload is 65,536 bytes" in bad(await ask(NatsConfig(max_payload="64KB")))


async def test_an_account_with_little_room_is_bad() -> None:
    account = """
    accounts { A { jetstream: { max_file: 64MB, max_mem: 1MB, max_streams: -1, max_consumers: -1 }
                   users: [ { user: a, password: a } ] } }
    no_auth_user: a
    """
    assert "of 64 MiB stored" in bad(await ask(NatsConfig(extra=account)))


async def test_an_account_without_jetstream_is_bad() -> None:
    account = "accounts { A { users: [ { user: a, password: a } ] } }\nno_auth_user: a"
    assert "JetStream" in bad(await ask(NatsConfig(extra=account)))


async def test_postgres_set_wrong_is_bad_setting_by_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_postgres(PostgresConfig(fsync=False)) as server:
        conn = await asyncpg.connect(server.dsn())
        try:
            await conn.execute("ALTER SYSTEM SET autovacuum = off")
            # The engine's own user is what counts.
            await conn.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
            await conn.execute("SELECT pg_reload_conf()")
        finally:
            await conn.close()
        monkeypatch.setenv("HEADWAY_POSTGRES_DSN", server.dsn())
        found = await postgres(None)
        assert "fsync is off" in bad(found)
        assert "synchronous_commit is off" in bad(found)
        assert any("autovacuum is off" in f.what for f in found if f.state == "note")

        monkeypatch.setenv("HEADWAY_POSTGRES_DSN", server.dsn("nowhere"))
        assert "nowhere" in bad(await postgres(None))


async def test_a_database_that_only_reads_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_postgres() as server:
        conn = await asyncpg.connect(server.dsn())
        try:
            await conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await conn.execute("SELECT pg_reload_conf()")
        finally:
            await conn.close()
        monkeypatch.setenv("HEADWAY_POSTGRES_DSN", server.dsn())
        assert "takes no writes" in bad(await postgres(None))


async def test_without_an_engine_everything_else_is_still_told() -> None:
    async with running_nats() as server:
        found = {f.name: f for f in await doctor.look(settings_for(server.url))}
    assert found["engine"].state == "bad"
    assert "headway engine" in found["engine"].todo
    assert found["nats"].state == "ok"
    assert {"disk", "files", "jetstream", "postgres", "docker"} <= set(found)


@pytest.mark.docker
async def test_a_docker_that_answers_late_is_slow_and_not_bad(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_docker()
    async with HoldingProxy(Path("/var/run/docker.sock"), b"/info") as proxy:
        held = proxy.hold(1)
        asked = asyncio.create_task(containers.docker(proxy.url))
        await held.wait()
        monkeypatch.setattr(containers, "SLOW", 0.0)
        proxy.release()
        found = await asked
        assert [f.state for f in found if "slow" not in f.what][:1] == ["ok"]
        (slow,) = [f for f in found if "slow" in f.what]
        assert (slow.name, slow.state) == ("docker", "note")

        proxy.hold(1)
        (late,) = await containers.docker(proxy.url, patience=1)
        assert (late.name, late.state) == ("docker", "note")
        assert "no answer within 1 s: it is slow, or hangs" in late.what
        assert late.todo
        proxy.release()


async def test_without_docker_that_is_said() -> None:
    (found,) = await containers.docker("tcp://127.0.0.1:1")
    assert (found.name, found.state) == ("docker", "note")
    assert "no engine answers here" in found.what
