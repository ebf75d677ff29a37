"""A few connections to Postgres, taken for one operation each; the last one used goes first.

asyncpg's own pool costs a task, a lock and a proxy per use, which on the path of one run is as much
as a statement. Here taking a free connection is a pop from a list. The last one used is the warm
one: its statements are prepared, its server process is in the caches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Connection = asyncpg.Connection[asyncpg.Record]


class Connections:
    """At most `size` connections, made as they are needed, kept until they break."""

    def __init__(self, make: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._make, self._size = make, size
        self._free: list[Connection] = []
        self._used: set[Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._count = 0
        self._closed = False

    def use(self) -> tuple[int, int]:
        """(how many are in somebody's hands, how many there may be)."""
        return len(self._used), self._size

    async def open(self, count: int) -> None:
        """Make so many now; raises what making one raises."""
        made = [await self.take(5.0) for _ in range(count)]
        for conn in reversed(made):
            self.give(conn)

    async def take(self, patience: float) -> Connection:
        """A connection of one's own until `give`; TimeoutError if none is free for so long."""
        loop = asyncio.get_running_loop()
        until = 0.0
        while True:
            if self._closed:
                raise asyncpg.InterfaceError("the connections are closed")
            while self._free:
                conn = self._free.pop()
                if not conn.is_closed():
                    self._used.add(conn)
                    return conn
                self._count -= 1
            if self._count < self._size:
                return await self._new()
            turn: asyncio.Future[None] = loop.create_future()
            if until:
                self._waiting.appendleft(turn)  # somebody was faster when it was our turn
            else:
                until = loop.time() + patience
                self._waiting.append(turn)
            try:
                async with asyncio.timeout_at(until):
                    await turn
            except BaseException:
                # If it was our turn already, it is somebody else's now.
                if turn.done() and not turn.cancelled():
                    self._next()
                raise

    async def _new(self) -> Connection:
        self._count += 1
        try:
            conn = await self._make()
        except BaseException:
            self._count -= 1
            self._next()
            raise
        if self._closed:
            self._count -= 1
            conn.terminate()
            raise asyncpg.InterfaceError("the connections are closed")
        self._used.add(conn)
        return conn

    def give(self, conn: Connection) -> None:
        """Done with it; one that broke, or is in a transaction still, is not used again."""
        self._used.discard(conn)
        if self._closed or conn.is_closed() or conn.is_in_transaction():
            self._count -= 1
            if not conn.is_closed():
                conn.terminate()
        else:
            self._free.append(conn)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def close(self, within: float) -> None:
        """End all of them, those in use too; idempotent."""
        self._closed = True
        free, self._free = self._free, []
        try:
            async with asyncio.timeout(within):
                for conn in free:
                    await conn.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        for conn in (*free, *self._used):
            if not conn.is_closed():
                conn.terminate()
        while self._waiting:
            self._next()
