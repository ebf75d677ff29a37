"""What the screen of a run reads of it: its row and its events; output has `logfeed.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.wire.runs import RunAsk, RunDetail

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.events import Event
    from headway_tui.link import Link

AGAIN = 1.0
"""Seconds before what failed is tried again."""


class RunFeed:
    """Follows one run: its row and its events."""

    def __init__(
        self,
        link: Link,
        run: str,
        on_detail: Callable[[RunDetail], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self._link, self.run_id = link, run
        self._on_detail, self._on_event = on_detail, on_event
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

    def again(self) -> None:
        """Ask for the row again."""
        self._moved.set()

    async def _details(self) -> None:
        self._moved.set()
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                ask = RunAsk(self.run_id)
                self._on_detail(await self._link.ask("run", ask, RunDetail))
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
                    if event.target or event.kind == "tagged":
                        self._moved.set()
                self._moved.set()
                return
            except HeadwayError as e:
                self.trouble = str(e)
            await asyncio.sleep(AGAIN)
