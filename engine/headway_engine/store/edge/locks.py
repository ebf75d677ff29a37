"""Locks by name within one engine: who writes the same run waits here, not for a lost race."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable


class Locks:
    """As many as are in use."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, list[None]]] = {}

    @asynccontextmanager
    async def of(self, names: Iterable[str]) -> AsyncGenerator[None]:
        """Hold all of these; always taken in one order, so that nobody waits for ever."""
        held: list[str] = []
        taken = 0
        wanted = sorted(set(names))
        try:
            for name in wanted:
                lock, users = self._locks.setdefault(name, (asyncio.Lock(), []))
                users.append(None)
                held.append(name)
                await lock.acquire()
                taken += 1
            yield
        finally:
            for k, name in enumerate(held):
                lock, users = self._locks[name]
                if k < taken:
                    lock.release()
                users.pop()
                if not users:
                    del self._locks[name]
