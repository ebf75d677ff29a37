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

from headway import subjects
from headway.bus import WrongLast
from headway.errors import HeadwayError
from headway.history import next_after
from headway.states import RunState
from headway.wire import decoder, encode
from headway_engine.changes.messages import Body
from headway_engine.store import StoreDown
from headway_engine.store.edge.base import Write
from headway_engine.store.edge.control import Control
from headway_engine.store.records import LAST_SEQ, Dispatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headway_engine.changes.messages import Record

TURN = timedelta(seconds=5)
"""So long one engine dispatches a queue that has limits; then whoever asks first."""


class Turn(Struct):
    """The value of `turn.<ns>.<queue>`."""

    engine: str
    until: datetime


class Head(NamedTuple):
    """A run that waits; the lowest goes first."""

    priority: int
    resumed: int
    id: str
    shared: bool
    key: str


_SOURCE = "Nats-Stream-Source"
"""Header of what WORK has from RUNS: the stream, the sequence there, and more."""
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
    "SELECT limit_key, count(*) FROM runs INDEXED BY runs_open WHERE ns = ?1 AND queue = ?2"
    " AND state IN ('STARTING', 'RUNNING', 'CANCELLING') GROUP BY limit_key"
)
_GIVEN = (
    "SELECT limit_key, count(*) FROM runs INDEXED BY runs_given WHERE ns = ?1 AND queue = ?2"
    " AND state = 'QUEUED' AND dispatch > 0 GROUP BY limit_key"
)


class Dispatching(Control):
    """See the port."""

    def _is_open(self, ns: str, queue: str) -> bool:
        settings = self._queue(ns, queue)
        if settings.paused or settings.limit or settings.key_limit:
            return False
        return not self.db.execute(
            "SELECT 1 FROM runs INDEXED BY runs_heads WHERE ns = ? AND queue = ?"
            " AND state = 'QUEUED' AND dispatch = 0 LIMIT 1",
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
            if limited and self.journal.behind:
                return None  # who has the slots is not all known yet
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
            return Write(ns, body, f"{subjects.READY}.{queue}")

        await self._change(runs, plan)
        pairs = [(run, given[run]) for run in runs if run in given]
        return Dispatch(1 if pairs else 0, ns, queue, pairs)

    async def dispatched(self, batches: Sequence[tuple[int, int]], stream_created: str) -> None:
        """WORK itself says what it has: nothing is kept."""
        self._check()

    async def undispatched(
        self,
        acked: dict[tuple[str, str], int],
        stream_created: str,
        older_than: float = 30.0,
        written: int = LAST_SEQ,
    ) -> list[Dispatch]:
        """Runs whose `ready` is not in WORK any more, although nobody has claimed them.

        It is written again here, so that WORK has it. WORK holds its messages in the order of RUNS:
        what is older than the first one that is left is gone.
        """
        await self._fresh()
        if self.journal.behind:
            return []
        before = self._now() - timedelta(seconds=older_than)
        given: dict[tuple[str, str], list[tuple[str, int]]] = {}
        rows = self.db.execute(
            "SELECT ns, queue, id, dispatch FROM runs INDEXED BY runs_given"
            " WHERE state = 'QUEUED' AND dispatch > 0"
        )
        for ns, queue, run, seq in rows.fetchall():
            record = self.projection.record(run)
            at = None if record is None else record.dispatched_at
            if at is not None and at < before:
                given.setdefault((ns, queue), []).append((run, seq))
        out: list[Dispatch] = []
        for (ns, queue), runs in given.items():
            first = await self._first_in_work(ns, queue, acked.get((ns, queue), 0))
            gone = [run for run, seq in runs if seq < first]
            if again := await self._ready_again(gone):
                out.append(Dispatch(1, ns, queue, again))
        return out

    async def _first_in_work(self, ns: str, queue: str, floor: int) -> int:
        """The sequence in RUNS of the first message that WORK has for a queue, above a floor."""
        subject = subjects.work(ns, queue)
        try:
            found = await next_after(self.nc, subjects.WORK, subject, floor)
        except HeadwayError as e:
            raise StoreDown(f"WORK cannot be read: {e}") from None
        source = "" if found is None else found.headers.get(_SOURCE, "")
        parts = source.split(" ")
        return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else LAST_SEQ

    async def _ready_again(self, runs: Sequence[str]) -> list[tuple[str, bool]]:
        again: dict[str, bool] = {}

        def plan(run_id: str, record: Record | None) -> Write | None:
            again.pop(run_id, None)
            if record is None or record.run is None or not record.dispatch:
                return None
            run = record.run
            again[run_id] = run.shared
            change = self._change_now()
            change.dispatch = "given"
            body = Body(run_id, change, run.ns, shared=run.shared)
            return Write(run.ns, body, f"{subjects.READY}.{run.queue}")

        await self._change(runs, plan)
        return list(again.items())
