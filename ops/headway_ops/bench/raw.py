"""The raw limits: what the machine does without Headway, through the same clients.

Each function measures one limit against servers that already run; a line calls the ones that bound
it right before each of its rounds, so that both see the same machine. Times in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from headway_ops.bench.stats import rate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from nats.aio.client import Client as Nats
    from nats.aio.msg import Msg

STREAM = "BENCH_RAW"
_TABLE = "bench_raw"

ECHO = """
import asyncio, struct, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readexactly(4)
            writer.write(head + await reader.readexactly(struct.unpack(">I", head)[0]))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
"""The other end of the socket round trip: a process of its own, as a runner is."""


async def timed(count: int, once: Callable[[], Awaitable[Any]], warm: int = 5) -> list[float]:
    """Milliseconds of `count` calls one after the other, after `warm` unmeasured ones."""
    for _ in range(warm):
        await once()
    out: list[float] = []
    for _ in range(count):
        before = time.perf_counter()
        await once()
        out.append((time.perf_counter() - before) * 1e3)
    return out


async def after_idle(
    pause: float, count: int, steps: Sequence[Callable[[], Awaitable[Any]]]
) -> list[float]:
    """The median of each step, ms, where all come one after the other after `pause` idle seconds.

    A machine that has just been idle is slower: its caches are cold and its cores asleep.
    """
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(count):
        await asyncio.sleep(pause)
        for mine, step in zip(taken, steps, strict=True):
            before = time.perf_counter()
            await step()
            mine.append((time.perf_counter() - before) * 1e3)
    return [statistics.median(mine) for mine in taken]


class RawPostgres:
    """Commits of rows on the stack's own Postgres, in a table that is dropped at the end."""

    def __init__(self, db: asyncpg.Connection[Any]) -> None:
        self._db = db

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, dsn: str) -> AsyncGenerator[RawPostgres]:
        """Connect and make the table; both are gone afterwards."""
        db = await asyncpg.connect(dsn)
        try:
            await db.execute(f"DROP TABLE IF EXISTS {_TABLE}")
            await db.execute(f"CREATE TABLE {_TABLE} (id text PRIMARY KEY, body bytea)")
            yield cls(db)
            await db.execute(f"DROP TABLE {_TABLE}")
        finally:
            await db.close()

    async def committer(self, size: int) -> Callable[[], Awaitable[None]]:
        """One INSERT of `size` bytes, autocommitted, prepared."""
        statement = await self._db.prepare(f"INSERT INTO {_TABLE} VALUES ($1, $2)")
        body = os.urandom(size)

        async def once() -> None:
            await statement.fetch(os.urandom(12).hex(), body)

        return once

    async def commit(self, size: int, count: int = 150) -> float:
        """The median of one; ms."""
        return statistics.median(await timed(count, await self.committer(size)))

    async def rows(self, size: int, per_batch: int, batches: int = 40) -> float:
        """Rows a second, `per_batch` in one INSERT, one connection, one batch after the other."""
        statement = await self._db.prepare(
            f"INSERT INTO {_TABLE} SELECT * FROM unnest($1::text[], $2::bytea[])"
        )
        body = os.urandom(size)
        await self._db.execute(f"TRUNCATE {_TABLE}")

        async def once() -> None:
            ids = [os.urandom(12).hex() for _ in range(per_batch)]
            await statement.fetch(ids, [body] * per_batch)

        taken = await timed(batches, once, warm=2)
        return rate(per_batch * batches, sum(taken) / 1e3)


class RawJetStream:
    """Acknowledged publishes on the stack's own NATS, fsynced, in a stream of their own."""

    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def _api(self, verb: str, body: object) -> None:
        answer = await self._nats.request(
            f"$JS.API.STREAM.{verb}.{STREAM}", msgspec.json.encode(body), timeout=10
        )
        error = msgspec.json.decode(answer.data).get("error")
        if error:
            raise RuntimeError(f"{verb} of stream {STREAM}: {error}")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, nats: Nats) -> AsyncGenerator[RawJetStream]:
        """Make the stream; it is deleted afterwards."""
        raw = cls(nats)
        await raw._api(
            "CREATE",
            {"name": STREAM, "subjects": ["bench.raw"], "storage": "file", "max_msgs": 10_000},
        )
        try:
            yield raw
        finally:
            with contextlib.suppress(Exception):
                await raw._api("DELETE", {})

    def publisher(self, size: int = 256) -> Callable[[], Awaitable[None]]:
        """One publish until its ack."""
        body = os.urandom(size)

        async def once() -> None:
            await self._nats.request("bench.raw", body, timeout=10)

        return once

    async def publish(self, size: int = 256, count: int = 150) -> float:
        """The median of one; ms."""
        return statistics.median(await timed(count, self.publisher(size)))

    async def request(self, size: int = 256, count: int = 150) -> float:
        """The median of a core request and its answer, both over NATS, one connection; ms."""
        inbox = self._nats.new_inbox()

        async def answer(message: Msg) -> None:
            await message.respond(b"ok")

        served = await self._nats.subscribe(inbox, cb=answer)
        body = os.urandom(size)

        async def once() -> None:
            await self._nats.request(inbox, body, timeout=10)

        try:
            return statistics.median(await timed(count, once))
        finally:
            await served.unsubscribe()

    async def publishes(self, in_flight: int, size: int = 256, count: int = 1500) -> float:
        """Acknowledged publishes a second with that many in flight."""
        body = os.urandom(size)

        async def worker(n: int) -> None:
            for _ in range(n):
                await self._nats.request("bench.raw", body, timeout=30)

        before = time.perf_counter()
        each = count // in_flight
        await asyncio.gather(*(worker(each) for _ in range(in_flight)))
        return rate(each * in_flight, time.perf_counter() - before)


async def socket_round_trip(folder: str, size: int = 300, count: int = 300) -> float:
    """The median of one frame to another process and back over a unix socket; ms."""
    async with socket_echo(folder, size) as once:
        return statistics.median(await timed(count, once, warm=20))


@contextlib.asynccontextmanager
async def socket_echo(
    folder: str, size: int = 300
) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """One such round trip."""
    path = os.path.join(folder, "echo.sock")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", ECHO, path, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        await asyncio.wait_for(child.stdout.readline(), 20)
        reader, writer = await asyncio.open_unix_connection(path)
        frame = struct.pack(">I", size) + bytes(size)

        async def once() -> None:
            writer.write(frame)
            await reader.readexactly(len(frame))

        yield once
        writer.close()
        await writer.wait_closed()
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _command(*argv: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    code = await child.wait()
    if code:
        raise RuntimeError(f"{argv[0]} ended with exit code {code}")


async def process_start(count: int = 8) -> float:
    """The median of starting this Python for nothing and waiting for its end; ms."""
    return statistics.median(
        await timed(count, lambda: _command(sys.executable, "-I", "-c", "pass"), warm=1)
    )


async def docker_run(image: str, count: int = 5) -> float | None:
    """The median of `docker run --rm IMAGE python -c pass`, no network; ms.

    None without a docker command.
    """
    docker = shutil.which("docker")
    if docker is None:
        return None
    argv = (docker, "run", "--rm", "--network", "none", "--pull", "never")
    return statistics.median(
        await timed(
            count, lambda: _command(*argv, "--entrypoint", "python3", image, "-c", "pass"), warm=1
        )
    )
