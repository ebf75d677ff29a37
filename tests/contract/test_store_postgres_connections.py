"""The connections of the Postgres store: taken, given back, replaced when they break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from headway_engine.store.postgres.connections import Connections
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Made:
    """Connections to a database, counted."""

    def __init__(self, dsn: str, size: int) -> None:
        self.count = 0
        self.fails = False
        self._dsn = dsn
        self.all = Connections(self._make, size)

    async def _make(self) -> Any:
        if self.fails:
            raise OSError("no server")
        self.count += 1
        return await asyncpg.connect(self._dsn)


@pytest_asyncio.fixture
async def made(database: str) -> AsyncGenerator[Made]:
    """Two at most."""
    two = Made(database, 2)
    yield two
    await two.all.close(5)


async def test_the_one_that_was_used_last_is_used_again(made: Made) -> None:
    first = await made.all.take(1)
    second = await made.all.take(1)
    made.all.give(first)
    made.all.give(second)
    assert await made.all.take(1) is second
    assert made.count == 2


async def test_who_waits_gets_the_next_one_in_turn_or_a_timeout(made: Made) -> None:
    await made.all.open(2)
    first, second = await made.all.take(1), await made.all.take(1)
    with pytest.raises(TimeoutError):
        await made.all.take(0.01)
    waiting = [asyncio.create_task(made.all.take(5)) for _ in range(2)]
    await asyncio.sleep(0)
    made.all.give(first)
    assert await waiting[0] is first
    assert not waiting[1].done()
    made.all.give(second)
    assert await waiting[1] is second


async def test_a_broken_one_is_replaced_and_its_place_is_not_lost(made: Made) -> None:
    first, second = await made.all.take(1), await made.all.take(1)
    waiting = asyncio.create_task(made.all.take(5))
    await asyncio.sleep(0)
    first.terminate()
    made.all.give(first)
    third = await waiting
    assert third not in (first, second)
    made.all.give(third)
    await third.close()
    made.all.give(second)
    assert await made.all.take(1) is second
    assert await (await made.all.take(1)).fetchval("SELECT 1") == 1
    assert made.count == 4


async def test_one_in_a_transaction_is_not_given_to_anybody_else(made: Made) -> None:
    conn = await made.all.take(1)
    await conn.execute("BEGIN")
    made.all.give(conn)
    assert await made.all.take(1) is not conn
    assert conn.is_closed()


async def test_a_failed_connect_gives_the_place_to_who_waits(made: Made) -> None:
    conn = await made.all.take(1)
    made.fails = True
    with pytest.raises(OSError, match="no server"):
        await made.all.take(1)
    made.fails = False
    assert await made.all.take(1) is not conn


async def test_a_cancelled_wait_passes_its_turn_on(made: Made) -> None:
    first, second = await made.all.take(1), await made.all.take(1)
    waiting = [asyncio.create_task(made.all.take(5)) for _ in range(2)]
    await asyncio.sleep(0)
    made.all.give(first)
    waiting[0].cancel()
    assert await waiting[1] is first
    made.all.give(second)


async def test_closing_ends_those_in_use_and_who_waits(made: Made) -> None:
    first, _ = await made.all.take(1), await made.all.take(1)
    waiting = asyncio.create_task(made.all.take(5))
    await asyncio.sleep(0)
    await made.all.close(1)
    with pytest.raises(asyncpg.InterfaceError):
        await waiting
    await until(first.is_closed)
    made.all.give(first)
    with pytest.raises(asyncpg.InterfaceError):
        await made.all.take(1)
