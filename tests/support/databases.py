"""Databases for tests: copies of a template, made clean again after use, beside the tests.

To make one anew takes ten times as long as to empty one, and many tests want one. A database whose
schema is no longer that of the template, or to which somebody is still connected, is not used
again: it is dropped, and another copy made.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from concurrent.futures import Future

    from headway_ops.local.postgres import PostgresServer

SHAPE = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
  SELECT format('%s %s %s %s', relkind, relname, reloptions, relpersistence) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('%s %s %s %s %s', attrelid::regclass, attname, atttypid, attnotnull,
    attisdropped) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0
  UNION ALL SELECT format('%s %s %s', proname, prosrc, provolatile) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT format('%s %s %s', tgrelid::regclass, tgenabled, pg_get_triggerdef(oid))
    FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT format('%s %s', indexrelid::regclass, indisvalid) FROM pg_index
    WHERE indrelid >= 16384
  UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)'
  UNION ALL SELECT format('%s %s', setrole, setconfig) FROM pg_db_role_setting
    JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()
  UNION ALL SELECT evtname FROM pg_event_trigger
  -- What ANALYZE has learnt would change the plans of the next test.
  UNION ALL SELECT DISTINCT 'analyzed' FROM pg_statistic WHERE starelid >= 16384
) AS lines (line)
"""
USED = """
SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
  AND pg_relation_size(oid) > 0 ORDER BY relname
"""
RESTART = """
SELECT setval(format('%I', sequencename)::regclass, start_value, false) FROM pg_sequences
  WHERE schemaname = 'public' AND last_value IS NOT NULL
"""
CLOCK_OF_A_TEST = "test_clock"
"""The table of a kit's clock (`support.stores`), which takes the place of `hw_now()`."""


async def create_database(server: PostgresServer, template: str = "template1") -> str:
    """A fresh database copied from a template; its DSN."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    async with _admin(server) as admin:
        # Both names are ours: no test data reaches this text. Files are copied: without fsync that
        # takes half of what it takes to write all of them into the log.
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    return server.dsn(name)


async def drop_database(server: PostgresServer, dsn: str) -> None:
    """Remove a test's database, whoever is still connected."""
    async with _admin(server) as admin:
        await admin.execute(f'DROP DATABASE IF EXISTS "{_name_of(dsn)}" WITH (FORCE)')


async def make_template(
    server: PostgresServer, name: str, migrate: Callable[[str], Awaitable[object]]
) -> None:
    """A database migrated once, to be copied for each test."""
    async with _admin(server) as admin:
        await admin.execute(f'CREATE DATABASE "{name}"')
        await migrate(server.dsn(name))


class Databases:
    """Fresh copies of a template, one always ready, made and cleaned in a thread of its own."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server, self._template = server, template
        self._beside = ThreadPoolExecutor(1, "databases")
        self._runner = asyncio.Runner()
        self._pristine: _Pristine | None = None
        self._clean: list[str] = []
        """DSNs; of the thread alone."""
        self._spare: Future[str] | None = None

    async def take(self) -> str:
        """The DSN of one in which there is nothing but the schema."""
        spare = self._spare or self._beside.submit(self._next)
        # Before the wait: a test that is stopped in it must not leave the same one to the next.
        self._spare = None
        dsn = await asyncio.wrap_future(spare)
        self._spare = self._beside.submit(self._next)
        return dsn

    def drop(self, dsn: str) -> None:
        """Give it back: it is cleaned, or removed, when there is time."""
        self._beside.submit(lambda: self._runner.run(self._given_back(dsn)))

    def _next(self) -> str:
        return self._runner.run(self._made())

    async def _made(self) -> str:
        if self._clean:
            return self._clean.pop()
        dsn = await create_database(self._server, self._template)
        if self._pristine is None:
            self._pristine = await _pristine(dsn)
        return dsn

    async def _given_back(self, dsn: str) -> None:
        with contextlib.suppress(asyncpg.PostgresError, OSError, TimeoutError):
            if self._pristine is not None and (found := await self._cleaned(dsn, self._pristine)):
                self._clean.append(found)
                return
        await drop_database(self._server, dsn)

    async def _cleaned(self, dsn: str, pristine: _Pristine) -> str:
        """The DSN of the database once it is clean, empty if it cannot be used again.

        It gets another name: whoever comes late finds nothing, and nobody can be in it now.
        """
        name = f"t_{uuid.uuid4().hex[:12]}"
        async with _admin(self._server) as admin:
            await admin.execute(f'ALTER DATABASE "{_name_of(dsn)}" RENAME TO "{name}"')
        dsn = self._server.dsn(name)
        if await _clean(dsn, pristine):
            return dsn
        await drop_database(self._server, dsn)
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.submit(self._runner.close)
        self._beside.shutdown()


class _Pristine:
    """What a fresh copy is like."""

    def __init__(self, shape: str, now: str, rows: dict[str, list[Any]]) -> None:
        self.shape, self.now, self.rows = shape, now, rows


async def _pristine(dsn: str) -> _Pristine:
    conn: Any = await asyncpg.connect(dsn)
    try:
        used = [row[0] for row in await conn.fetch(USED)]
        rows = {t: [tuple(r) for r in await conn.fetch(f'SELECT * FROM "{t}"')] for t in used}
        now = await conn.fetchval("SELECT pg_get_functiondef('hw_now'::regproc)")
        return _Pristine(await conn.fetchval(SHAPE), now, rows)
    finally:
        await conn.close()


async def _clean(dsn: str, pristine: _Pristine) -> bool:
    """Make it as a fresh copy; False if its schema is another one."""
    conn: Any = await asyncpg.connect(dsn)
    try:
        if await conn.fetchval("SELECT to_regclass($1)", CLOCK_OF_A_TEST) is not None:
            await conn.execute(f"{pristine.now}; DROP TABLE {CLOCK_OF_A_TEST}")
        if await conn.fetchval(SHAPE) != pristine.shape:
            return False
        used = [row[0] for row in await conn.fetch(USED)]
        async with conn.transaction():
            await conn.execute("SET LOCAL session_replication_role = replica")  # no triggers
            if used:
                tables = ", ".join(f'"{table}"' for table in used)
                await conn.execute(f"TRUNCATE {tables} CASCADE")
            for table, rows in pristine.rows.items():
                await conn.copy_records_to_table(table, records=rows)
            await conn.fetch(RESTART)
            await conn.execute("SELECT pg_stat_reset()")
        return True
    finally:
        await conn.close()


@contextlib.asynccontextmanager
async def _admin(server: PostgresServer) -> AsyncGenerator[Any]:
    conn: Any = await asyncpg.connect(server.dsn())
    try:
        yield conn
    finally:
        await conn.close()


def _name_of(dsn: str) -> str:
    return dsn.split("?", 1)[0].rsplit("/", 1)[1]
