"""The embedded servers: start, stop, start again, die with their parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import asyncpg
import psutil
import pytest

from headway import bus
from headway.config import Settings
from headway.errors import NotReachable
from headway_ops.local.nats import NatsConfig
from headway_ops.local.postgres import PostgresConfig, PostgresServer, check_reachable, server_uid
from headway_ops.local.process import ServerFailed
from support import servers
from support.databases import create_database, drop_database
from support.proxy import Proxy
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from headway_ops.local.nats import NatsServer


async def test_nats_restarts_on_its_port_and_keeps_what_it_acked(nats_server: NatsServer) -> None:
    url = nats_server.url
    nc = await bus.connect(Settings(nats_url=url), kind="engine", ident="t")
    await bus.jsapi(nc, "STREAM.CREATE.X", {"name": "X", "subjects": ["x"], "storage": "file"})
    await bus.publish_acked(nc, "x", b"kept")
    await nc.close()
    nats_server.kill()
    await nats_server.start()
    assert nats_server.url == url
    nc = await bus.connect(Settings(nats_url=url), kind="engine", ident="t")
    assert (await bus.jsapi(nc, "STREAM.INFO.X"))["state"]["messages"] == 1
    await nc.close()


async def test_nats_fsyncs_before_each_ack_unless_told_otherwise() -> None:
    for always in (True, False):
        async with servers.running_nats(NatsConfig(monitor=True, sync_always=always)) as server:
            varz = await asyncio.to_thread(_read, server.monitor_url + "/varz")
            assert (b'"sync_always": true' in varz) is always


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


async def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ServerFailed, match="no-such-verb"):
        async with servers.running_nats(NatsConfig(extra="no-such-verb: 1")):
            pass


async def test_postgres_is_18_with_checksums_and_durable_commits() -> None:
    async with servers.running_postgres(PostgresConfig()) as server:
        db = await asyncpg.connect(server.dsn())
        shown = {
            k: await db.fetchval(f"SHOW {k}")
            for k in ("data_checksums", "fsync", "synchronous_commit", "server_version_num")
        }
        await db.close()
    assert int(shown.pop("server_version_num")) >= 180000
    assert shown == {"data_checksums": "on", "fsync": "on", "synchronous_commit": "on"}


async def test_postgres_takes_its_folder_up_again_after_a_kill() -> None:
    async with servers.running_postgres(PostgresConfig()) as server:
        db = await asyncpg.connect(server.dsn())
        await db.execute("CREATE TABLE t (x int); INSERT INTO t VALUES (7)")
        db.terminate()
        server.kill()
        again = PostgresServer(server.directory)
        await until(lambda: not _users_of(server.data), what="its children are gone")
        await again.start()
        try:
            db = await asyncpg.connect(again.dsn())
            assert await db.fetchval("SELECT x FROM t") == 7
            await db.close()
        finally:
            await again.stop()


def _users_of(data: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter() if _cwd(p) == str(data)]


def _cwd(p: psutil.Process) -> str:
    try:
        return p.cwd()
    except psutil.Error:
        return ""


async def test_postgres_refuses_who_has_no_password() -> None:
    async with servers.running_postgres() as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=str(server.socket_dir), user="headway", database="postgres", password="guess"
            )


async def test_the_dsn_holds_before_the_database_is_made() -> None:
    with servers.open_folder("laid") as folder:
        server = PostgresServer(folder, PostgresConfig(fsync=False))
        server.lay()
        dsn = server.dsn()
        assert not server.data.exists()
        await server.start()
        try:
            assert server.dsn() == dsn
            db = await asyncpg.connect(dsn)
            await db.close()
        finally:
            await server.stop()


async def test_postgres_refuses_the_folder_of_another_major_version() -> None:
    async with servers.running_postgres() as server:
        await server.stop()
        (server.data / "PG_VERSION").write_text("15\n")
        with pytest.raises(ServerFailed, match="made by Postgres 15"):
            await server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts Postgres as somebody else")
async def test_as_root_postgres_runs_as_another_user_and_names_a_closed_folder(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    uid = server_uid()
    assert uid
    assert psutil.Process(postgres_server.pid).uids().real == uid
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServerFailed, match="cannot enter"):
        check_reachable(closed / "data", uid)


PARENT = """
import asyncio, sys, pathlib
from headway_ops.local.nats import NatsServer
from headway_ops.local.postgres import PostgresServer
kind = {"nats": NatsServer, "postgres": PostgresServer}[sys.argv[1]]
s = kind(pathlib.Path(sys.argv[2]))
asyncio.run(s.start())
print(s.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
@pytest.mark.parametrize("kind", ["nats", "postgres"])
async def test_no_server_outlives_its_parent(kind: str) -> None:
    pipe = subprocess.PIPE
    with servers.open_folder("parent") as folder:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PARENT, kind, str(folder / kind), stdin=pipe, stdout=pipe
        )
        assert parent.stdout is not None
        pid = int(await parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
        await parent.wait()
        await until(lambda: not _alive(pid), what="the server is gone")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_each_test_has_an_empty_database_of_its_own(
    postgres: str, postgres_server: PostgresServer
) -> None:
    other = await create_database(postgres_server)
    for dsn in (postgres, other):
        db = await asyncpg.connect(dsn)
        await db.execute("CREATE TABLE only_here (x int)")
        await db.close()
    await drop_database(postgres_server, other)
    assert postgres != other


async def test_s3_answers_and_wants_a_signature(s3: servers.S3Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        await asyncio.to_thread(_read, s3.endpoint)


async def test_the_proxy_cuts_a_write_in_half_and_heals(nats_server: NatsServer) -> None:
    async with Proxy(nats_server.port) as proxy:
        nc = await bus.connect(
            Settings(nats_url=f"nats://127.0.0.1:{proxy.port}"), kind="client", ident="t"
        )
        back = asyncio.Event()
        nc.when_back(back.set)
        config = {"name": "X", "subjects": ["x"], "storage": "memory"}
        await bus.jsapi(nc, "STREAM.CREATE.X", config)
        proxy.cut_after = 0
        with pytest.raises(NotReachable):
            await bus.publish_acked(nc, "x", b"y" * 1000, timeout=0.2)
        proxy.heal()
        await asyncio.wait_for(back.wait(), 5)
        info = await bus.jsapi(nc, "STREAM.INFO.X", timeout=2)
        assert info["state"]["messages"] == 0
        await nc.close()
