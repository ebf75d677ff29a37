"""Following one run from the client: events and logs, stored and live, joined."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest_asyncio

from headway import follow, subjects
from headway.client import Client
from headway.steadynats import settled
from headway.wire import encode
from headway.wire.events import LogChunk
from support.proxy import Proxy
from support.responder import NS, Responder, item, succeed
from support.wait import never, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest

    from headway.config import Settings
    from headway_ops.local.nats import NatsServer


@pytest_asyncio.fixture
async def engine(settings: Settings) -> AsyncGenerator[Responder]:
    async with Responder(settings) as responder:
        yield responder


@pytest_asyncio.fixture
async def client(engine: Responder, settings: Settings) -> AsyncGenerator[Client]:
    async with await Client.open(settings) as c:
        yield c


async def test_events_are_joined_from_store_and_stream_without_holes(
    client: Client, engine: Responder
) -> None:
    (run,) = await client.submit([item()])
    engine.happen(run.id, "starting")
    seen: list[int] = []

    async def collect() -> None:
        async for e in run.events():
            seen.append(e.n)  # noqa: PERF401 - watched while it grows

    following = asyncio.create_task(collect())
    await until(lambda: seen == [1, 2])
    lost = engine.happen(run.id, "started")
    late = [engine.happen(run.id, "checkpoint") for _ in range(3)]
    await engine.publish(run.id, late[1])
    await engine.publish(run.id, late[0], late[1])
    await engine.publish(run.id, late[2])
    await engine.end(succeed(engine.items[run.id]))
    async with asyncio.timeout(20):  # the hole is read from the store after 2 s
        await following
    assert seen == list(range(1, 8))
    assert lost.n == 3


async def test_logs_are_joined_from_stored_and_live_and_say_their_gaps(
    client: Client, engine: Responder
) -> None:
    (run,) = await client.submit([item()])
    now = engine.events[run.id][0].at

    async def say(first: int, *lines: str) -> None:
        chunk = encode(LogChunk(first, list(lines), now))
        await engine.nc.publish(subjects.log(NS, run.id, 1), chunk)

    await say(1, "one", "two")
    got: list[tuple[int, str, int]] = []

    async def collect() -> None:
        async for part in run.logs():
            got.extend((part.epoch, line, part.missing) for line in part.chunk.lines)

    following = asyncio.create_task(collect())
    await until(lambda: len(got) == 2)
    await say(3, "three")
    await say(9, "nine")
    await engine.end(succeed(engine.items[run.id]))
    async with asyncio.timeout(20):
        await following
    assert got == [(1, "one", 0), (1, "two", 0), (1, "three", 0), (1, "nine", 5)]


async def test_logs_end_with_the_line_that_the_end_names_however_late_it_comes(
    client: Client, engine: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "HOLE", 10.0)  # the line comes before this, or the test is late
    (run,) = await client.submit([item()])
    got: list[str] = []

    async def collect() -> None:
        async for part in run.logs():
            got.extend(part.chunk.lines)

    collecting = asyncio.create_task(collect())
    now = engine.events[run.id][0].at
    chunk = encode(LogChunk(1, ["one"], now))
    await engine.nc.publish(subjects.log(NS, run.id, 2), chunk)
    await until(lambda: got == ["one"])
    last = engine.happen(run.id, "succeeded", target="SUCCEEDED", epoch=2, lines=2)
    await engine.publish(run.id, last)
    await never(lambda: collecting.done(), follow.LINGER * 2)
    chunk = encode(LogChunk(2, ["two"], now))
    await engine.nc.publish(subjects.log(NS, run.id, 2), chunk)
    async with asyncio.timeout(5):
        await collecting
    assert got == ["one", "two"]


async def test_last_lines_that_never_come_are_said_after_a_short_while(
    client: Client, engine: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "HOLE", 0.2)
    (run,) = await client.submit([item()])
    now = engine.events[run.id][0].at
    await engine.nc.publish(subjects.log(NS, run.id, 1), encode(LogChunk(1, ["one"], now)))
    got: list[tuple[list[str], int]] = []

    async def collect() -> None:
        async for part in run.logs():
            got.append((part.chunk.lines, part.missing))  # noqa: PERF401 - watched while it grows

    collecting = asyncio.create_task(collect())
    await until(lambda: got)
    last = engine.happen(run.id, "failed", target="FAILED", epoch=1, lines=4)
    await engine.publish(run.id, last)
    async with asyncio.timeout(5):
        await collecting
    assert got == [(["one"], 0), ([], 3)]


async def test_lines_of_an_outage_come_before_those_that_are_live_again(
    engine: Responder, settings: Settings, nats_server: NatsServer
) -> None:
    async with Proxy(nats_server.port) as proxy:
        behind = replace(settings, nats_url=f"nats://127.0.0.1:{proxy.port}")
        async with await Client.open(behind) as client:
            (run,) = await client.submit([item()])
            now = engine.events[run.id][0].at

            async def say(number: int) -> None:
                chunk = encode(LogChunk(number, [f"line {number}"], now))
                await engine.nc.publish(subjects.log(NS, run.id, 1), chunk)

            await say(1)
            got: list[tuple[str, int]] = []
            goes_on = asyncio.Event()

            async def collect() -> None:
                async for part in run.logs():
                    got.extend((line, part.missing) for line in part.chunk.lines)
                    await goes_on.wait()

            following = asyncio.create_task(collect())
            await until(lambda: len(got) == 1)
            proxy.cut()
            await until(lambda: not client.connection.is_connected)
            for number in (2, 3, 4):
                await say(number)
            # The link is back, and a line has come live, before the reader looks again.
            heard = await client.connection.subscribe(subjects.live_log(NS, run.id))
            proxy.heal()
            await until(lambda: client.connection.is_connected)
            await settled(client.connection)
            await say(5)
            await heard.next_msg(10)
            goes_on.set()
            await until(lambda: len(got) == 5, what="all lines")
            # Those of the last seconds, which an agent sends once more.
            for number in (3, 4, 5, 6):
                await say(number)
            await until(lambda: len(got) == 6, what="the next line")
            assert got == [(f"line {n}", 0) for n in range(1, 7)]
            following.cancel()
