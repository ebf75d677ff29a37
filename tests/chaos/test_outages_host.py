"""Fault rows 63 and 64: no file descriptors left; a disk that does not fsync."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import psutil
import pytest

from headway import bus, subjects
from headway.errors import HeadwayError
from headway_engine import streams
from headway_ops.local.postgres import PostgresConfig
from support.servers import running_nats, running_postgres, settings_for
from support.site import running_site
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from support.site import Role, Site

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]

# --- row 63


@contextmanager
def no_files_for(role: Role) -> Generator[None]:
    """What it has open stays; nothing more can be opened."""
    process = psutil.Process(role.process.pid)
    before = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_NOFILE, before)


async def test_row_63_without_file_descriptors_work_is_refused_until_there_are_some() -> None:
    none_warm = {"warm.low": 0, "warm.high": 0}  # each run needs a runner to be started
    async with running_site(agent=none_warm) as site:
        agent, engine = site.named("a1"), site.named("e1")
        held = await site.work(2, steps=150)
        await site.saved(held)
        with no_files_for(agent):
            more = await site.work(4, steps=3)
            await until(lambda: "cannot start runners" in agent.log, 30, what="it is degraded")
            assert await kinds_of(site, more) <= {"queued", "starting", "given_back", "lost"}
            await site.saved(held, 20)  # what runs already goes on
        with no_files_for(engine):
            site.nats.kill()  # its connections have to be made anew, and cannot
            await site.nats.start()
            await until(lambda: "connection lost" in engine.log, 20)
            await cannot_serve(site)
        await site.verify(within=120.0)
        assert agent.process.running
        assert engine.process.running


async def kinds_of(site: Site, runs: Sequence[str]) -> set[str]:
    """Kinds of events of these runs, as they are stored."""
    rows = await site.rows("SELECT DISTINCT kind FROM events WHERE run = ANY($1)", list(runs))
    return {row["kind"] for row in rows}


async def cannot_serve(site: Site) -> None:
    """Nothing is recorded, and it is said: *accepted* at best."""
    await asyncio.sleep(0)
    assert await site.enqueue("quick") != ""
    assert site.outcomes["accepted"] == 1


# --- row 64


@contextmanager
def no_fsync(processes: Sequence[psutil.Process]) -> Generator[None]:
    """Each fsync of these processes, and of what they start, fails with EIO."""
    calls = "fsync,fdatasync"
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}",
               "-e", f"inject={calls}:error=EIO"]  # fmt: skip
    for process in processes:
        command += ["-p", str(process.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until_traced(processes)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            tracer.wait(10)
        tracer.kill()
        tracer.wait()


def until_traced(processes: Sequence[psutil.Process]) -> None:
    """Return when strace holds them all."""
    for process in processes:
        for _ in range(2000):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if "TracerPid:\t0\n" not in status:
                break
            os.sched_yield()
            signal.sigtimedwait([], 0.005)
        else:
            raise AssertionError(f"{process.pid} is not traced")


def require_strace() -> None:
    if shutil.which("strace") is None or os.geteuid() != 0:
        pytest.skip("needs strace, and root to trace servers")


async def test_row_64_a_postgres_whose_disk_does_not_fsync_loses_nothing_that_was_committed() -> (
    None
):
    """It panics rather than go on with what it does not know (since 11.2), and recovers."""
    require_strace()
    async with running_postgres(PostgresConfig()) as server:
        conn = await asyncpg.connect(server.dsn())
        await conn.execute("CREATE TABLE kept (n int)")
        await conn.execute("INSERT INTO kept VALUES (1)")
        family = psutil.Process(server.pid).children(recursive=True)
        broken = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
        with no_fsync(family), pytest.raises(broken):
            await conn.execute("INSERT INTO kept VALUES (2)")
        with contextlib.suppress(Exception):
            await conn.close()

        async def back() -> list[int]:
            try:
                again = await asyncpg.connect(server.dsn(), timeout=5)
            except (asyncpg.PostgresError, OSError, TimeoutError):
                return []
            try:
                return [r["n"] for r in await again.fetch("SELECT n FROM kept ORDER BY n")]
            finally:
                await again.close()

        found: list[int] = []

        async def recovered() -> bool:
            found[:] = await back()
            return bool(found)

        await until(recovered, 60, every=0.2)
        # What failed is unknown, as after any crash; what was committed is there.
        assert found in ([1], [1, 2])
        log = (server.directory / "postgres.log").read_text()
        assert "PANIC" in log


async def test_row_64_a_disk_that_does_not_fsync_loses_nothing_that_was_acknowledged() -> None:
    """NATS acknowledges nothing then, and refuses until its restart, as after a full disk."""
    require_strace()
    async with running_nats() as server:
        nc = await bus.connect(settings_for(server.url), kind="engine", ident="e1")
        await streams.ensure_streams(nc)

        async def publish() -> bool:
            try:
                async with asyncio.timeout(2):
                    await bus.publish_acked(nc, subjects.ingest("default"), b"{}")
            except (HeadwayError, TimeoutError):
                return False
            return True

        assert [await publish() for _ in range(5)] == [True] * 5
        with no_fsync([psutil.Process(server.pid)]):
            assert not await publish()
            assert not await publish()
        assert "input/output error" in (server.directory / "nats.log").read_text()
        assert not await publish(), "it does not trust that stream any more"
        server.kill()
        await server.start()
        await until(publish, 30, what="after its restart it takes enqueues")
        info = await bus.jsapi(nc, f"STREAM.INFO.{subjects.INGEST}")
        assert info["state"]["first_seq"] == 1
        assert info["state"]["messages"] >= 6
        await nc.close()
