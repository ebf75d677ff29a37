"""Store on the stream RUNS: one compare-and-set publish is the commit.

The truth is RUNS and the bucket `headway-settings`, both written with fsync. What stands in SQLite
is made from them, and made again when it is missing, damaged or of an older schema. Several engines
may work on one NATS: each has a projection of its own, and a decision on an old look loses.

1. `messages`    the bodies on `hw.run.>`: those of server mode, and a `Change` with all the rest.
2. `fold`        from the messages of an id to its record; pure.
3. `projection`  SQLite, the working set: makes the rows of each message once (`applying`, `rows`),
                 whoever wrote it; `damage` says when its file cannot be trusted. What lacks much is
                 made aside by another process (`filler`), which `filling` starts.
4. `journal`     conditional writes to RUNS, and what others wrote there; `settings` the same for
                 the bucket.
5. `base`        look, decide, publish on condition, look again: the only way to write;
                 `building` gathers what several decisions do to one run for one message.
6. `moves`, `saving`, `presence`, `control`, `dispatching`, `intake`, `claims`, `timers`, `purging`,
                 `shipping`, `upkeep`: the port's methods by area, each upon the one before.
7. `reading` and what is built upon it: `pages` (by `scanning` and `dialect`), `details`, `dead`,
                 `usage`, `jobs`, `sources`.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from headway import subjects
from headway.bus import jsapi
from headway.errors import HeadwayError
from headway_engine.clock import Clock, SystemClock
from headway_engine.store import StoreDown, StoreFacts
from headway_engine.store.edge.damage import healed
from headway_engine.store.edge.dead import Dead
from headway_engine.store.edge.journal import Journal
from headway_engine.store.edge.locks import Locks
from headway_engine.store.edge.projection import SCHEMA, Projection
from headway_engine.store.edge.registry import Registry
from headway_engine.store.edge.scanning import Reader
from headway_engine.store.edge.settings import Settings
from headway_engine.store.edge.sources import Sources
from headway_engine.store.edge.usage import Usage

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from headway.bus import Connection

log = logging.getLogger("headway.engine.edge")

LATELY = 0.9
"""Seconds: a little less than the timers' own, so that they share one look."""
FILLING = "the list of runs is being made anew: until it is full, lists and numbers lack runs"
"""Said of a projection that lacks much."""


@healed
class EdgeStore(Sources, Dead, Usage):
    """See the port. The streams must be there (`streams.ensure_streams(mode="edge")`)."""

    def __init__(
        self,
        nc: Connection,
        folder: Path,
        engine: str = "edge",
        clock: Clock | None = None,
        retention: timedelta = timedelta(days=30),
        *,
        lately: float = 0.0,
        holds: bool = False,
    ) -> None:
        """`folder`: where the projection lies; each engine has its own.

        `lately`: seconds that what another engine wrote may stay unseen by what looks by itself,
        again and again (timers, leases); 0 = each of them reads RUNS. `holds`: no run is removed
        before a hub has confirmed that it has it (see `shipping`).
        """
        self.nc, self.engine, self.clock = nc, engine, clock or SystemClock()
        self.retention, self.lately = retention, lately
        self.holds, self.identity = holds, ""
        self.projection = Projection(folder / "projection.sqlite3")
        self.reader = Reader(self.projection.path, lambda: self.projection.db)
        self.journal = Journal(nc, self.projection)
        self.settings = Settings(nc)
        self.registry = Registry(self.settings)
        self.locks = Locks()
        self.liveness = None
        self.jumps = []
        self._open = False

    async def open(self) -> StoreFacts:
        """Bring the projection up to date; what is much goes on while the engine works."""
        try:
            info = await jsapi(self.nc, f"STREAM.INFO.{subjects.RUNS}")
        except HeadwayError as e:
            raise StoreDown(f"RUNS is not there: {e}") from None
        self.identity = str(info["created"])
        last, count = int(info["state"]["last_seq"]), int(info["state"]["messages"])
        if why := self.projection.open(str(info["created"]), last):
            log.info("the projection is made anew: %s; messages=%d", why, count)
        self._open = True
        self.journal.begin(last, count)
        await self._fresh()
        if self.liveness is None:
            self.liveness = (self._now(), self._now())
        return await self.facts()

    async def facts(self) -> StoreFacts:
        """Durable: the engine refuses to start on a NATS that does not fsync (`ensure_streams`)."""
        self._check()
        try:
            info = await jsapi(self.nc, f"STREAM.INFO.{subjects.RUNS}")
        except HeadwayError as e:
            raise StoreDown(f"RUNS is not there: {e}") from None
        version = self.nc.connected_server_version
        text = f"{version.major}.{version.minor}.{version.patch}"
        problems = [FILLING] if self.journal.behind else []
        if self.holds and (lost := self.shipped().lost):
            problems.append(
                f"{lost:,} runs were removed before the hub had confirmed them, for want of room"
            )
        return StoreFacts("edge", text, SCHEMA, True, problems, f"edge-{info['created']}")

    def _damaged(self, error: Exception) -> None:
        """A call has met what cannot be."""
        if self._open:
            self.journal.make_anew(str(error))

    async def close(self) -> None:
        """Close the projection; the connection is its owner's."""
        self._open = False
        await self.journal.close()
        self.reader.close()
        self.projection.close()

    def filling(self) -> tuple[int, int] | None:
        """While the projection lacks much: the message up to which it is, and the last one."""
        if not self.journal.behind:
            return None
        return min(self.journal.reached, self.journal.upto), self.journal.upto

    def use(self) -> tuple[int, int]:
        """None are needed."""
        return 0, 0

    async def now(self) -> datetime:
        """The store's clock; a probe that RUNS can be read."""
        self._check()
        await self.journal.lately(min(self.lately, LATELY))
        return self._now()

    def in_company(self) -> None:
        """Another engine works here: from now on all of them look for what others wrote."""
        self.lately = min(self.lately, LATELY)

    def _check(self) -> None:
        if not self._open:
            raise StoreDown("the store is closed")
