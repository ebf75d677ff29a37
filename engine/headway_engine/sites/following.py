"""Follows one site: its messages, from the hub's copies, into the hub's store, each once.

A pass asks the site how far its RUNS goes (over the leaf link; a cut link is no error), then takes
what the hub's copy has after the stored position. The position is the site's own sequence, which
every copy carries in a header: so it does not matter how often the hub's stream was made, or which
engine follows. Killed anywhere, the next pass goes on from what was committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from headway import subjects
from headway.bus import JetStreamRefused, ask, jsapi
from headway.errors import HeadwayError
from headway.history import history
from headway_engine.service import Ticker
from headway_engine.sites import Unstorable
from headway_engine.sites.copying import Copied, Rows, only_position, rows_of, runs_of
from headway_engine.sites.homing import Confirming
from headway_engine.sites.records import Position
from headway_engine.sites.streams import declared_site
from headway_engine.store import StoreDown
from headway_engine.streams import ensure_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from nats.aio.client import Client as NatsClient

    from headway.history import Stored
    from headway_engine.changes.messages import Record
    from headway_engine.sites import SiteStore

log = logging.getLogger("headway.engine.sites")

EVERY = 0.5
"""Seconds between two looks at the copies."""
CONTACT_EVERY = 2.0
"""Seconds between two questions over the link: it may be a thin one."""
CONTACT = 2.0
"""Seconds that the site gets to say how far it is."""
PAGE, PAGE_BYTES = 2000, 8 * 1024 * 1024
"""Of messages in one transaction."""
PAGES = 10
"""Until the site is asked again how far it is."""
LEFT = 1000
"""Copies that stay when what is in the store is cleared away: the last one says where to go on."""
SAMPLES = 1000
STALLED = 5.0
"""Seconds in which nothing came although the site has more."""
SOURCE = "Nats-Stream-Source"


@dataclass(slots=True)
class _Page:
    """Copies that are written together."""

    last: int
    """The hub's own sequence of the last of them."""
    copies: list[Copied] = field(default_factory=list[Copied])
    more: bool = False
    """There may be others behind it."""
    trimmed: bool = False
    """It is the first one, and those before it were cleared away."""


class Follower(Ticker):
    """One site at a hub; every engine has one, and they take turns."""

    name = "site"

    def __init__(
        self,
        nc: NatsClient,
        store: SiteStore,
        site: str,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(EVERY)
        self._nc, self._store, self.site, self._now = nc, store, site, now
        self._stream = subjects.site_stream(subjects.RUNS, site)
        self._next = 1
        self._cleared = 0
        self._declared = False
        self._created = ""
        self._asked_at: datetime | None = None
        self._moved: datetime | None = None
        self._heads: deque[tuple[int, datetime]] = deque(maxlen=SAMPLES)
        self._linked: bool | None = None
        self._problem = ""
        self._known = 0
        """The position, as it was seen last."""
        self._refilled = -1
        self._confirming = Confirming(nc, site)

    async def once(self) -> float | None:
        """Hear of the site, then take what came."""
        try:
            if not self._declared:
                await self._declare()
            position = (await self._store.positions()).get(self.site) or Position(self.site)
            heard = await self._contact(position)
            if position.problem:
                return None
            if position.seq < self._known:
                log.warning(
                    "site %s: this hub's store was set back, from message %d to %d: what is missing"
                    " is taken again",
                    self.site, self._known, position.seq,
                )  # fmt: skip
                self._next = 1
            self._known = position.seq
            more = await self._take()
            await self._note(heard)
            if heard is not None:
                await self._confirm()
        except HeadwayError as e:
            if isinstance(e, StoreDown):
                raise
            log.warning("site %s: its copies cannot be read now: %s", self.site, e)
            self._declared = False
            return None
        return 0 if more else None

    async def _declare(self) -> None:
        """Make the hub's streams; one that was made anew is read from its beginning."""
        for name, config in declared_site(self.site).items():
            info = await ensure_stream(self._nc, name, config, [])
            if name == self._stream and info["created"] != self._created:
                self._created, self._next, self._cleared = str(info["created"]), 1, 0
        self._declared = True

    # --- how far the site is

    async def _contact(self, position: Position) -> tuple[str, int, datetime] | None:
        """(identity of the site's RUNS, its last sequence, when); None: not asked, or no answer."""
        at = self._now()
        if self._asked_at is not None and (at - self._asked_at).total_seconds() < CONTACT_EVERY:
            return None
        self._asked_at = at
        try:
            answer = await ask(
                self._nc,
                f"{subjects.site_api(self.site)}.STREAM.INFO.{subjects.RUNS}",
                b"",
                timeout=CONTACT,
            )
        except HeadwayError as e:
            self._link(up=False, why=str(e))
            return None
        info: dict[str, Any] = msgspec.json.decode(answer.data, type=dict[str, Any])
        if "error" in info:
            self._link(up=False, why=str(info["error"].get("description", "")))
            return None
        created, head = str(info["created"]), int(info["state"]["last_seq"])
        if position.stream and created != position.stream:
            self._problem = (
                f"its RUNS was made anew ({created}, it was {position.stream}): the history that"
                " this hub has is another one's; let it join under a new name"
            )
        if self._problem != position.problem:
            await self._store.halt(self.site, self._problem)
            position.problem = self._problem
            log.warning("site %s is not followed: %s", self.site, self._problem)
        self._heads.append((head, at))
        was = self._linked
        self._link(up=True, why="")
        stalled = (at - self._moved).total_seconds() > STALLED if self._moved else False
        if was is not True or (stalled and head > position.seq):
            self._moved = at
            await self._hurry()
        return created, head, at

    async def _hurry(self) -> None:
        """Let the hub's NATS ask the site now: by itself it takes up to 40 s after an outage.

        It asks anew for a source that is given to it; it knows from its copies where to go on.
        Killed in between: `_declare` gives the source back at the next start.
        """
        for name, config in declared_site(self.site).items():
            have = (await jsapi(self._nc, f"STREAM.INFO.{name}"))["config"]
            await jsapi(self._nc, f"STREAM.UPDATE.{name}", {**have, **config, "sources": []})
            await jsapi(self._nc, f"STREAM.UPDATE.{name}", {**have, **config})

    def _link(self, *, up: bool, why: str) -> None:
        if up is not self._linked:
            if up:
                log.info("site %s is linked", self.site)
            else:
                log.warning("site %s is not linked: %s", self.site, why)
            self._linked = up

    async def _note(self, heard: tuple[str, int, datetime] | None) -> None:
        if heard is None and not self._heads:
            return
        position = (await self._store.positions()).get(self.site) or Position(self.site)
        as_of = None
        while self._heads and self._heads[0][0] <= position.seq:
            as_of = self._heads.popleft()[1]
        if heard is not None:
            created, head, at = heard
            await self._store.heard(self.site, created, head, at, as_of)
        elif as_of is not None and position.contact_at is not None:
            await self._store.heard(
                self.site, position.stream, position.head, position.contact_at, as_of
            )

    async def _confirm(self) -> None:
        """Let the site's retention know; its stream may be full, or not there yet."""
        position = (await self._store.positions()).get(self.site) or Position(self.site)
        try:
            await self._confirming.say(position)
        except HeadwayError as e:
            log.info("site %s cannot be told how far this hub is: %s", self.site, e)

    # --- what came

    async def _take(self) -> bool:
        """Take some pages; True if there may be more. The next is read while one is written."""
        reading = asyncio.create_task(self._read(self._next))
        try:
            for left in range(PAGES, 0, -1):
                page = await reading
                if left == PAGES and await self._refill(page):
                    return False
                if page.copies:
                    self._moved = self._now()
                if page.more and left > 1:
                    reading = asyncio.create_task(self._read(page.last + 1))
                if not await self._apply(page.copies):
                    return False
                self._next = page.last + 1
                if not page.more:
                    await self._clear(page.last)
                    return False
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return True

    async def _refill(self, page: _Page) -> bool:
        """Ask the site again for what this hub had, and cleared away, before it was set back.

        The copies begin beyond the position then: as many as `LEFT` from before it always stay.
        Once for a position, since the site may have pruned what lies between.
        """
        known = self._known
        if not page.trimmed or not page.copies or known == self._refilled:
            return False
        if page.copies[0].seq <= known + 1:
            return False
        self._refilled = known
        log.warning("site %s: its messages from %d on are asked for again", self.site, known + 1)
        for name, config in declared_site(self.site, known + 1).items():
            if name != self._stream:
                continue
            have = (await jsapi(self._nc, f"STREAM.INFO.{name}"))["config"]
            await jsapi(self._nc, f"STREAM.UPDATE.{name}", {**have, **config, "sources": []})
            await jsapi(self._nc, f"STREAM.PURGE.{name}")
            await jsapi(self._nc, f"STREAM.UPDATE.{name}", {**have, **config})
        self._next, self._cleared = 1, 0
        return True

    async def _read(self, first: int) -> _Page:
        """One page of the hub's copies."""
        page = _Page(first - 1)
        size = 0
        fresh = first == 1
        read = history(self._nc, self._stream, ">", first, batch=PAGE, max_bytes=PAGE_BYTES)
        async with aclosing(read):
            async for stored in read:
                page.copies.append(Copied(origin(stored), stored.subject, stored.data))
                page.last = stored.seq
                page.trimmed = page.trimmed or (fresh and stored.seq > 1)
                fresh = False
                size += len(stored.data)
                # Not one further: the next ones would be sent for nothing.
                if len(page.copies) == PAGE or size >= PAGE_BYTES:
                    page.more = True
                    break
        return page

    async def _apply(self, page: Sequence[Copied]) -> bool:
        """Write them; False: another engine is at it."""

        def build(position: Position, known: dict[str, tuple[str, Record]]) -> Rows:
            rows = rows_of(position, known, page)
            if rows.skipped:
                log.warning("site %s: %d skipped, the last: %s", self.site, rows.skipped, rows.why)
            return rows

        try:
            return await self._store.apply(self.site, runs_of(page), build) is not None
        except Unstorable as e:
            if len(page) > 1:
                half = len(page) // 2
                return await self._apply(page[:half]) and await self._apply(page[half:])
            why = f"message {page[0].seq} cannot be stored: {e}"
            log.warning("site %s: %s", self.site, why)

            def step(position: Position, known: dict[str, tuple[str, Record]]) -> Rows:
                return only_position(rows_of(position, {}, page), why)

            return await self._store.apply(self.site, runs_of(page), step) is not None

    async def _clear(self, last: int) -> None:
        """Remove copies that are in the store, but for the last ones."""
        if last - self._cleared < 2 * LEFT:
            return
        try:
            await jsapi(self._nc, f"STREAM.PURGE.{self._stream}", {"seq": last - LEFT})
        except JetStreamRefused as e:
            log.warning("site %s: its copies were not cleared away: %s", self.site, e)
        self._cleared = last


def origin(stored: Stored) -> int:
    """The sequence at the site: `RUNS 17 ...` in the header that sourcing writes."""
    parts = stored.headers.get(SOURCE, "").split(" ")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0


class Retention(Ticker):
    """Removes runs of sites that are past the hub's retention."""

    name = "sites-retention"

    def __init__(self, store: SiteStore, period: float) -> None:
        super().__init__(period)
        self._store = store

    async def once(self) -> float | None:
        """One batch."""
        return 0.05 if await self._store.prune() else None
