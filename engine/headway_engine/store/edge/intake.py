"""Edge store: enqueues. A run and the idempotency key that it takes are stored in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from headway import fencing, subjects
from headway.bus import expect_last
from headway.states import TERMINAL
from headway.wire import NOTHING, encode
from headway.wire.enqueue import Ended, Recorded
from headway.wire.runs import ResultsAnswer
from headway_engine import lifecycle
from headway_engine.changes.messages import Body, KeyBody, Made, Record
from headway_engine.happenings import Cancel
from headway_engine.store.edge.base import Write
from headway_engine.store.edge.building import Building
from headway_engine.store.edge.copying import copied, given
from headway_engine.store.edge.dispatching import Dispatching
from headway_engine.store.edge.rows import error_of, ref_of
from headway_engine.store.edge.times import TOMBSTONES, us
from headway_engine.store.forking import GONE
from headway_engine.store.recording import Room, choose, duplicate, key_of, removed, seen
from headway_engine.store.records import Dispatch, EnqueueOutcome, ForkPoint, NewRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class Intake(Dispatching):
    """See the port."""

    async def enqueue(
        self, ns: str, batch: Sequence[NewRun], room: Room
    ) -> tuple[list[EnqueueOutcome], list[Dispatch]]:
        """Record new runs."""
        self._check()
        if any(new.run.key or new.fork for new in batch):
            await self.journal.fresh()  # who holds a key is asked of all engines' writes
            keys = (subjects.idempotency_key(ns, *key_of(new)) for new in batch if new.run.key)
            await self.journal.look_at_keys(keys)
            await self.journal.look(new.fork.source for new in batch if new.fork is not None)
        plain = [new for new in batch if not new.run.key and new.forked is None]
        give = {new.run.id for new, yes in zip(plain, choose(plain, room), strict=True) if yes}
        open_queues = {queue for queue in room if self._is_open(ns, queue)}
        out = [EnqueueOutcome(new.run.id, "rejected") for new in batch]
        for turn in _turns(ns, batch):
            await self._record_turn(ns, batch, turn, out)
        to_give: dict[str, list[str]] = {}
        for new, outcome in zip(batch, out, strict=True):
            queue = new.run.queue
            if (
                outcome.outcome == "recorded"
                and not outcome.ended
                and new.run.id in give
                and queue in open_queues
            ):
                to_give.setdefault(queue, []).append(new.run.id)
        given_now = [await self._give(ns, queue, runs) for queue, runs in to_give.items()]
        return out, [d for d in given_now if d.runs]

    async def _record_turn(
        self, ns: str, batch: Sequence[NewRun], turn: dict[str, int], out: list[EnqueueOutcome]
    ) -> None:
        now = self._now()

        def plan(run_id: str, record: Record | None) -> Write | None:
            k = turn[run_id]
            out[k], write = self._recorded(ns, batch[k], record, now)
            return write

        keys = [
            subjects.idempotency_key(ns, *key_of(batch[k]))
            for k in turn.values()
            if batch[k].run.key
        ]
        async with self.locks.of(keys):
            for run_id, why in (await self._change(turn, plan)).items():
                out[turn[run_id]] = EnqueueOutcome(run_id, "rejected", code="rejected", reason=why)

    def _recorded(
        self, ns: str, new: NewRun, record: Record | None, now: datetime
    ) -> tuple[EnqueueOutcome, Write | None]:
        """What becomes of one enqueue, and what is written of it."""
        run_id = new.run.id
        if record is not None and record.run is not None:
            ended = record.run.state in TERMINAL
            return seen(new, record.ns, record.hash, ended), None
        if record is not None and record.ns != ns:
            record = None
        gone = None if record is None else record.removed_at
        if gone is not None and gone >= now - TOMBSTONES:
            return removed(new), None
        if new.fork is not None and self._gone(ns, new.fork):
            return EnqueueOutcome(run_id, "rejected", code="conflict", reason=GONE), None
        beside: list[fencing.Message] = []
        if new.run.key:
            subject = subjects.idempotency_key(ns, *key_of(new))
            key = self._key(subject)
            if key is not None and key[3] > us(new.queued_at or now) and not self._freed(key[1]):
                return self._held(ns, new, key[1], key[2], record)
            beside.append(self._take_key(subject, 0 if key is None else key[0], new, now))
        return self._made(ns, new, record, now, beside)

    def _made(
        self,
        ns: str,
        new: NewRun,
        record: Record | None,
        now: datetime,
        beside: list[fencing.Message],
    ) -> tuple[EnqueueOutcome, Write]:
        run = msgspec.structs.replace(new.run, ns=ns, root=new.run.root or new.run.id)
        t = lifecycle.create(run, now, run.due_at, new.forked)
        assert t.run is not None
        building = Building(self.engine, now, t.run, record, self._mark_of)
        payload = Raw(new.payload) if new.payload else NOTHING
        building.made(
            Made(new.payload_hash, payload, new.payload_ref, new.schema_hash, new.key_scope)
        )
        building.events += t.events
        if new.fork is not None:
            copied(self.db, building, new.fork)
        if new.start is not None:
            given(building, new.start)
        outcome = EnqueueOutcome(run.id, "recorded", record=t.run, events=list(t.events))
        if record is not None and record.early is not None:
            done = lifecycle.decide(building.run, Cancel(*record.early), now)
            building.take(done)
            outcome.record, outcome.ended = building.run, True
            outcome.events += done.events
        write = building.done()
        return outcome, write._replace(before=building.parts(), beside=beside)

    def _gone(self, ns: str, point: ForkPoint) -> bool:
        source = self._record(point.source, ns)
        if source is None or source.run is None:
            return True
        return (
            point.number > 0
            and not self.db.execute(
                "SELECT 1 FROM checkpoints WHERE run = ? AND number = ?",
                (point.source, point.number),
            ).fetchone()
        )

    # --- keys

    def _key(self, subject: str) -> tuple[int, str, str, int] | None:
        """(sequence, run, hash, until) of a key's last holder."""
        return self.db.execute(
            "SELECT seq, run, hash, until FROM keys WHERE subject = ?", (subject,)
        ).fetchone()

    def _freed(self, holder: str) -> bool:
        record = self.projection.record(holder)
        return record is not None and record.freed

    def _take_key(self, subject: str, seq: int, new: NewRun, now: datetime) -> fencing.Message:
        body = KeyBody(new.run.id, new.payload_hash, new.key_until or now, *key_of(new))
        return fencing.Message(subject, encode(body), expect_last(seq, subject))

    def _held(
        self, ns: str, new: NewRun, holder: str, digest: str, record: Record | None
    ) -> tuple[EnqueueOutcome, Write | None]:
        held = self.projection.record(holder)
        ended = held is not None and held.run is not None and held.run.state in TERMINAL
        outcome = duplicate(new, holder, digest, ended)
        if record is not None and (record.alias or record.refused):
            return outcome, None
        change = self._change_now()
        if outcome.outcome == "duplicate":
            change.alias = holder
        else:
            change.refused = (outcome.code, outcome.reason)
        return outcome, Write(ns, Body(new.run.id, change, ns), subjects.SET)

    # --- what is no run

    async def reject(self, ns: str, run: str, code: str, reason: str) -> None:
        """Keep the refusal."""
        self._check()

        def plan(run_id: str, record: Record | None) -> Write | None:
            if record is not None and (record.run is not None or record.refused or record.alias):
                return None
            change = self._change_now()
            change.refused = (code, reason)
            return Write(ns, Body(run_id, change, ns), subjects.SET)

        await self._change([run], plan)

    async def early_cancel(self, ns: str, run: str, actor: str, reason: str) -> None:
        """Intake honours it: whoever records the run has to see it first."""
        self._check()

        def plan(run_id: str, record: Record | None) -> Write | None:
            if record is not None and (record.early is not None or record.removed_at is not None):
                return None
            if record is not None and record.run is not None and record.ns != ns:
                return None
            change = self._change_now()
            change.early = (actor, reason)
            return Write(ns, Body(run_id, change, ns), subjects.SET)

        await self._change([run], plan)

    async def ends(self, ns: str, runs: Sequence[str]) -> ResultsAnswer:
        """Which have ended, and what of the others."""
        await self._fresh(*runs)
        known = [record for run in runs if (record := self._record(run, ns)) is not None]
        await self.journal.look(record.alias for record in known if record.alias)
        records = {run: self._record(run, ns) for run in runs}
        aliases = {
            run: r.alias
            for run, r in records.items()
            if r is not None and r.alias and r.run is None
        }
        ended: dict[str, Ended] = {}
        others: dict[str, str] = {}
        refused: dict[str, Recorded] = {}
        for run in [*runs, *aliases.values()]:
            record = self._record(run, ns)
            if record is not None and record.run is not None:
                if record.run.state in TERMINAL:
                    ended[run] = self._end_of(run, record.run.state.status)
                else:
                    others[run] = record.run.state.status
            elif record is not None and record.refused is not None:
                others[run] = "rejected"
                code, reason = record.refused
                refused[run] = Recorded(run, "rejected", code=code, reason=reason)
            elif run not in aliases:
                others[run] = "unknown"
        return ResultsAnswer(list(ended.values()), others, aliases, refused)

    def _end_of(self, run: str, status: str) -> Ended:
        row = self.db.execute(
            "SELECT result, result_ref, error FROM bodies WHERE run = ? AND ended = 1", (run,)
        ).fetchone()
        if row is None:
            return Ended(run, status, NOTHING, None, None)
        result = Raw(row[0]) if row[0] else NOTHING
        return Ended(run, status, result, ref_of(row[1]), error_of(row[2]))


def _turns(ns: str, batch: Sequence[NewRun]) -> list[dict[str, int]]:
    """Places in the batch by run id: what asks for an id or a key again waits for a later turn."""
    turns: list[dict[str, int]] = []
    at: dict[object, int] = {}
    for k, new in enumerate(batch):
        names: list[object] = [new.run.id]
        if new.run.key:
            names.append(key_of(new))
        if new.fork is not None:
            names.append(new.fork.source)
        turn = max((at.get(name, -1) for name in names), default=-1) + 1
        at |= dict.fromkeys(names, turn)
        while len(turns) <= turn:
            turns.append({})
        turns[turn][new.run.id] = k
    return turns
