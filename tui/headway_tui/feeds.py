"""What the screens read: snapshots by request, then events by push; again after each reconnect.

One routine for the list: subscribed and buffering before the engine is asked, joined by the number
that each event carries. A run is followed by the SDK's own `follow`, which does the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway import subjects
from headway.errors import HeadwayError
from headway.wire import Malformed, commands, decode
from headway.wire.events import RUN_EVENTS, LogChunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from headway.wire.events import Event
    from headway_tui.link import Link
    from headway_tui.model.rows import RunsView

PAGE = 200
GAP_AFTER = 2.0
"""Seconds for which a missing event may still arrive by itself."""
AGAIN = 1.0


class RunsFeed:
    """Keeps a RunsView true."""

    def __init__(self, link: Link, view: RunsView, changed: Callable[[], None]) -> None:
        self._link, self._view, self._changed = link, view, changed
        self.query = commands.RunsQuery(n=PAGE)
        self.trouble = ""
        self.loading = True
        self.more = False
        self.counts: dict[str, int] = {}
        self._wanted = asyncio.Event()
        self._paging = False
        self._life = 0

    def ask(self, query: commands.RunsQuery | None = None) -> None:
        """Read the first page anew, with this query if one is given."""
        if query is not None:
            query.n = PAGE
            self.query = query
        self.loading = True
        self._wanted.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        link = self._link
        while link.client is None:
            link.changed.clear()
            await link.changed.wait()
        client = link.client
        sub = await link.hear(subjects.live_event(client.namespace), self._hear)
        try:
            self._wanted.set()
            while True:
                if self._wanted.is_set() or link.lives != self._life:
                    await self._first()
                elif self._view.gaps:
                    await self._fill()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN):
                        await self._wanted.wait()
        finally:
            if not client.connection.is_closed:
                await sub.unsubscribe()

    def _hear(self, msg: Msg) -> None:
        try:
            self._view.hear(decode(RUN_EVENTS, msg.data))
        except Malformed:
            return
        if self._view.changed:
            self._changed()

    async def _first(self) -> None:
        life, query = self._link.lives, self.query
        self._wanted.clear()
        self._view.asking()
        try:
            page = await self._link.ask("runs", query, commands.RunsPage)
        except HeadwayError as e:
            self._view.unanswered()
            self.trouble = str(e)
            if self._link.connected:
                self._wanted.set()
            self._changed()
            await asyncio.sleep(AGAIN)
            return
        if query is not self.query:
            self._view.unanswered()
            return
        self._view.snapshot(page.runs)
        self.trouble, self.loading, self.more, self._life = "", False, page.more, life
        self.counts = page.counts
        self._changed()

    async def _fill(self) -> None:
        await asyncio.sleep(GAP_AFTER)
        gaps = tuple(self._view.gaps)[:PAGE]
        if not gaps:
            return
        with contextlib.suppress(HeadwayError):
            ask = commands.RunsQuery(ids=gaps, n=PAGE)
            self._view.refreshed((await self._link.ask("runs", ask, commands.RunsPage)).runs)
            self._changed()

    async def next_page(self) -> None:
        """The page below, if there is one and none is on its way."""
        if not self.more or self._paging or not self._view.order:
            return
        self._paging = True
        self._view.asking()
        asked = self.query
        try:
            query = replace(asked, after=self._view.order[-1])
            page = await self._link.ask("runs", query, commands.RunsPage)
            if asked is not self.query:
                self._view.unanswered()
                return
            self._view.snapshot(page.runs, more=True)
            self.more = page.more
            self._changed()
        except HeadwayError as e:
            self._view.unanswered()
            self.trouble = str(e)
        finally:
            self._paging = False


class RunFeed:
    """Follows one run: its row, its events, its output."""

    def __init__(
        self,
        link: Link,
        run: str,
        on_detail: Callable[[commands.RunDetail], None],
        on_event: Callable[[Event], None],
        on_chunk: Callable[[int, LogChunk], None],
    ) -> None:
        self._link, self.run_id = link, run
        self._on_detail, self._on_event, self._on_chunk = on_detail, on_event, on_chunk
        self.trouble = ""
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled, or until all is known of a run that has ended."""
        while self._link.client is None:
            self._link.changed.clear()
            await self._link.changed.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._details())
            group.create_task(self._events())
            group.create_task(self._lines())

    def again(self) -> None:
        """Ask for the row again."""
        self._moved.set()

    async def _details(self) -> None:
        self._moved.set()
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                ask = commands.RunAsk(self.run_id)
                self._on_detail(await self._link.ask("run", ask, commands.RunDetail))
                self.trouble = ""
            except HeadwayError as e:
                self.trouble = str(e)
                self._moved.set()
            await asyncio.sleep(AGAIN / 4)

    async def _events(self) -> None:
        from headway.follow import follow_events

        n = 0
        while True:
            client = self._link.client
            try:
                assert client is not None
                async for event in follow_events(client, self.run_id, n):
                    n = event.n
                    self._on_event(event)
                    if event.target:
                        self._moved.set()
                self._moved.set()
                return
            except HeadwayError as e:
                self.trouble = str(e)
            await asyncio.sleep(AGAIN)

    async def _lines(self) -> None:
        from headway.follow import follow_logs

        while True:
            client = self._link.client
            try:
                assert client is not None
                async for log in follow_logs(client, self.run_id):
                    if log.missing and not log.chunk.lines:
                        continue
                    self._on_chunk(log.epoch, log.chunk)
                return
            except HeadwayError as e:
                self.trouble = str(e)
            await asyncio.sleep(AGAIN)
