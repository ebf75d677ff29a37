"""Connections to Postgres, and what to do when a statement fails (DECISIONS A2), in one place.

- 40xxx, 55P03, 57xxx, 53xxx: the same batch again, with jitter; after `PATIENCE` StoreDown.
- Connection lost, also at the commit: unknown, so the same again. Every statement of this store is
  safe to repeat. After `PATIENCE` StoreDown.
- 0A000, 26000 (a migration changed a table under a prepared statement): once more per connection,
  each time on a new one.
- 22xxx, 23xxx, an illegal move, a value that cannot be sent: `Poison`; `bisect` finds the row.

Behind a pooler in transaction mode open the store with `statement_cache_size=0`; session locks and
session settings are not used after the connection's start.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from headway.errors import HeadwayError
from headway_engine.store import StoreDown
from headway_engine.store.postgres import identity
from headway_engine.store.postgres.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Connection = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 2.0
"""Seconds of trying before StoreDown."""
STUCK = 11.0
"""Seconds after which a connection counts as dead: Postgres itself gives up after 10."""
LIST_SETTINGS = {
    "application_name": "headway",
    "lock_timeout": "500ms",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
    "jit": "off",
    "timezone": "UTC",
    # Of a list of states or a time the values decide which index is the right one.
    "plan_cache_mode": "force_custom_plan",
}
SETTINGS = LIST_SETTINGS | {
    # A statement on the path of runs looks up rows by index, whatever the statistics of the moment
    # say; without these a fresh table and 20,000 rows made a save read all of them.
    "plan_cache_mode": "force_generic_plan",
    "random_page_cost": "1.1",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
}
"""Behind a pooler that drops start-up settings, give them to the role (ALTER ROLE .. SET)."""
BROKEN = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)  # fmt: skip
"""What a server raises that is not there, or goes away in the middle of a first word."""
_AGAIN = ("40", "53", "57", "08", "55P03", "25006")
_ONCE_MORE = ("0A000", "26000")
_POISON = ("22", "23", "HW0", "21000")


class Poison(HeadwayError):
    """The store cannot take this row."""

    code = "rejected"


class Db:
    """Two sets of connections: the lists have their own, so that none of them delays a save."""

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 8,
        list_size: int = 2,
        statement_cache_size: int = 256,
        patience: float = PATIENCE,
        schema: str = "",
    ) -> None:
        """`schema`: in which the tables are; empty = the connection's own."""
        self._schema = schema
        self._dsn, self._size, self._list_size = dsn, size, list_size
        self._cache = statement_cache_size
        self._patience = patience
        self._pool: Connections | None = None
        self._lists: Connections | None = None
        self.floor = identity.Floor(0, "")
        """Epoch floor for runs from before the last change of the database (DECISIONS G4)."""
        self._mark = identity.Mark()

    async def open(self) -> None:
        """Connect; raises StoreDown."""
        self._pool = Connections(lambda: self._connect(SETTINGS), self._size)
        self._lists = Connections(lambda: self._connect(LIST_SETTINGS), self._list_size)
        try:
            await self._pool.open(1)
            await self._lists.open(1)
        except BROKEN as e:
            await self.close()
            raise StoreDown(f"no connection to Postgres: {_short(e)}") from None

    async def close(self) -> None:
        """End the connections; idempotent."""
        pools, self._pool, self._lists = (self._pool, self._lists), None, None
        for pool in pools:
            if pool is not None:
                await pool.close(5)

    def use(self) -> tuple[int, int]:
        """(connections that are busy, connections that there may be)."""
        pools = [pool.use() for pool in (self._pool, self._lists) if pool is not None]
        return sum(used for used, _ in pools), sum(size for _, size in pools)

    async def _connect(self, settings: dict[str, str]) -> Connection:
        if self._schema:
            settings = settings | {"search_path": self._schema}
        conn = await asyncpg.connect(
            self._dsn, server_settings=settings, statement_cache_size=self._cache, timeout=5
        )
        try:
            await self._init(conn)
        except BaseException:
            conn.terminate()
            raise
        return conn

    async def _init(self, conn: Any) -> None:
        """On each new connection: is this still the database that we know? (G4)."""
        if self._schema and await conn.fetchval("SELECT current_schema()") != self._schema:
            raise StoreDown(
                f"the tables in the schema {self._schema} cannot be chosen: a pooler drops the"
                " setting search_path; let the engine connect to Postgres directly"
            )
        self.floor, seen = await identity.check(conn, self._mark)
        self._mark = seen if seen[1:] != self._mark[1:] else max(self._mark, seen)

    def flushed(self, lsn: int) -> None:
        """How far the WAL is on disk now, of the database that was last connected to."""
        if self._mark.sys:
            self._mark = self._mark._replace(flushed=max(self._mark.flushed, lsn))

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """One statement on the runs' pool."""
        return await self.call(lambda c: c.fetch(sql, *args))

    async def read(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """One statement on the lists' pool."""
        return await self.call(lambda c: c.fetch(sql, *args), self._lists)

    async def call(
        self, op: Callable[[Connection], Awaitable[T]], pool: Connections | None = None
    ) -> T:
        """Run `op`, again and again as the module's docstring says; raises StoreDown or Poison."""
        pool = pool or self._pool
        if pool is None:
            raise StoreDown("the store is not open")
        until = time.monotonic() + self._patience
        tries = 0
        while True:
            tries += 1
            problem: Exception = TimeoutError()
            try:
                conn = await pool.take(self._patience)
                try:
                    async with asyncio.timeout(STUCK):
                        return await op(conn)
                except (asyncpg.InternalClientError, TimeoutError, asyncio.CancelledError):
                    # It died between two messages and does not know, or has an answer to come.
                    conn.terminate()
                    raise
                except asyncpg.PostgresError as e:
                    if e.sqlstate in _ONCE_MORE:
                        conn.terminate()  # all that it has prepared is worth nothing
                    raise
                finally:
                    pool.give(conn)
            except asyncpg.PostgresError as e:
                state: str = e.sqlstate or ""
                if state.startswith(_POISON):
                    raise Poison(_short(e)) from None
                if not state.startswith(_AGAIN) and (
                    state not in _ONCE_MORE or tries > self._size + 1
                ):
                    raise
                problem = e
            except (asyncpg.DataError, UnicodeEncodeError) as e:
                raise Poison(_short(e)) from None
            except asyncpg.InterfaceError as e:
                if isinstance(e, ValueError):  # a value that asyncpg cannot send
                    raise Poison(_short(e)) from None
                problem = e
            except (OSError, TimeoutError, asyncpg.InternalClientError) as e:
                problem = e
            if self._pool is None or time.monotonic() >= until:
                raise StoreDown(f"Postgres does not answer: {_short(problem)}") from None
            await asyncio.sleep(min(0.2, 0.005 * 2**tries) * (0.5 + random.random()))


async def bisect(
    items: Sequence[T],
    op: Callable[[Sequence[T]], Awaitable[list[R]]],
    reject: Callable[[T, str], R],
) -> list[R]:
    """`op(items)`; if a row is poison, halves, so that it is rejected alone. Keeps the order."""
    try:
        return await op(items)
    except Poison as e:
        if len(items) == 1:
            return [reject(items[0], str(e))]
        half = len(items) // 2
        return [*await bisect(items[:half], op, reject), *await bisect(items[half:], op, reject)]


def _short(e: BaseException) -> str:
    """The first line of an error, without a row's data (it may hold what users sent)."""
    return f"{type(e).__name__}: {e}".splitlines()[0][:300]
