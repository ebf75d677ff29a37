"""Keeps a DeadView true: subscribed first, then asked; asked again for what an event has changed.

The sums of classes come from the engine alone, at most once in a while that grows with how long it
takes; no event, no request. After a reconnect all is read anew.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from headway import subjects
from headway.errors import HeadwayError
from headway.wire import Malformed, decode
from headway.wire.events import RUN_EVENTS
from headway.wire.runs import RunsPage, RunsQuery
from headway.wire.steering import DeadAsk, DeadPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from headway_tui.link import Link
    from headway_tui.model.dead import DeadView

PAUSE = 0.25
"""Seconds between two requests, at least; a storm of failures is one request."""
SHARE = 10
"""And so many times as long as the last answer took."""
AGAIN = 1.0
LISTED = 500


class DeadFeed:
    """One per screen; `run` ends by cancellation."""

    def __init__(self, link: Link, view: DeadView, changed: Callable[[], None]) -> None:
        self._link, self._view, self._changed = link, view, changed
        self.by: Literal["task", "error"] = "task"
        self.trouble = ""
        self.loading = True
        self._wake = asyncio.Event()
        self._life = -1

    def again(self) -> None:
        """Read everything anew."""
        self._life = -1
        self._wake.set()

    def group(self, by: Literal["task", "error"]) -> None:
        """Other classes."""
        self.by, self._view.stale = by, True
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        link = self._link
        while link.client is None:
            link.changed.clear()
            await link.changed.wait()
        client = link.client
        sub = await link.hear(subjects.live_event(client.namespace), self._hear)
        try:
            while True:
                since = time.monotonic()
                try:
                    await self._ask()
                    self.trouble, self.loading = "", False
                except HeadwayError as e:
                    self.trouble = str(e)
                    self._changed()
                    await self._sleep(AGAIN)
                    continue
                took = time.monotonic() - since
                await asyncio.sleep(max(PAUSE, took * SHARE))
                await self._sleep(None)
        finally:
            if not client.connection.is_closed:
                await sub.unsubscribe()

    async def _sleep(self, seconds: float | None) -> None:
        """Until something is to be asked for; after a reconnect that is everything."""
        while True:
            if seconds is None and (self._link.lives != self._life or self._todo()):
                return
            try:
                async with asyncio.timeout(AGAIN if seconds is None else seconds):
                    await self._wake.wait()
            except TimeoutError:
                if seconds is not None:
                    return
            self._wake.clear()

    def _todo(self) -> bool:
        return self._view.stale or bool(self._view.wanted)

    def _hear(self, msg: Msg) -> None:
        try:
            body = decode(RUN_EVENTS, msg.data)
        except Malformed:
            return
        if self._view.hear(body):
            self._wake.set()

    async def _ask(self) -> None:
        """Classes and reviews that are not known to be true; raises HeadwayError, repeatable."""
        link, view = self._link, self._view
        if link.lives != self._life:
            life = link.lives
            view.stale = True
            view.wanted.clear()
            query = RunsQuery(status=("review",), n=LISTED, sort="oldest")
            page = await link.ask("runs", query, RunsPage)
            view.take_reviews(page.runs, whole=True, more=page.more)
            self._life = life
        if view.stale:
            view.stale = False
            try:
                ask = DeadAsk(self.by)
                view.take_classes(await link.ask("dead", ask, DeadPage))
            except HeadwayError:
                view.stale = True
                raise
        if view.wanted:
            runs = tuple(view.wanted)[:LISTED]
            query = RunsQuery(ids=runs, n=LISTED)
            # Heard while it is on its way = asked for again.
            view.wanted.difference_update(runs)
            try:
                page = await link.ask("runs", query, RunsPage)
            except HeadwayError:
                view.wanted.update(runs)
                raise
            view.take_reviews(page.runs, whole=False)
            view.gone(set(runs) - {row.run for row in page.runs})
        self._changed()
