"""What engines tell each other and the eyes: beats, and hints that work waits."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import structs

from headway import subjects
from headway.steadynats import settled
from headway.wire import Malformed, decode, encode
from headway.wire.events import ENGINE_BEAT
from headway.wire.fleet import QueueRow
from headway_engine.dispatch import TICK
from headway_engine.service import Service, Ticker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from headway.bus import Connection
    from headway.wire.events import EngineBeat
    from headway_engine.credits import Place
    from headway_engine.dispatch import Dispatcher
    from headway_engine.flows import Flows
    from headway_engine.post import Post
    from headway_engine.store import Store
    from headway_engine.store.records import QueueState

ENGINE_GONE = 3.5
"""Seconds without a beat after which an engine no longer takes its share of the slots."""
HEAL = 5.0
"""Seconds after which the queues are read although nobody said that anything changed."""
DEPTHS = 60
"""Seconds for which it is remembered how many runs waited."""
EPOCH = datetime.fromtimestamp(0, UTC)


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
        moves: Callable[[str, int], None],
    ) -> None:
        """`answers`: where requests are heard. `engine`: our id if we dispatch; else empty.

        `lost`: called when an engine that dispatches is not heard any more; `moves`: with each
        beat of any engine, and its `moves`.
        """
        super().__init__()
        self._nc, self._answers = nc, answers
        self._dispatcher, self._started, self._lost = dispatcher, started, lost
        self._moves = moves
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
            self._moves(beat.engine, beat.moves)
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
        await settled(self._nc)
        # The server knows all subscriptions of both: from here on each request is heard.
        await settled(self._answers)
        self._started.set()
        await self.stopping.wait()
        if not self._nc.is_closed:
            with contextlib.suppress(Exception):  # the link may be away
                await hints.unsubscribe()
                await beats.unsubscribe()


class QueueTick(Ticker):
    """Once a second: the store's numbers to the dispatcher, and a beat per queue for the eyes.

    The numbers of all queues are one statement, and it is left out while there is nothing to see:
    nothing waits, this engine did nothing since, and no other engine's beat says that it did. What
    none of them knows of (an engine that died in between, a hand in the database) is found after
    `HEAL`. A queue is told of when its row has changed, and once more a second later.
    """

    name = "queue-tick"

    def __init__(
        self,
        engine: str,
        dispatcher: Dispatcher,
        store: Store,
        post: Post,
        flows: Flows,
        *,
        reads: bool = True,
    ) -> None:
        """`reads`: false = this engine only tells what it saw itself come and go."""
        super().__init__(TICK)
        self._engine, self._flows, self._reads = engine, flows, reads
        self._dispatcher, self._store, self._post = dispatcher, store, post
        self.states: dict[Place, QueueState] = {}
        """The last numbers seen."""
        self.depths: dict[Place, deque[int]] = {}
        """How many waited, second by second, the latest last."""
        self.reads = 0
        """How often the store was asked."""
        self._clock = time.monotonic
        self._read_at = float("-inf")
        self._at: datetime | None = None
        self._moves = 0
        self._others: dict[str, int] = {}
        self._stirred = True
        self._said: dict[Place, QueueRow] = {}
        self._again: set[Place] = set()
        """Told a second ago for the first time."""

    def wake(self) -> None:
        """Settings have changed: look now, and have the others look."""
        self._flows.moves += 1
        super().wake()

    def heard(self, engine: str, moves: int) -> None:
        """An engine's beat."""
        if engine != self._engine and self._others.get(engine) != moves:
            self._others[engine] = moves
            self._stirred = True

    def stir(self) -> None:
        """Something may have changed that no beat will tell: an engine is gone."""
        self._stirred = True

    async def once(self) -> float | None:
        """Read the queues if something may have changed; tell what did."""
        now = self._clock()
        self._flows.tick(now)
        if self._reads and (
            self._stirred
            or self._flows.moves != self._moves
            or now - self._read_at >= HEAL
            or any(q.queued or q.dispatched for q in self.states.values())
        ):
            await self._read(now)
            places = dict.fromkeys((*self.states, *self._flows.places(), *self._again))
        else:
            # What was not read says the same as before: only what moves is looked at.
            places = dict.fromkeys((*self._flows.places(), *self._again))
        for place, q in self.states.items():
            waits = q.queued + q.dispatched
            self.depths.setdefault(place, deque(maxlen=DEPTHS)).append(waits)
        self._tell(places, datetime.now(UTC))
        return None

    async def _read(self, now: float) -> None:
        # Before the questions: what moves meanwhile is looked for once more.
        self._moves, self._stirred = self._flows.moves, False
        try:
            states, agents = await self._store.queues(), await self._store.agents()
        except BaseException:
            self._stirred = True
            raise
        self.reads += 1
        self._read_at = now
        self._at = datetime.now(UTC)
        self.states = {(q.ns, q.queue): q for q in states}
        for kept in (self.depths, self._said):
            for gone in kept.keys() - self.states.keys():
                del kept[gone]
        self._dispatcher.counted(states, agents)

    def _tell(self, places: Iterable[Place], at: datetime) -> None:
        again, self._again = self._again, set()
        for place in places:
            row = row_of(place[1], self.states.get(place))
            if (flow := self._flows.flow(place, self._engine, at)) is not None:
                row.flows = (flow,)
            before = self._said.get(place)
            changed = before is None or not same(row, before)
            if not changed and place not in again:
                continue
            if changed:
                self._said[place] = row
                self._again.add(place)
            told = structs.replace(row, at=self._at if place in self.states else None)
            self._post.put(subjects.beat_queue(*place), encode(told))


def row_of(queue: str, q: QueueState | None) -> QueueRow:
    """A queue as it is told; None = its numbers are not known here."""
    if q is None:
        return QueueRow(queue)
    return QueueRow(
        queue,
        q.limit,
        q.key_limit,
        q.paused,
        q.priority,
        queued=q.queued,
        dispatched=q.dispatched,
        open=q.open,
        oldest_at=q.oldest_at,
        paused_by=q.paused_by,
        paused_at=q.paused_at,
        reason=q.reason,
    )


def same(one: QueueRow, other: QueueRow) -> bool:
    """Does it say the same, whenever it was said?"""

    def timeless(row: QueueRow) -> QueueRow:
        flows = tuple(structs.replace(f, at=EPOCH) for f in row.flows)
        return structs.replace(row, at=None, flows=flows)

    return timeless(one) == timeless(other)
