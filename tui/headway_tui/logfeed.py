"""A run's output for its screen: its end first, then what comes; older pages as they are read.

However long a log is, opening it reads one page; some more are read behind it, up to a share of
what is kept. What is not kept any more is read from the stream when the reader scrolls there: one
request at a time, through the engine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.ids import is_run_id
from headway.wire import Malformed, decode
from headway.wire.events import LOG_CHUNK
from headway.wire.runs import LogsAsk, LogsPage
from headway_tui.model.logs import LogStore, Part, around

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway_tui.link import Link

AGAIN = 1.0
"""Seconds before what failed is tried again."""
FIRST = 4
"""Chunks of the first page: its end is seen at once, whatever their size; the rest follows."""
PAGE = 400
"""At most so many chunks of another page; the engine gives fewer where they are large."""
GROWS = 4
"""How many times as many chunks as the page before had are asked for."""
PAINTED = 0.1
"""Seconds for the screen to show the end before the rest is read behind it."""


class LogFeed:
    """Fills a store from LOGS and keeps its end live; the widget says where its reader goes."""

    def __init__(self, link: Link, run: str, store: LogStore, changed: Callable[[], None]) -> None:
        self._link, self.run_id = link, run
        self._store, self._changed = store, changed
        self.trouble = ""
        self.read = False
        """What is stored was looked at: where there is nothing, there is nothing."""
        self._wanted: set[str] = set()
        self._at = 0
        self._there = asyncio.Event()
        self._moved = asyncio.Event()
        self._filling = True
        """Older pages are read behind the first one, as nobody has gone elsewhere yet."""
        self._begun: asyncio.Future[tuple[list[Part], bool]] | None = None
        """The end of it, asked for already."""
        self._fits = FIRST
        """Chunks that the last page had: to ask for many more is work for nothing."""

    # --- what the reader wants

    def want_older(self) -> None:
        """Those above the first line that is kept."""
        self._want("older")

    def want_newer(self) -> None:
        """Those below the last line that is kept."""
        self._want("newer")

    def want_first(self) -> None:
        """The first ones of all."""
        self._want("first")

    def want_last(self) -> None:
        """The last ones of all, and what comes."""
        self._want("last")

    async def go_to(self, seq: int) -> None:
        """The window to the chunk of this sequence; returns when it is there."""
        self._at = seq
        self._there.clear()
        self._want("at")
        await self._there.wait()

    def _want(self, what: str) -> None:
        if what in {"first", "last", "at"}:
            self._wanted.clear()
        self._wanted.add(what)
        self._moved.set()

    # --- at work

    def begin(self) -> None:
        """Ask for the end of it now, if there is a link and the id is whole."""
        if self._link.connected and is_run_id(self.run_id):
            self._begun = asyncio.ensure_future(self._last(FIRST))
            # Whoever looks no more has no use for it, nor for what went wrong.
            self._begun.add_done_callback(lambda t: t.cancelled() or t.exception())

    async def _last(self, n: int) -> tuple[list[Part], bool]:
        return await self._page(LogsAsk(self.run_id, n=n, before=0))

    async def run(self) -> None:
        """Follow and read until cancelled."""
        while self._link.client is None:
            self._link.changed.clear()
            await self._link.changed.wait()
        try:
            await self._show("last", FIRST)
        except HeadwayError as e:
            # Without an engine all of it is read from the stream, by whoever may.
            self.trouble = str(e)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._read())

    async def _follow(self) -> None:
        from headway.follow import follow_logs

        store = self._store
        seq, known = store.last_seq, store.lines_known()
        while True:
            client = self._link.client
            try:
                assert client is not None
                async for log in follow_logs(client, self.run_id, seq, known):
                    if log.missing and not log.chunk.lines:
                        continue
                    seq = max(seq, log.seq)
                    known[log.epoch] = log.chunk.first + len(log.chunk.lines) - 1
                    store.add(log.epoch, log.chunk, log.seq)
                    self.trouble = ""
                    self._changed()
                return
            except HeadwayError as e:
                self.trouble = str(e)
            await asyncio.sleep(AGAIN)

    async def _read(self) -> None:
        store = self._store
        await asyncio.sleep(PAINTED)
        while True:
            fill = self._filling and store.older and len(store.lines) < store.capacity
            if not self._wanted and not fill:
                self._moved.clear()
                await self._moved.wait()
                continue
            what = self._wanted.pop() if self._wanted else "fill"
            try:
                await self._show(what, min(PAGE, self._fits * GROWS))
            except HeadwayError as e:
                self.trouble = str(e)
                if what == "at":  # somebody waits for it
                    self._wanted.add(what)
                self._changed()
                await asyncio.sleep(AGAIN)

    async def _show(self, what: str, n: int) -> None:
        store, left_out = self._store, self._store.left_out
        if what in {"older", "fill"}:
            if not store.older or not store.first_seq:
                return
            parts, more = await self._page(LogsAsk(self.run_id, n=n, before=store.first_seq))
            if what == "fill" and store.room < sum(len(p.chunk.lines) for p in parts):
                self._filling = False  # the end, which is live, would have to go for it
            else:
                store.prepend(parts, older=more)
        elif what == "newer":
            if store.newer:
                parts, more = await self._page(LogsAsk(self.run_id, store.last_seq, n=n))
                store.extend(parts, newer=more or store.left_out > left_out)
        elif what == "at":
            self._filling = False
            parts, more = await self._page(LogsAsk(self.run_id, n=n, before=self._at + 1))
            last = parts[-1].seq if parts else 0
            below, rest = await self._page(LogsAsk(self.run_id, last, n=n))
            every = [*parts, *below]
            seen = around(every, self._at, store.capacity)
            store.move_away()
            end = seen[-1].seq if seen else 0
            store.load(
                seen, older=more or seen[:1] != every[:1],
                newer=rest or seen[-1:] != every[-1:] or end < store.left_out,
            )  # fmt: skip
            self._there.set()
        elif what == "first":
            self._filling = False
            parts, more = await self._page(LogsAsk(self.run_id, n=n))
            store.move_away()
            store.load(parts, older=False, newer=more or store.left_out > left_out)
        else:
            begun, self._begun = self._begun, None
            parts, more = await (begun if begun is not None else self._last(n))
            store.move_away()
            # What came while the page was on its way is in it, or comes with the next one.
            last = parts[-1].seq if parts else 0
            store.load(parts, older=more, newer=last < store.left_out)
        self.read = True
        self._changed()

    async def _page(self, ask: LogsAsk) -> tuple[list[Part], bool]:
        page = await self._link.ask("logs", ask, LogsPage)
        parts: list[Part] = []
        for one in page.logs:
            try:
                parts.append(Part(one.epoch, decode(LOG_CHUNK, bytes(one.chunk)), one.seq))
            except Malformed:
                continue
        self._fits = max(FIRST, len(page.logs))
        return parts, page.more
