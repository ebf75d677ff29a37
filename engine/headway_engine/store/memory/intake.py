"""Memory store: enqueue, claims, saves, transitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from headway.states import OPEN, TERMINAL, RunState
from headway.wire import NOTHING, BlobRef
from headway.wire.enqueue import Ended, Recorded
from headway.wire.runs import ResultsAnswer
from headway.wire.saves import AnySave, Save, SaveCheckpoint, SaveUsage
from headway_engine import lifecycle
from headway_engine.happenings import Cancel, Claim, Happening
from headway_engine.store import ClaimAnswer
from headway_engine.store.claiming import page, refusal, turn_away
from headway_engine.store.forking import GONE, moved
from headway_engine.store.leasing import standing
from headway_engine.store.memory.saving import Saving
from headway_engine.store.memory.tables import Batch, Checkpoint, Key, Mark, Row
from headway_engine.store.recording import Room, choose, duplicate, key_of, removed, seen
from headway_engine.store.records import (
    Claimed,
    Dispatch,
    EnqueueOutcome,
    ForkPoint,
    NewRun,
    Outcome,
    Run,
    SaveDone,
    Start,
    Transition,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.events import Event
    from headway.wire.rpc import MarkRecord
    from headway_engine.happenings import Told


class Intake(Saving):
    """See the port."""

    async def enqueue(
        self,
        ns: str,
        batch: Sequence[NewRun],
        room: Room,
    ) -> tuple[list[EnqueueOutcome], list[Dispatch]]:
        """Record new runs."""
        self._check()
        plain = [new for new in batch if not new.run.key and new.forked is None]
        give = {new.run.id for new, yes in zip(plain, choose(plain, room), strict=True) if yes}
        open_queues = {queue for queue in room if self._is_open(ns, queue)}
        out: list[EnqueueOutcome] = []
        given: dict[str, list[tuple[str, bool]]] = {}
        for new in batch:
            outcome = self._record(ns, new)
            out.append(outcome)
            run = new.run
            if (
                outcome.outcome == "recorded"
                and not outcome.ended
                and run.id in give
                and run.queue in open_queues
            ):
                given.setdefault(run.queue, []).append((run.id, run.shared))
        self._post({(o.run, e.n) for o in out for e in o.events})
        return out, [self._batch(ns, queue, runs) for queue, runs in given.items()]

    def _is_open(self, ns: str, queue: str) -> bool:
        settings = self.tables.queues.get((ns, queue))
        if settings is not None and (settings.paused or settings.limit or settings.key_limit):
            return False
        return not any(
            r.waits and r.run.ns == ns and r.run.queue == queue for r in self.tables.runs.values()
        )

    def _batch(self, ns: str, queue: str, runs: list[tuple[str, bool]]) -> Dispatch:
        number = self.tables.next_dispatch
        self.tables.next_dispatch += 1
        self.tables.batches[number] = Batch(ns, queue, self._now(), runs)
        for run, _ in runs:
            self.tables.runs[run].dispatch = number
        return Dispatch(number, ns, queue, list(runs))

    def _record(self, ns: str, new: NewRun) -> EnqueueOutcome:
        now, tables = self._now(), self.tables
        if (row := tables.runs.get(new.run.id)) is not None:
            return seen(new, row.run.ns, row.hash, row.run.state in TERMINAL)
        if (ns, new.run.id) in tables.tombstones:
            return removed(new)
        point = new.fork
        if point is not None and self._gone(ns, point):
            return EnqueueOutcome(new.run.id, "rejected", code="conflict", reason=GONE)
        if new.run.key:
            place = (ns, *key_of(new))
            held = tables.keys.get(place)
            if held is not None and held.until > (new.queued_at or now):
                ended = tables.runs[held.run].run.state in TERMINAL
                outcome = duplicate(new, held.run, held.hash, ended)
                if outcome.outcome == "duplicate":
                    tables.aliases.setdefault((ns, new.run.id), held.run)
                else:
                    kept = (now, outcome.code, outcome.reason)
                    tables.refusals.setdefault((ns, new.run.id), kept)
                return outcome
            tables.keys[place] = Key(new.run.id, new.payload_hash, new.key_until or now)
        run = msgspec.structs.replace(new.run, root=new.run.root or new.run.id)
        t = lifecycle.create(run, now, run.due_at, new.forked)
        assert t.run is not None
        row = Row(
            t.run,
            new.payload,
            new.payload_ref,
            new.payload_hash,
            new.schema_hash,
            new.key_scope,
            events=list(t.events),
            queued_at=now,
        )
        tables.runs[run.id] = row
        if point is not None:
            self._copy(row, point)
        if new.start is not None:
            self._begin(row, new.start)
        outcome = EnqueueOutcome(run.id, "recorded", record=row.run, events=list(t.events))
        if (cancel := tables.early.get((ns, run.id))) is not None:
            done = self._move(run.id, Cancel(*cancel))
            outcome.record, outcome.ended = done.run, True
            outcome.events += done.events
        return outcome

    def _gone(self, ns: str, point: ForkPoint) -> bool:
        row = self.tables.runs.get(point.source)
        return (
            row is None
            or row.run.ns != ns
            or (point.number > 0 and point.number not in row.checkpoints)
        )

    def _copy(self, row: Row, point: ForkPoint) -> None:
        source, run = self.tables.runs[point.source], row.run
        for key in point.marks:
            if (mark := source.marks.get(key)) is not None:
                copy = copied_mark(mark, point.source, run.id, self._now())
                copy.after = min(mark.after, point.number)
                row.marks[key] = copy
        for number, ck in source.checkpoints.items():
            if number > point.number:
                continue
            copy = msgspec.structs.replace(ck, epoch=0, ref=_moved(ck.ref, point.source, run.id))
            if number == point.number and (edited := point.state) is not None:
                copy.sha256, copy.size, copy.ref = edited.sha256, edited.size, edited.ref
                copy.state = NOTHING if edited.ref is not None else Raw(edited.body)
            row.checkpoints[number] = copy

    def _begin(self, row: Row, start: Start) -> None:
        now = self._now()
        for mark in start.marks:
            record = msgspec.structs.replace(mark.record, epoch=0)
            row.marks[record.key] = Mark(record, mark.token, now, mark.size, mark.after)
        if (point := start.point) is not None:
            state = point.state
            row.checkpoints[point.number] = Checkpoint(
                point.number, point.name, state.sha256, state.size, 0, now,
                NOTHING if state.ref is not None else Raw(state.body), state.ref, point.schema,
                keep=True,
            )  # fmt: skip

    async def reject(self, ns: str, run: str, code: str, reason: str) -> None:
        """Keep the refusal."""
        self._check()
        self.tables.refusals.setdefault((ns, run), (self._now(), code, reason))

    async def ends(
        self,
        ns: str,
        runs: Sequence[str],
    ) -> ResultsAnswer:
        """Which have ended, and what of the others."""
        self._check()
        tables = self.tables
        aliases = {
            run: tables.aliases[ns, run]
            for run in runs
            if (ns, run) in tables.aliases and run not in tables.runs
        }
        ended: dict[str, Ended] = {}
        others: dict[str, str] = {}
        refused: dict[str, Recorded] = {}
        for run in [*runs, *aliases.values()]:
            row = tables.runs.get(run)
            if row is not None and row.run.ns == ns:
                if row.run.state in TERMINAL:
                    end = row.end
                    ended[run] = Ended(
                        run,
                        row.run.state.status,
                        NOTHING if end is None else end.result,
                        None if end is None else end.ref,
                        None if end is None else end.error,
                    )
                else:
                    others[run] = row.run.state.status
            elif (ns, run) in tables.refusals:
                others[run] = "rejected"
                _, code, reason = tables.refusals[ns, run]
                refused[run] = Recorded(run, "rejected", code=code, reason=reason)
            elif run not in aliases:
                others[run] = "unknown"
        return ResultsAnswer(list(ended.values()), others, aliases, refused)

    async def commit(self, moves: Sequence[Told]) -> list[Outcome]:
        """Decide and carry out."""
        self._check()
        out = [self._move(m[0], m[1], m[2] if len(m) > 2 else "") for m in moves]
        self._post({(o.run.id, e.n) for o in out if o.run is not None for e in o.events})
        return out

    def _move(self, run_id: str, happening: Happening, ns: str = "") -> Outcome:
        row = self.tables.runs.get(run_id)
        if row is None or (ns and row.run.ns != ns):
            return Outcome("unknown", "no such run")
        t = lifecycle.decide(self._load(row), happening, self._now())
        if t.run is not None:
            self._carry_out(row, t)
        return Outcome(t.outcome, t.message, row.run, t.events, t.end, t.stop)

    def _carry_out(self, row: Row, t: Transition) -> None:
        assert t.run is not None
        if row.run.state is not t.run.state:
            row.dispatch = None
            if t.run.state is RunState.QUEUED:
                row.queued_at = self._now()
        row.run = t.run
        row.events += t.events
        row.end = t.end or row.end
        for write in t.marks:
            record = msgspec.structs.replace(write.record)
            old = row.marks.get(record.key)
            if old is not None and old.record.status == "done":
                continue
            if old is not None:
                record.kind = old.record.kind
                record.fn = record.fn or old.record.fn
            token = write.token or ("" if old is None else old.token)
            row.marks[record.key] = Mark(record, token, self._now(), after=write.after)
        if t.free_key:
            place = (row.run.ns, row.run.task, row.scope, row.run.key)
            held = self.tables.keys.get(place)
            if held is not None and held.run == row.run.id:
                del self.tables.keys[place]

    async def claim(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        runs: Sequence[str],
        images: frozenset[str] | None,
    ) -> ClaimAnswer:
        """Give runs to the agent's session."""
        self._check()
        now, answer = self._now(), ClaimAnswer()
        row = self.tables.agents.get((ns, agent))
        if (stands := standing(row, session, now)) != "live":
            answer.session_over, answer.overdue = stands == "over", stands == "overdue"
            return answer
        missing: list[tuple[str, Happening]] = []
        posted: set[tuple[str, int]] = set()
        for run_id in dict.fromkeys(runs):
            found = self.tables.runs.get(run_id)
            if found is None or found.run.ns != ns:
                answer.refused.append((run_id, "no such run"))
                continue
            run = self._load(found)
            known = self._known(ns, run.task, run.version)
            version = "" if known is None else known[1].version
            number = run.ck if run.ck in found.checkpoints else 0
            t = lifecycle.decide(run, Claim(agent, session, nonce, version, number), now)
            if t.outcome == "already" and known is not None:
                answer.claimed.append(self._claimed(found, run, []))
                continue
            queue_free, key_free = self._free(run)
            settings = self.tables.queues.get((ns, run.queue))
            info = None if known is None else known[1]
            why = refusal(
                t,
                run,
                info,
                images,
                found.dispatch is not None,
                settings is not None and settings.paused,
                queue_free,
                key_free,
                {},
                cancelled=(ns, run_id) in self.tables.early,
            )
            if why:
                if turn_away(answer, missing, run, why, info, images):
                    found.dispatch = None
                continue
            assert known is not None
            self._carry_out(found, t)
            found.timeout, found.keep = known[0].timeout, known[0].keep_checkpoints
            posted |= {(run_id, e.n) for e in t.events}
            given = self._claimed(found, found.run, t.events)
            given.waited = (now - (found.queued_at or now)).total_seconds()
            answer.claimed.append(given)
        self._post(posted)
        answer.outcomes = await self.commit(missing)
        return answer

    def _free(self, run: Run) -> tuple[int, int]:
        settings = self.tables.queues.get((run.ns, run.queue))
        if settings is None:
            return -1, -1
        opened = [
            r.run
            for r in self.tables.runs.values()
            if r.is_open and r.run.ns == run.ns and r.run.queue == run.queue
        ]
        keyed = sum(r.limit_key == run.limit_key for r in opened)
        return (
            settings.limit - len(opened) if settings.limit else -1,
            settings.key_limit - keyed if settings.key_limit and run.limit_key else -1,
        )

    def _claimed(self, row: Row, run: Run, events: list[Event]) -> Claimed:
        known = self._known(run.ns, run.task, run.version)
        assert known is not None
        ck = row.checkpoints.get(run.ck)
        records = [m.record for _, m in sorted(row.marks.items())]
        marks, more = page(records)
        return Claimed(
            msgspec.structs.replace(run),
            Raw(row.payload) if row.payload else NOTHING,
            row.payload_ref,
            0 if ck is None else ck.number,
            "" if ck is None else ck.name,
            "" if ck is None else ck.schema,
            NOTHING if ck is None else ck.state,
            None if ck is None else ck.ref,
            marks,
            more,
            known[0],
            known[1],
            events,
        )

    async def load_marks(
        self, ns: str, run: str, epoch: int, after: str
    ) -> tuple[list[MarkRecord], bool]:
        """A page of marks."""
        self._check()
        row = self.tables.runs.get(run)
        if row is None or row.run.epoch != epoch or row.run.ns != ns:
            return [], False
        return page([m.record for key, m in sorted(row.marks.items()) if key > after])

    async def save(self, saves: Sequence[AnySave], ns: Sequence[str] = ()) -> list[SaveDone]:
        """Checkpoints and marks."""
        self._check()
        who = ns or [""] * len(saves)
        out = [
            self._used(owner, save) if isinstance(save, SaveUsage) else self._save(save, owner)
            for save, owner in zip(saves, who, strict=True)
        ]
        self._post(
            {(save.run, e.n) for save, done in zip(saves, out, strict=True) for e in done.events}
        )
        return out

    def _save(self, save: Save, ns: str) -> SaveDone:
        row = self.tables.runs.get(save.run)
        if row is None or (ns and row.run.ns != ns):
            return SaveDone("stale_epoch", 0, "no such run")
        run = row.run
        if run.epoch != save.epoch:
            return SaveDone(
                "stale_epoch",
                0,
                "a newer attempt exists, or the run has moved on",
                run.ns,
                run.task,
            )
        if isinstance(save, SaveCheckpoint):
            return self._checkpoint(row, save, run.state in OPEN)
        return self._mark(row, save, run.state in OPEN)


def copied_mark(mark: Mark, source: str, target: str, now: datetime) -> Mark:
    """The mark as a copy holds it; its large value was copied under the new run."""
    ref = _moved(mark.record.ref, source, target)
    record = msgspec.structs.replace(mark.record, epoch=0, ref=ref)
    return Mark(record, mark.token, now, mark.size)


def _moved(ref: BlobRef | None, source: str, target: str) -> BlobRef | None:
    return None if ref is None else msgspec.structs.replace(ref, key=moved(ref.key, source, target))
