"""The databases of the tests: the next test finds nothing of the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from support.databases import SHAPE, Databases
from support.stores import PostgresKit
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Generator

    from headway_ops.local.postgres import PostgresServer

TABLES = """
SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


@pytest.fixture
def own(postgres_server: PostgresServer, migrated: str) -> Generator[Databases]:
    """Of this test alone: nobody else gives one back."""
    with Databases(postgres_server, migrated) as made:
        yield made


def name_of(dsn: str) -> str:
    return dsn.split("?", 1)[0].rsplit("/", 1)[1]


async def asked(dsn: str, sql: str) -> list[Any]:
    conn: Any = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await conn.fetch(sql)]
    finally:
        await conn.close()


async def oid_of(dsn: str) -> int:
    ((oid,),) = await asked(dsn, "SELECT oid FROM pg_database WHERE datname = current_database()")
    return oid


async def content(dsn: str) -> dict[str, list[Any]]:
    """All rows of all tables."""
    return {t: await asked(dsn, f'SELECT * FROM "{t}"') for (t,) in await asked(dsn, TABLES)}


async def test_one_that_was_used_comes_back_clean_under_another_name(own: Databases) -> None:
    first = await own.take()
    before, shape, oid = await content(first), await asked(first, SHAPE), await oid_of(first)
    kit = PostgresKit(first)
    await kit.start()
    await kit.attempt(await kit.ready())
    await kit.stop()
    assert await content(first) != before
    own.drop(first)

    async def come_back() -> str:
        dsn = await own.take()
        return dsn if await oid_of(dsn) == oid else ""

    again = await until(come_back)
    assert name_of(again) != name_of(first)
    assert await content(again) == before
    assert await asked(again, SHAPE) == shape  # with the clock of every server
    assert await asked(again, "SELECT nextval('dispatch_ids')") == [(1,)]
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asked(first, "SELECT 1")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE runs ADD COLUMN more int",
        "CREATE INDEX more ON runs (state)",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE runs DISABLE TRIGGER ALL",
        "CREATE SCHEMA more",
        "INSERT INTO liveness SELECT * FROM liveness WHERE false; ANALYZE",
    ],
)
async def test_one_that_was_altered_is_not_used_again(own: Databases, change: str) -> None:
    dsn = await own.take()
    oid = await oid_of(dsn)
    conn: Any = await asyncpg.connect(dsn)
    await conn.execute(change)
    await conn.close()
    own.drop(dsn)
    taken = [await own.take() for _ in range(3)]
    assert oid not in [await oid_of(dsn) for dsn in taken]
    for other in taken:
        own.drop(other)
