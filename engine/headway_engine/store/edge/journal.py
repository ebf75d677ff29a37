"""Writes to RUNS and what others wrote there: conditional publishes, and the projection's progress.

What this engine has published is applied as soon as it is acknowledged. A hole in the sequences of
its acks is somebody else's message: `fresh` reads it. A projection that has seen every message up
to some moment is as good as the stream itself: whoever answers without writing asks `fresh` first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec import Struct

from headway import faults, fencing, subjects
from headway.bus import WrongLast
from headway.errors import HeadwayError
from headway.history import history, next_after
from headway_engine.store import StoreDown
from headway_engine.store.edge.applying import Message
from headway_engine.store.edge.damage import is_damage
from headway_engine.store.edge.filling import Job, aside, fill_aside
from headway_engine.store.edge.projection import remove

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from headway.bus import Connection
    from headway_engine.store.edge.projection import Projection

log = logging.getLogger("headway.engine.edge")

TIMEOUT = 5.0
"""Seconds that a write or a read may take until the store counts as down."""
PAGE = 500
PAGE_BYTES = 8 * 1024 * 1024
"""Of RUNS read at once, and applied without a pause."""
FEW = 5000
"""Messages that are read before an answer is given; if more are missing, by another process."""
SIDE_BY_SIDE = 16
"""Ids that are read at once while much is missing."""
PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds until a read in the background that broke off goes on; twice as many each time."""
SAID_EVERY = 10.0
"""Seconds between two lines that say how far it is."""
WRITE_WITHIN = 0.1
"""Seconds until rows of what was published are written, if nobody looks at them before."""
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

    def __init__(self, nc: Connection, projection: Projection) -> None:
        self._nc, self._projection = nc, projection
        self._ahead: set[int] = set()
        """Own messages above the watermark."""
        self._asked = self._read = 0
        self._looked_at = float("-inf")
        """When the last look began that saw the end."""
        self._reading = asyncio.Lock()
        self._filling: asyncio.Task[None] | None = None
        self._filled = asyncio.Event()
        self._filled.set()
        self._known: set[str] = set()
        """While much is missing: ids that were read since, and what this engine wrote."""
        self._side_by_side = asyncio.Semaphore(SIDE_BY_SIDE)
        self.upto = 0
        """The last message that was there when it began to read in the background."""
        self._aside = 0
        """How far the file is that is made aside."""
        self._writing: asyncio.TimerHandle | None = None
        projection.lost = self._lost
        self.lost_races = 0
        self.timeout = TIMEOUT

    # --- a projection that lacks much

    @property
    def behind(self) -> bool:
        """Much is missing, and is being read."""
        return not self._filled.is_set()

    @property
    def reached(self) -> int:
        """How far RUNS is read, in the background too."""
        return max(self._aside, self._projection.watermark)

    def begin(self, last: int, messages: int) -> None:
        """RUNS has so many messages, up to this one: if many are missing, they are filled in."""
        if min(last - self._projection.watermark, messages) > FEW:
            self.fill(last)
        else:
            remove(aside(self._projection.path))  # what one that was stopped has left

    def fill(self, last: int) -> None:
        """Read on in the background, up to the end of RUNS, which is at `last` or later."""
        self.upto = max(self.upto, last)
        self._known.clear()
        if self._filling is None or self._filling.done():
            self._filled.clear()
            self._aside = 0
            self._filling = asyncio.create_task(self._fill(), name="headway-edge-fill")

    async def _fill(self) -> None:
        begun = time.monotonic()
        first, why, pause = self._projection.watermark, "", PAUSE
        while True:
            try:
                if self.upto - self._projection.watermark > FEW:
                    await self._fill_aside()
                made = self._projection.made
                async for _ in self._pages():
                    pass
                if made == self._projection.made:
                    break
            except Exception as e:  # a projection that nobody fills would lack runs for ever
                if is_damage(e):
                    with contextlib.suppress(StoreDown):
                        self.make_anew(str(e))
                elif repr(e) != why:
                    why = repr(e)
                    log.warning("the projection is filled later: why=%s", why)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        # What was written since the end was seen is what `fresh` reads, from here on.
        self._known.clear()
        self._filled.set()
        log.info(
            "the projection is full: messages=%d seconds=%.1f",
            self._projection.watermark - first, time.monotonic() - begun,
        )  # fmt: skip

    async def _fill_aside(self) -> None:
        """Have another process make a file up to the end of RUNS, and go on with that one.

        What was written meanwhile is not in it: `_pages` reads that. Whoever decides about an id
        before that looks at it, as ever while much is missing.
        """
        said = time.monotonic()

        def reached(upto: int) -> None:
            nonlocal said
            self._aside = upto
            if time.monotonic() - said > SAID_EVERY:
                said = time.monotonic()
                log.info("the projection is being filled: message=%d of=%d", upto, self.upto)

        assert self._nc.settings is not None
        path, begun = self._projection.path, self._projection.watermark
        stream = self._projection.stream
        await fill_aside(Job(self._nc.settings, str(path), begun, stream, self.upto), reached)
        self._projection.take_over(aside(path))
        self._ahead.clear()
        self._known.clear()

    async def whole(self) -> None:
        """Wait until nothing is missing that was there; raises StoreDown after `timeout`."""
        if self.behind:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.timeout):
                    await self._filled.wait()
            if self.behind:
                share = min(99, 100 * self.reached // max(1, self.upto))
                raise StoreDown(f"the list of runs is being made anew: {share} % are read")
        await self.fresh()

    async def look(self, runs: Iterable[str], *, again: bool = True) -> bool:
        """See all that was written of these ids before this was called; True if it was new.

        Costs nothing unless much is missing. `again`: false = what was read since is enough: a
        write that is decided on it loses where it was not the last word. Raises StoreDown.
        """
        if not self.behind:
            return False
        wanted = [run for run in dict.fromkeys(runs) if again or run not in self._known]
        found = await asyncio.gather(*(self._look(f"hw.run.*.{run}.>", run) for run in wanted))
        return any(found)

    async def look_at_keys(self, keys: Iterable[str]) -> None:
        """The same of idempotency keys, by their subjects, and of who holds them."""
        if not self.behind:
            return
        wanted = list(dict.fromkeys(keys))
        await asyncio.gather(*(self._look(subject) for subject in wanted))
        holders = [self._projection.holder(subject) for subject in wanted]
        await self.look(holder for holder in holders if holder)

    async def _look(self, over: str, run: str = "") -> bool:
        async with self._side_by_side:
            page, made = list[Message](), -1
            while made != self._projection.made:  # another file may know less of it
                made = self._projection.made
                record = self._projection.record(run) if run else None
                first = 1 if record is None else record.seq + 1
                read = history(self._nc, subjects.RUNS, over, first, timeout=self.timeout)
                try:
                    page = [Message(m.subject, m.seq, m.data) async for m in read]
                except HeadwayError as e:
                    raise StoreDown(f"RUNS cannot be read: {e}") from None
            if page:
                self._apply(page, self._projection.watermark, self._ahead)
            if run and self.behind:
                self._known.add(run)
            return bool(page)

    async def close(self) -> None:
        """Read no more in the background; what was noted is the projection's to write."""
        if self._writing is not None:
            self._writing.cancel()
        if self._filling is not None:
            self._filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._filling

    # --- writing

    async def write(self, drafts: Sequence[Draft]) -> list[bool]:
        """Store each; True where it was stored (and applied), False where somebody was faster.

        What was stored is applied before this returns or raises. Raises StoreDown: then each of
        the others may have been stored, or not; deciding anew from a fresh look is safe.
        """
        changes = [fencing.Change(d.over, d.last, tuple(d.messages)) for d in drafts]
        made = self._projection.made
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
        same = made == self._projection.made
        if same:
            self._apply_own(mine)
        for seq in found:
            if isinstance(seq, HeadwayError) and not isinstance(seq, WrongLast):
                raise StoreDown(f"RUNS cannot be written: {seq}") from None
        lost = [d for d, e in zip(drafts, found, strict=True) if isinstance(e, WrongLast)]
        # Another file may know less of them than they were decided upon.
        if unseen := lost if same else drafts:
            self.lost_races += len(lost)
            await self.fresh()
            await self.look(draft.run for draft in unseen)
            await self.look_at_keys(
                m.subject for draft in unseen for m in draft.messages if subjects.is_key(m.subject)
            )
            for draft in lost:
                await self._vanished(draft)
        return [isinstance(seq, int) for seq in found]

    def _apply_own(self, mine: list[Message]) -> None:
        if not mine:
            return
        mine.sort(key=lambda m: m.seq)
        upto, ahead = self._projection.watermark, self._ahead.union(m.seq for m in mine)
        self._apply(mine, upto, ahead, at_once=self.behind)
        if self._writing is None and not self.behind:
            self._writing = asyncio.get_running_loop().call_later(WRITE_WITHIN, self._write_noted)

    def _apply(
        self, messages: list[Message], upto: int, ahead: set[int], *, at_once: bool = True
    ) -> None:
        """Make their rows, or note them until somebody looks (`Projection.note`).

        What could not be applied is read from RUNS again by the next look.
        """
        while upto + 1 in ahead:
            upto += 1
        apply = self._projection.apply if at_once else self._projection.note
        self._write_rows(lambda: apply(messages, upto))
        self._ahead = {seq for seq in ahead if seq > upto}

    def _write_noted(self) -> None:
        self._writing = None
        try:
            self._write_rows(self._projection.flush)
        except StoreDown as e:
            log.warning("rows are written later: why=%s", e)

    def _lost(self) -> None:
        """Rows were not written, also of messages above the watermark: all of them come again."""
        self._ahead.clear()

    def _write_rows(self, work: Callable[[], None]) -> None:
        """Raises StoreDown; what was not written is read from RUNS again by the next look."""
        try:
            work()
        except sqlite3.Error as e:
            if is_damage(e) or isinstance(e, sqlite3.IntegrityError):
                self.make_anew(str(e))
                raise StoreDown("the projection is made anew") from None
            raise StoreDown(f"the projection {self._projection.path}: {e}") from None

    def make_anew(self, why: str) -> None:
        """The file cannot be trusted: begin with an empty one, and work while it is filled."""
        log.error("the projection is damaged and is made anew: why=%s", why)
        last = max(self.upto, self._projection.watermark, *self._ahead, 1)
        self._ahead.clear()
        try:
            self._projection.make_anew()
        except (sqlite3.Error, OSError) as e:
            raise StoreDown(f"the projection cannot be made anew: {e}") from None
        self.fill(last)

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

        One short read where nothing is; nothing at all while much is missing (see `look`). Raises
        StoreDown.
        """
        if self.behind:
            return False
        self._asked += 1
        ticket = self._asked
        async with self._reading:
            if self._read >= ticket:
                return True  # a look that began after the call has seen it all
            self._read, begun = self._asked, time.monotonic()
            try:
                found = await self._catch_up()
            except HeadwayError as e:
                raise StoreDown(f"RUNS cannot be read: {e}") from None
            self._looked_at = begun
            return found

    async def lately(self, seconds: float) -> None:
        """See all that was in RUNS so many seconds ago; one look serves all who ask for no more."""
        since = time.monotonic() - seconds
        if self._looked_at > since or self.behind:
            return
        async with self._reading:  # one that is under way will do
            pass
        if self._looked_at <= since:
            await self.fresh()

    async def _catch_up(self) -> bool:
        projection = self._projection
        found = await next_after(
            self._nc, subjects.RUNS, ALL, projection.watermark, timeout=self.timeout
        )
        if found is None:
            return False
        async for _ in self._pages(found.seq):
            if self.behind:  # it was damaged, and is filled in the background
                return True
        return True

    async def _pages(self, start: int = 0) -> AsyncGenerator[None]:
        """Read and apply what follows the watermark, to the end, a little at a time.

        Ends early where another file takes the place of the projection.
        """
        page: list[Message] = []
        size, made = 0, self._projection.made
        read = history(
            self._nc,
            subjects.RUNS,
            ALL,
            start or self._projection.watermark + 1,
            batch=PAGE,
            max_bytes=PAGE_BYTES,
            timeout=self.timeout,
        )
        async with aclosing(read):
            async for stored in read:
                if made != self._projection.made:
                    return
                page.append(Message(stored.subject, stored.seq, stored.data))
                size += len(stored.data)
                if len(page) >= PAGE or size >= PAGE_BYTES:
                    self._take(page)
                    page, size = [], 0
                    yield
                    await asyncio.sleep(0)
        if made == self._projection.made:
            self._take(page)

    def _take(self, page: list[Message]) -> None:
        if page:
            self._apply(page, page[-1].seq, self._ahead)
