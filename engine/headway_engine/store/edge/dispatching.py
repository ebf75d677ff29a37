"""Edge store: what may go to WORK. The word that a run may go is its message `ready`.

WORK sources these messages from RUNS, so a dispatch is in WORK once it is stored. Where a queue has
limits, one engine at a time dispatches it: the turn is a short lease in the settings.
"""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from headway.bus import WrongLast
from headway.states import RunState
from headway.wire import decoder, encode
from headway_engine.store.edge.base import Write
from headway_engine.store.edge.control import Control
from headway_engine.store.edge.messages import READY, SET, Body
from headway_engine.store.records import LAST_SEQ, Dispatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headway_engine.store.edge.messages import Record

TURN = timedelta(seconds=5)
"""So long one engine dispatches a queue that has limits; then whoever asks first."""


class Turn(Struct):
    """The value of `turn.<ns>.<queue>`."""

    engine: str
    until: datetime


class Batch(Struct):
    """A dispatch of this engine, until its runs are claimed."""

    ns: str
    queue: str
    at: datetime
    runs: list[tuple[str, bool]]
    last_seq: int | None = None
    stream_created: str = ""


class Head(NamedTuple):
    """A run that waits; the lowest goes first."""

    priority: int
    resumed: int
    id: str
    shared: bool
    key: str


_TURN = decoder(Turn)
_HEADS = (
    "SELECT -priority, -resumed, id, shared, limit_key FROM runs WHERE ns = ? AND queue = ?"
    " AND shared = ? AND state = 'QUEUED' AND dispatch = 0"
    " ORDER BY priority DESC, resumed DESC, id LIMIT ?"
)
_KEYS = """
WITH RECURSIVE k(key) AS (
    SELECT min(limit_key) FROM runs WHERE ns = ?1 AND queue = ?2 AND state = 'QUEUED'
        AND dispatch = 0
    UNION ALL
    SELECT (SELECT min(limit_key) FROM runs WHERE ns = ?1 AND queue = ?2 AND state = 'QUEUED'
               AND dispatch = 0 AND limit_key > k.key) FROM k WHERE k.key IS NOT NULL)
SELECT key FROM k WHERE key IS NOT NULL
"""
_OF_KEY = (
    "SELECT -priority, -resumed, id, shared, limit_key FROM runs WHERE ns = ? AND queue = ?"
    " AND limit_key = ? AND shared = ? AND state = 'QUEUED' AND dispatch = 0"
    " ORDER BY priority DESC, resumed DESC, id LIMIT ?"
)
_HELD = (
    "SELECT limit_key, count(*) FROM runs WHERE ns = ?1 AND queue = ?2"
    " AND state IN ('STARTING', 'RUNNING', 'CANCELLING') GROUP BY limit_key"
)
_GIVEN = (
    "SELECT limit_key, count(*) FROM runs WHERE ns = ?1 AND queue = ?2"
    " AND state = 'QUEUED' AND dispatch > 0 GROUP BY limit_key"
)


class Dispatching(Control):
    """See the port."""

    batches: dict[int, Batch]
    next_batch: int

    def _is_open(self, ns: str, queue: str) -> bool:
        settings = self._queue(ns, queue)
        if settings.paused or settings.limit or settings.key_limit:
            return False
        return not self.db.execute(
            "SELECT 1 FROM runs WHERE ns = ? AND queue = ? AND state = 'QUEUED' AND dispatch = 0"
            " LIMIT 1 OFFSET 0",
            (ns, queue),
        ).fetchone()

    async def dispatch(self, ns: str, queue: str, room: int, shared_room: int) -> Dispatch | None:
        """Choose within limits: priority, then runs that go on, then age."""
        self._check()
        async with self.locks.of([f"queue {ns} {queue}"]):
            await self._fresh()
            settings = self._queue(ns, queue)
            if settings.paused:
                return None
            limited = bool(settings.limit or settings.key_limit)
            if limited:
                if not await self._my_turn(ns, queue):
                    return None
                await self.journal.fresh()
            chosen = [h.id for h in self._choose(ns, queue, room, shared_room)]
            if not chosen:
                return Dispatch(0, ns, queue, [])
            return await self._give(ns, queue, chosen)

    async def _my_turn(self, ns: str, queue: str) -> bool:
        key, now = f"turn.{ns}.{queue}", self._now()
        held: Turn | None = self.settings.value(key, _TURN)
        mine = held is not None and held.engine == self.engine
        if held is not None and not mine and now < held.until <= now + TURN:
            return False
        if mine and held is not None and now + TURN / 2 < held.until <= now + TURN:
            return True
        try:
            turn = encode(Turn(self.engine, now + TURN))
            await self.settings.put(key, turn, self.settings.seq(key))
        except WrongLast:
            return False
        return True

    def _choose(self, ns: str, queue: str, room: int, shared_room: int) -> Iterator[Head]:
        settings = self._queue(ns, queue)
        rooms = {False: room, True: shared_room}
        left = room + shared_room
        keyed: Counter[str] = Counter()
        if settings.limit or settings.key_limit:
            for sql in (_HELD, _GIVEN):
                for key, count in self.db.execute(sql, (ns, queue)):
                    keyed[key] += count
            if settings.limit:
                left = min(left, settings.limit - keyed.total())
        heads = self._heads(ns, queue, rooms, settings.key_limit, keyed)
        for head in heapq.merge(*heads):
            if left <= 0:
                return
            if rooms[head.shared] > 0:
                rooms[head.shared] -= 1
                left -= 1
                yield head

    def _heads(
        self, ns: str, queue: str, rooms: dict[bool, int], key_limit: int, keyed: Counter[str]
    ) -> list[list[Head]]:
        """Waiting runs that may go, in order, as many as there is room for, kind by kind."""
        found: list[list[Head]] = []
        for shared, room in rooms.items():
            if room <= 0:
                continue
            if not key_limit:
                rows = self.db.execute(_HEADS, (ns, queue, shared, room))
                found.append([Head(p, r, i, bool(s), k) for p, r, i, s, k in rows])
        if key_limit:
            found += self._heads_by_key(ns, queue, rooms, key_limit, keyed)
        return found

    def _heads_by_key(
        self, ns: str, queue: str, rooms: dict[bool, int], key_limit: int, keyed: Counter[str]
    ) -> Iterable[list[Head]]:
        for (key,) in self.db.execute(_KEYS, (ns, queue)).fetchall():
            free = key_limit - keyed[key] if key else max(rooms.values())
            if free <= 0:
                continue
            heads: list[Head] = []
            for shared, room in rooms.items():
                if room > 0:
                    # Without a key there is no limit of a key, only room.
                    most = min(room, free) if key else room
                    rows = self.db.execute(_OF_KEY, (ns, queue, key, shared, most))
                    heads += [Head(p, r, i, bool(s), k) for p, r, i, s, k in rows]
            heads.sort()
            yield heads[:free] if key else heads

    async def _give(self, ns: str, queue: str, runs: Sequence[str]) -> Dispatch:
        """Write their `ready`; those that are queued still, as a dispatch."""
        number, now = self.next_batch, self._now()
        self.next_batch += 1
        given: dict[str, bool] = {}

        def plan(run_id: str, record: Record | None) -> Write | None:
            given.pop(run_id, None)
            if record is None or record.run is None or record.dispatch:
                return None
            run = record.run
            if run.state is not RunState.QUEUED or (run.ns, run.queue) != (ns, queue):
                return None
            given[run_id] = run.shared
            change = self._change_now()
            change.dispatch = "given"
            body = Body(run_id, change, ns, shared=run.shared)
            return Write(ns, body, f"{READY}.{queue}")

        await self._change(runs, plan)
        pairs = [(run, given[run]) for run in runs if run in given]
        if pairs:
            self.batches[number] = Batch(ns, queue, now, pairs)
        return Dispatch(number, ns, queue, pairs)

    async def _take_back(self, runs: Sequence[str]) -> None:
        """They wait again: an agent could not start them."""

        def plan(run_id: str, record: Record | None) -> Write | None:
            if record is None or record.run is None or not record.dispatch:
                return None
            change = self._change_now()
            change.dispatch = "over"
            return Write(record.ns, Body(run_id, change, record.ns), SET)

        await self._change(runs, plan)

    async def dispatched(self, batches: Sequence[tuple[int, int]], stream_created: str) -> None:
        """These are in WORK."""
        self._check()
        for number, last_seq in batches:
            if (batch := self.batches.get(number)) is not None:
                batch.last_seq, batch.stream_created = last_seq, stream_created
                batch.at = self._now()

    async def undispatched(
        self,
        acked: dict[tuple[str, str], int],
        stream_created: str,
        older_than: float = 30.0,
        written: int = LAST_SEQ,
    ) -> list[Dispatch]:
        """Batches whose `ready` was written again now."""
        await self._fresh()
        out: list[Dispatch] = []
        for number, batch in list(self.batches.items()):
            elsewhere = batch.last_seq is not None and batch.stream_created != stream_created
            if batch.at >= self._now() - timedelta(seconds=older_than) and not elsewhere:
                continue
            runs = [(run, shared) for run, shared in batch.runs if self._is_given(run)]
            if not runs:
                del self.batches[number]
                continue
            floor = acked.get((batch.ns, batch.queue))
            if (
                batch.last_seq is None
                or elsewhere
                or batch.last_seq > written
                or (floor is not None and batch.last_seq <= floor)
            ):
                batch.last_seq, batch.at = None, self._now()
                again = await self._ready_again([run for run, _ in runs])
                out.append(
                    Dispatch(number, batch.ns, batch.queue, [r for r in runs if r[0] in again])
                )
        return out

    def _is_given(self, run: str) -> bool:
        record = self.projection.record(run)
        return (
            record is not None
            and record.run is not None
            and record.run.state is RunState.QUEUED
            and record.dispatch > 0
        )

    async def _ready_again(self, runs: Sequence[str]) -> set[str]:
        again: set[str] = set()

        def plan(run_id: str, record: Record | None) -> Write | None:
            again.discard(run_id)
            if record is None or record.run is None or not self._is_given(run_id):
                return None
            again.add(run_id)
            change = self._change_now()
            change.dispatch = "given"
            run = record.run
            body = Body(run_id, change, run.ns, shared=run.shared)
            return Write(run.ns, body, f"{READY}.{run.queue}")

        await self._change(runs, plan)
        return again

    def _find_batches(self) -> None:
        """What others gave to WORK, or this engine before it started: the sweep looks for it."""
        found: dict[tuple[str, str], list[tuple[str, bool]]] = {}
        known = {run for batch in self.batches.values() for run, _ in batch.runs}
        rows = self.db.execute(
            "SELECT ns, queue, id, shared FROM runs WHERE state = 'QUEUED' AND dispatch > 0"
        )
        for ns, queue, run, shared in rows:
            if run not in known:
                found.setdefault((ns, queue), []).append((run, bool(shared)))
        for (ns, queue), runs in found.items():
            self.batches[self.next_batch] = Batch(ns, queue, self._now(), runs)
            self.next_batch += 1
