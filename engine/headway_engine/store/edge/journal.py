"""Writes to RUNS and what others wrote there: conditional publishes, and the projection's progress.

What this engine has published is applied as soon as it is acknowledged. A hole in the sequences of
its acks is somebody else's message: `fresh` reads it. A projection that has seen every message up
to some moment is as good as the stream itself: whoever answers without writing asks `fresh` first.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING

from msgspec import Struct

from headway import faults, fencing, subjects
from headway.bus import WrongLast
from headway.errors import HeadwayError
from headway.history import history, next_after
from headway_engine.store import StoreDown
from headway_engine.store.edge.projection import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.client import Client as NatsClient

    from headway_engine.store.edge.projection import Projection

log = logging.getLogger("headway.engine.edge")

TIMEOUT = 5.0
"""Seconds that a write or a read may take until the store counts as down."""
PAGE = 2000
PAGE_BYTES = 8 * 1024 * 1024
"""Of RUNS read and applied at once; the loop does other work in between."""
ALL = ">"


class Draft(Struct):
    """What is to be stored for one id: whole, or not at all."""

    run: str
    over: str
    """The filter of the id."""
    last: int
    """The sequence that it was decided upon."""
    messages: list[fencing.Message]


class Journal:
    """RUNS, for one engine."""

    def __init__(self, nc: NatsClient, projection: Projection) -> None:
        self._nc, self._projection = nc, projection
        self._ahead: set[int] = set()
        """Own messages above the watermark."""
        self._asked = self._read = 0
        self._reading = asyncio.Lock()
        self.lost_races = 0
        self.timeout = TIMEOUT

    async def write(self, drafts: Sequence[Draft]) -> list[bool]:
        """Store each; True where it was stored (and applied), False where somebody was faster.

        What was stored is applied before this returns or raises. Raises StoreDown: then each of
        the others may have been stored, or not; deciding anew from a fresh look is safe.
        """
        changes = [fencing.Change(d.over, d.last, tuple(d.messages)) for d in drafts]
        found = await fencing.append_all(self._nc, subjects.RUNS, changes, timeout=self.timeout)
        if faults.armed:
            await faults.point("engine.edge.stored")
        mine: list[Message] = []
        for draft, seq in zip(drafts, found, strict=True):
            if isinstance(seq, int):
                first = seq - len(draft.messages) + 1
                mine += [
                    Message(m.subject, first + k, m.body) for k, m in enumerate(draft.messages)
                ]
        self._apply_own(mine)
        for seq in found:
            if isinstance(seq, HeadwayError) and not isinstance(seq, WrongLast):
                raise StoreDown(f"RUNS cannot be written: {seq}") from None
        lost = [(d, e) for d, e in zip(drafts, found, strict=True) if isinstance(e, WrongLast)]
        if lost:
            self.lost_races += len(lost)
            await self.fresh()
            for draft, _ in lost:
                await self._vanished(draft)
        return [isinstance(seq, int) for seq in found]

    def _apply_own(self, mine: list[Message]) -> None:
        if not mine:
            return
        mine.sort(key=lambda m: m.seq)
        self._apply(mine, self._projection.watermark, self._ahead.union(m.seq for m in mine))

    def _apply(self, messages: list[Message], upto: int, ahead: set[int]) -> None:
        """Make their rows; what could not be applied is read from RUNS again by the next look."""
        while upto + 1 in ahead:
            upto += 1
        try:
            self._projection.apply(messages, upto)
        except sqlite3.OperationalError as e:
            raise StoreDown(f"the projection {self._projection.path}: {e}") from None
        except sqlite3.DatabaseError as e:
            log.error("the projection is damaged and is made anew: why=%s", e)
            self._ahead.clear()
            self._projection.make_anew()
            raise StoreDown("the projection is made anew") from None
        self._ahead = {seq for seq in ahead if seq > upto}

    async def _vanished(self, draft: Draft) -> None:
        """Lost although nothing new is there: what it expected was removed after its time."""
        record = self._projection.record(draft.run)
        if record is not None and record.seq == draft.last and not await self._any(draft.over):
            self._projection.forget(draft.run)
        for message in draft.messages:
            if subjects.is_key(message.subject) and not await self._any(message.subject):
                self._projection.forget_key(message.subject)

    async def _any(self, subject: str) -> bool:
        try:
            left = await next_after(self._nc, subjects.RUNS, subject, 0, timeout=self.timeout)
        except HeadwayError as e:
            raise StoreDown(f"RUNS cannot be read: {e}") from None
        return left is not None

    async def fresh(self) -> bool:
        """See all that was in RUNS when this was called; True if there was anything new.

        One short read where nothing is. Raises StoreDown.
        """
        self._asked += 1
        ticket = self._asked
        async with self._reading:
            if self._read >= ticket:
                return True  # a look that began after the call has seen it all
            self._read = self._asked
            try:
                return await self._catch_up()
            except HeadwayError as e:
                raise StoreDown(f"RUNS cannot be read: {e}") from None

    async def _catch_up(self) -> bool:
        projection = self._projection
        found = await next_after(
            self._nc, subjects.RUNS, ALL, projection.watermark, timeout=self.timeout
        )
        if found is None:
            return False
        page: list[Message] = []
        size = 0
        start = found.seq
        async for stored in history(
            self._nc,
            subjects.RUNS,
            ALL,
            start,
            batch=PAGE,
            max_bytes=PAGE_BYTES,
            timeout=self.timeout,
        ):
            page.append(Message(stored.subject, stored.seq, stored.data))
            size += len(stored.data)
            if len(page) >= PAGE or size >= PAGE_BYTES:
                self._take(page)
                page, size = [], 0
                await asyncio.sleep(0)
        self._take(page)
        return True

    def _take(self, page: list[Message]) -> None:
        if page:
            self._apply(page, page[-1].seq, self._ahead)
