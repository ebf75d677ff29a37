"""What engines tell each other and the eyes: beats, and hints that work waits."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from headway import subjects
from headway.wire import Malformed, decode, encode
from headway.wire.commands import QueueRow
from headway.wire.events import ENGINE_BEAT
from headway_engine.dispatch import TICK
from headway_engine.service import Service, Ticker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from headway.bus import Connection
    from headway.wire.events import EngineBeat
    from headway_engine.credits import Place
    from headway_engine.dispatch import Dispatcher
    from headway_engine.post import Post
    from headway_engine.store import Store
    from headway_engine.store.records import QueueState

ENGINE_GONE = 3.5
"""Seconds without a beat after which an engine no longer takes its share of the slots."""


class Beat(Ticker):
    """`hw.hb.engine.<id>` once a second."""

    name = "beat"

    def __init__(self, engine: str, post: Post, say: Callable[[], EngineBeat]) -> None:
        super().__init__(1.0)
        self._subject, self._post, self._say = subjects.beat_engine(engine), post, say

    async def once(self) -> float | None:
        """Say it."""
        self._post.put(self._subject, encode(self._say()))
        return None


class Hints(Service):
    """Hears other engines: their hints, and by their beats how many dispatch, so share the slots.

    The last service to start.
    """

    name = "hints"

    def __init__(
        self,
        nc: Connection,
        answers: Connection,
        dispatcher: Dispatcher,
        engine: str,
        started: asyncio.Event,
        lost: Callable[[], None],
    ) -> None:
        """`answers`: where requests are heard. `engine`: our id if we dispatch; else empty.

        `lost`: called when an engine that dispatches is not heard any more.
        """
        super().__init__()
        self._nc, self._answers = nc, answers
        self._dispatcher, self._started, self._lost = dispatcher, started, lost
        self._beats = {engine: float("inf")} if engine else {}

    async def run(self) -> None:
        """Listen until stopped."""

        async def on_message(msg: object) -> None:
            self._dispatcher.hinted(getattr(msg, "data", b""))

        async def on_beat(msg: object) -> None:
            try:
                beat = decode(ENGINE_BEAT, getattr(msg, "data", b""))
            except Malformed:
                return
            now = time.monotonic()
            if not beat.roles or "dispatch" in beat.roles:
                self._beats[beat.engine] = max(now, self._beats.get(beat.engine, 0.0))
            heard = {e: at for e, at in self._beats.items() if now - at <= ENGINE_GONE}
            if len(heard) < len(self._beats):
                self._lost()
            self._beats = heard
            self._dispatcher.credits.engines = len(self._beats)

        hints = await self._nc.subscribe(subjects.WAKE, cb=on_message)
        beats = await self._nc.subscribe(subjects.beat_engine(), cb=on_beat)
        await self._nc.flush()
        # The server knows all subscriptions of both: from here on each request is heard.
        await self._answers.flush()
        self._started.set()
        await self.stopping.wait()
        if not self._nc.is_closed:
            with contextlib.suppress(Exception):  # the link may be away
                await hints.unsubscribe()
                await beats.unsubscribe()


class QueueTick(Ticker):
    """Once a second: the store's numbers to the dispatcher, and a beat per queue for the eyes."""

    name = "queue-tick"

    def __init__(self, dispatcher: Dispatcher, store: Store, post: Post) -> None:
        super().__init__(TICK)
        self._dispatcher, self._store, self._post = dispatcher, store, post
        self.states: dict[Place, QueueState] = {}
        """The last numbers seen."""

    async def once(self) -> float | None:
        """Read the queues once."""
        states = await self._store.queues()
        self.states = {(q.ns, q.queue): q for q in states}
        self._dispatcher.counted(states, await self._store.agents())
        for q in states:
            row = QueueRow(
                q.queue,
                q.limit,
                q.key_limit,
                q.paused,
                q.priority,
                queued=q.queued,
                dispatched=q.dispatched,
                open=q.open,
            )
            self._post.put(subjects.beat_queue(q.ns, q.queue), encode(row))
        return None
