"""Following one run from the client: events and logs, stored and live, joined."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest_asyncio

from headway import subjects
from headway.client import Client
from headway.wire import encode
from headway.wire.events import LogChunk
from support.responder import NS, Responder, item, succeed
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.config import Settings


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

    async def follow() -> None:
        async for e in run.events():
            seen.append(e.n)  # noqa: PERF401 - watched while it grows

    following = asyncio.create_task(follow())
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

    async def follow() -> None:
        async for part in run.logs():
            got.extend((part.epoch, line, part.missing) for line in part.chunk.lines)

    following = asyncio.create_task(follow())
    await until(lambda: len(got) == 2)
    await say(3, "three")
    await say(9, "nine")
    await engine.end(succeed(engine.items[run.id]))
    async with asyncio.timeout(20):
        await following
    assert got == [(1, "one", 0), (1, "two", 0), (1, "three", 0), (1, "nine", 5)]
