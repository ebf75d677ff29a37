"""What the screens "Queues & agents" and "Metrics" read: a snapshot, then beats by push.

Nothing is polled: queues are told by the engines when they change, agents and engines beat once a
second. The engine is asked again after a reconnect, and for agents when their beats say that one
came, went, drains, or when a lease may have ended meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from headway import subjects
from headway.errors import HeadwayError
from headway.wire import Malformed, decode
from headway.wire.fleet import AgentRow, Metrics, MetricsAsk, QueueRow
from headway.wire.runs import UsageAsk, UsageRow
from headway_tui.link import SILENT_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from headway_tui.link import Link
    from headway_tui.model.agents import AgentsView
    from headway_tui.model.metrics import MetricsView
    from headway_tui.model.queues import QueuesView

SECOND = 1.0
USAGE_LOOK = 30.0
"""Seconds between two questions for what was used."""
LEASE_LOOK = 5.0
"""Seconds between two questions while the lease of a silent agent runs out."""
_ROW = msgspec.json.Decoder(QueueRow)


async def connected(link: Link) -> None:
    """Return when there is a client."""
    while link.client is None:
        link.changed.clear()
        await link.changed.wait()


class BoardFeed:
    """Keeps queues and agents true."""

    def __init__(
        self, link: Link, queues: QueuesView, agents: AgentsView, changed: Callable[[], None]
    ) -> None:
        self._link, self._queues, self._agents, self._changed = link, queues, agents, changed
        self.trouble = ""
        """Why something is not known."""
        self.loading = True
        self.ahead = timedelta()
        """By how much the store's clock is ahead of this one."""
        self._life = 0
        self._wanted = asyncio.Event()
        self._asked_at = 0.0

    def ask(self) -> None:
        """Read everything anew."""
        self._life = 0
        self._wanted.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        link = self._link
        await connected(link)
        assert link.client is not None
        client = link.client
        sub = await link.hear(subjects.beat_queue(client.namespace), self._hear)
        try:
            while True:
                await self._look()
                self._queues.tick()
                self._changed()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SECOND):
                        await self._wanted.wait()
                self._wanted.clear()
        finally:
            if not client.connection.is_closed:
                await sub.unsubscribe()

    def _hear(self, msg: Msg) -> None:
        with contextlib.suppress(Malformed):
            self._queues.hear(decode(_ROW, msg.data))
            self._changed()

    async def _look(self) -> None:
        """Ask what has to be asked."""
        link, now = self._link, time.monotonic()
        if not link.connected:
            return
        stirred = self._agents.stirred(link.agents, now)
        if link.lives != self._life:
            await self._everything()
        elif stirred or (
            now - self._asked_at > LEASE_LOOK and self._agents.unsettled(link.agents, now)
        ):
            await self._of_agents()

    async def _everything(self) -> None:
        life = self._link.lives
        self._queues.asking()
        try:
            rows = await self._link.ask("queues", None, list[QueueRow])
        except HeadwayError as e:
            self.trouble = str(e)
            return
        if (at := next((row.at for row in rows if row.at is not None), None)) is not None:
            self.ahead = at - datetime.now(UTC)
        self._queues.snapshot(rows)
        await self._of_agents()
        self.loading, self._life = False, life

    async def _of_agents(self) -> None:
        self._asked_at = time.monotonic()
        try:
            self._agents.snapshot(await self._link.ask("agents", None, list[AgentRow]))
            self.trouble = ""
        except HeadwayError as e:
            self.trouble = str(e)


class MetricsFeed:
    """Keeps the curves true."""

    def __init__(self, link: Link, view: MetricsView, changed: Callable[[], None]) -> None:
        self._link, self._view, self._changed = link, view, changed
        self.trouble = ""
        self.loading = True
        self.window = 900
        """Seconds for which it is asked what was used."""
        self._used = (0.0, 0)
        """When that was asked last, and for which window."""
        self._life = 0
        self._wanted = asyncio.Event()

    def ask(self) -> None:
        """Read everything anew."""
        self._life, self._used = 0, (0.0, 0)
        self._wanted.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        link = self._link
        await connected(link)
        while True:
            if link.connected and link.lives != self._life:
                life = link.lives
                try:
                    self._view.snapshot(await link.ask("metrics", MetricsAsk(), Metrics))
                    self.trouble, self.loading, self._life = "", False, life
                except HeadwayError as e:
                    self.trouble = str(e)
            await self._look_at_usage()
            self._take()
            self._changed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SECOND):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _look_at_usage(self) -> None:
        """Nobody pushes what was used: it is asked once in a while, and for another window."""
        now = time.monotonic()
        at, window = self._used
        if not self._link.connected or (window == self.window and now - at < USAGE_LOOK):
            return
        self._used = (now, self.window)
        since = datetime.now(UTC) - timedelta(seconds=self.window)
        with contextlib.suppress(HeadwayError):  # a dump and a bundle's engine do not say it
            self._view.used = await self._link.ask("usage", UsageAsk(since=since), list[UsageRow])

    def _take(self) -> None:
        """What was heard in the last second."""
        link, late = self._link, time.monotonic() - SILENT_AFTER
        for engine, (beat, at) in link.engines.items():
            if at > late:
                self._view.hear(engine, beat.sample)
        beats = [beat for beat, at in link.agents.values() if at > late]
        self._view.tick(beats, datetime.now(UTC))
