"""What was committed is told: events to RUNS, ends to the callers, stops to the agents.

RUNS is written by one queue per engine, batch after batch, so events of a run keep their order; the
store's outbox rows go only after the PubAck (DECISIONS E1, E2). What no engine published in time
(a crash between commit and publish) is found by the sweeper. Ends and stops are fast paths: callers
also ask again, and beats repeat the stops.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from headway import faults, subjects
from headway.bus import Connection, JetStreamRefused, publish_batch_acked
from headway.errors import HeadwayError, NotReachable
from headway.wire import NOTHING, encode
from headway.wire.enqueue import Answers, Ended
from headway.wire.events import RunEvents
from headway.wire.rpc import Ctl
from headway_engine.counters import Counters
from headway_engine.service import Service, Signal, Ticker
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nats.aio.client import Client as NatsClient

    from headway.wire.events import Event
    from headway_engine.post import Post
    from headway_engine.store import Store
    from headway_engine.store.records import End, Outcome, Run

log = logging.getLogger("headway.engine")

GATHER = 0.01
"""Seconds that events wait for more: what a short run goes through in them is one message."""
GATHER_MESSAGES = 256
"""So many waiting events do not wait for more."""
MESSAGE_EVENTS = 64
"""Events of one run in one message at most."""
BATCH_MESSAGES = 512
BATCH_EVENTS = 2048
ANSWER_BYTES = 512 * 1024
"""Largest answer to a caller, well below the server's limit of 1 MB a message."""
PAUSE = 0.2
"""Seconds between two tries while RUNS cannot be written."""
RECENT_FOR = 30.0
"""Seconds for which acknowledged messages are kept, to be told again to a server that was killed:
it writes within milliseconds of its ack, and more on a disk that is busy."""
RECENT_BYTES = 8 * 1024 * 1024
"""Bytes of them at most."""
SWEEP_EVERY = 5.0
"""Seconds: also how old an event must be before anybody but its writer publishes it."""


class Relay(Service):
    """Publishes events in order; bounded, and safe to repeat: observers drop doubles by (run, n).

    When too much waits, events are left to the sweeper (their outbox rows stay), never lost.
    """

    name = "relay"

    def __init__(
        self,
        nc: NatsClient,
        store: Store,
        answers: Post,
        work: Post,
        capacity: int = 50_000,
        clock: Callable[[], float] = time.monotonic,
        *,
        stored: bool = False,
    ) -> None:
        """`stored`: what was committed is in RUNS by that (the edge): it is not published again."""
        super().__init__()
        self._nc, self._store, self._stored = nc, store, stored
        self._answers, self._work = answers, work
        self._capacity = capacity
        self._queue: deque[RunEvents] = deque()
        self._event = asyncio.Event()
        self.published = 0
        self.left = 0
        """Events left to the sweeper since too much was waiting."""
        self._recent: deque[tuple[float, str, bytes]] = deque()
        self._recent_bytes = 0
        self._clock = clock
        self._server = ""
        self._back = False
        self.again = 0
        """Messages told again since a server was killed."""
        self.on_trouble: Callable[[], object] = lambda: None
        """Called when RUNS cannot be written: it may be gone."""
        self.seen: Callable[[str, str, list[Event]], object] = lambda _ns, _queue, _events: None
        """Called with (namespace, queue, events) of what this engine has committed."""
        self.telling: Callable[[RunEvents], object] = lambda _told: None
        """Called with what is published next, or was by its commit (the edge)."""

    @property
    def waiting(self) -> int:
        """Calls whose events wait for the publisher."""
        return len(self._queue)

    @property
    def recent(self) -> int:
        """Acknowledged messages that are kept for a server that was killed."""
        return len(self._recent)

    # --- what others call after a commit; never waits

    def events(self, ns: str, run: str, task: str, queue: str, events: list[Event]) -> None:
        """Publish these events of one run, just committed, oldest first."""
        self.seen(ns, queue, events)
        self.publish(ns, run, task, queue, events)

    def publish(self, ns: str, run: str, task: str, queue: str, events: list[Event]) -> None:
        """Publish these events of one run, whoever committed them."""
        if not events:
            return
        if self._stored:
            self.telling(RunEvents(run, ns, task, events, queue))
            self.published += 1
            self.passed.fire()
            return
        if len(self._queue) >= self._capacity:
            self.left += 1
            return
        self._queue.append(RunEvents(run, ns, task, events, queue))
        self._event.set()

    def told(self, outcomes: Iterable[Outcome]) -> None:
        """Everything that a commit has to say."""
        ends: list[tuple[str, Ended]] = []
        for outcome in outcomes:
            run = outcome.run
            if run is None:
                continue
            if outcome.events:
                self.events(run.ns, run.id, run.task, run.queue, outcome.events)
            if outcome.end is not None and run.reply:
                ends.append((run.reply, ended_of(run, outcome.end)))
            stop = outcome.stop
            if stop is not None:
                body = encode(Ctl(run.id, stop.epoch, stop.why))
                self._work.put(subjects.ctl(run.ns, stop.agent, run.id), body)
        if ends:
            self.ended(ends)

    def ended(self, ends: Sequence[tuple[str, Ended]]) -> None:
        """Push ends to their callers: one message per reply subject and commit."""
        if len(ends) == 1:
            self._push(ends[0][0], [ends[0][1]])
            return
        by_reply: dict[str, list[Ended]] = {}
        for reply, end in ends:
            by_reply.setdefault(reply, []).append(end)
        for reply, those in by_reply.items():
            self._push(reply, those)

    def _push(self, reply: str, ends: list[Ended]) -> None:
        if not subjects.may_push(reply):
            return
        body = encode(Answers(ended=ends))
        if len(body) > ANSWER_BYTES and len(ends) > 1:
            half = len(ends) // 2
            self._push(reply, ends[:half])
            self._push(reply, ends[half:])
            return
        self._answers.put(reply, body)

    # --- the publisher

    def wake(self) -> None:
        """Look at the queue."""
        self._event.set()

    async def run(self) -> None:
        """Publish until stopped; what is left then is found by a sweeper."""
        while True:
            if self._back and not self.stopping.is_set():
                await self._tell_again()
                if self._back:
                    await asyncio.sleep(PAUSE)
                    continue
            if not self._queue:
                if self.stopping.is_set():
                    return
                self._event.clear()
                await self._event.wait()
                continue
            if len(self._queue) < GATHER_MESSAGES and not self.stopping.is_set():
                # Nobody who waits for a result waits for this.
                await asyncio.sleep(GATHER)
            batch, marks = self._take()
            while not await self._publish(batch):
                if self.stopping.is_set():
                    return
                await asyncio.sleep(PAUSE)
                await self._tell_again()
            if faults.armed:
                await faults.point("engine.relay.published")
            self._remember(batch)
            self.published += len(batch)
            await self._mark(marks)
            self.passed.fire()

    def reconnected(self) -> None:
        """The connection is back, maybe to a server that was killed in between."""
        self._back = True
        self._event.set()

    def _remember(self, batch: list[tuple[str, bytes]]) -> None:
        self._server = self._server or server_of(self._nc)
        now = self._clock()
        for subject, body in batch:
            self._recent.append((now, subject, body))
            self._recent_bytes += len(subject) + len(body)
        # What a server that is just back may have lost grew no older while it was away.
        oldest = float("-inf") if self._back else now - RECENT_FOR
        while self._recent and (self._recent_bytes > RECENT_BYTES or self._recent[0][0] < oldest):
            _, subject, body = self._recent.popleft()
            self._recent_bytes -= len(subject) + len(body)

    async def _tell_again(self) -> None:
        """RUNS acknowledges before it writes: a server that was killed may have lost the last ones.

        A longer loss (the machine's power) is not mended here: history is then asked of the store.
        """
        server = server_of(self._nc)
        if not self._back or not self._nc.is_connected:
            return
        if self._recent and server != self._server:
            recent = [(subject, body) for _, subject, body in self._recent]
            for at in range(0, len(recent), BATCH_MESSAGES):
                if not await self._publish(recent[at : at + BATCH_MESSAGES]):
                    return  # the next turn begins anew
            self.again += len(recent)
            log.info("NATS was restarted: events told again: messages=%d", len(recent))
        self._server, self._back = server, False

    def _take(self) -> tuple[list[tuple[str, bytes]], list[tuple[str, int]]]:
        """The next messages, a run's events together, and (run, n) of all that they tell."""
        batch: list[tuple[str, bytes]] = []
        marks: list[tuple[str, int]] = []
        for told in self._gathered():
            self.telling(told)
            body = encode(told)
            batch.append((subjects.of_run(told.ns, told.run, subjects.EV), body))
            marks += [(told.run, e.n) for e in told.events]
        return batch, marks

    def _gathered(self) -> Iterable[RunEvents]:
        """The oldest events, those of one run in one message and in their order."""
        by_run: dict[str, RunEvents] = {}
        events = 0
        while self._queue and len(by_run) < BATCH_MESSAGES and events < BATCH_EVENTS:
            told = self._queue[0]
            first = by_run.get(told.run)
            if first is None:
                by_run[told.run] = told
            elif len(first.events) + len(told.events) <= MESSAGE_EVENTS:
                # The lists are their commit's own: nothing is added to them.
                by_run[told.run] = RunEvents(
                    told.run, told.ns, told.task, [*first.events, *told.events],
                    first.queue or told.queue,
                )  # fmt: skip
            else:
                break
            events += len(told.events)
            self._queue.popleft()
        return by_run.values()

    async def _publish(self, batch: list[tuple[str, bytes]]) -> bool:
        try:
            await publish_batch_acked(self._nc, batch)
        except (NotReachable, JetStreamRefused) as e:
            log.warning("RUNS cannot be written: messages=%d why=%s", len(batch), e)
            self.on_trouble()
            return False
        except HeadwayError as e:  # the stream is full: `discard old` should prevent it
            log.error("RUNS refused: messages=%d why=%s", len(batch), e)
            return False
        return True

    async def _mark(self, marks: list[tuple[str, int]]) -> None:
        try:
            await self._store.published(marks)
        except StoreDown:
            # The rows stay: some sweeper publishes these events once more, observers drop them.
            log.info("published events stay in the outbox: events=%d", len(marks))


class Sweeper(Ticker):
    """Publishes what no engine published in time: after a crash, or an outage of NATS."""

    name = "sweeper"

    def __init__(
        self,
        relay: Relay,
        store: Store,
        older_than: float = SWEEP_EVERY,
        counters: Counters | None = None,
    ) -> None:
        super().__init__(SWEEP_EVERY)
        self._counters = counters if counters is not None else Counters()
        self._relay, self._store, self._older_than = relay, store, older_than
        self.found = Signal()

    async def once(self) -> float | None:
        """One look at the outbox of everybody."""
        rows = await self._store.unpublished(self._older_than)
        for run, ns, task, queue, events in rows:
            self._relay.publish(ns, run, task, queue, events)
        if rows:
            self._counters["replayed_outbox"] += len(rows)
            log.info("sweeper publishes: runs=%d", len(rows))
            self.found.fire()
        return None


def server_of(nc: NatsClient) -> str:
    """Which server process the connection is to."""
    return nc.server_id if isinstance(nc, Connection) else ""


def ended_of(run: Run, end: End) -> Ended:
    """What a caller hears of the end."""
    if end.error is not None:
        return Ended(run.id, run.state.status, error=end.error)
    if end.ref is not None:
        return Ended(run.id, run.state.status, NOTHING, end.ref)
    return Ended(run.id, run.state.status, end.result)
