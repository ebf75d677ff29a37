"""Store in memory: the reference that the others are compared with, and the store of quick tests.

One process, one event loop; no method awaits in the middle, so each is atomic. It carries out
`lifecycle.decide` like the others. Nothing survives the process.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from headway_engine.clock import Clock, SystemClock
from headway_engine.store import StoreDown, StoreFacts
from headway_engine.store.memory.dead import Dead
from headway_engine.store.memory.jobs import Jobs
from headway_engine.store.memory.sources import Sources
from headway_engine.store.memory.tables import Tables


class MemoryStore(Sources, Jobs, Dead):
    """See the port. `tables` may be shared by several stores: they are engines on one database."""

    def __init__(
        self,
        engine: str = "memory",
        clock: Clock | None = None,
        tables: Tables | None = None,
        retention: timedelta = timedelta(days=30),
    ) -> None:
        self.engine = engine
        self.clock = clock or SystemClock()
        self.tables = tables or Tables()
        self.retention = retention
        self.down = False
        """Set it to make every call raise StoreDown."""

    async def open(self) -> StoreFacts:
        """Nothing to connect."""
        if self.tables.liveness is None:
            self.tables.liveness = (self._now(), self._now())
        return await self.facts()

    async def facts(self) -> StoreFacts:
        """Not durable."""
        self._check()
        problems = ["the store is in memory: nothing is durable"]
        return StoreFacts("memory", "", 1, False, problems, "memory")

    async def close(self) -> None:
        """Nothing to give back."""

    def use(self) -> tuple[int, int]:
        """None are needed."""
        return 0, 0

    async def now(self) -> datetime:
        """The clock's time."""
        self._check()
        return self._now()

    def _now(self) -> datetime:
        return self.clock.now()

    def _check(self) -> None:
        if self.down:
            raise StoreDown
