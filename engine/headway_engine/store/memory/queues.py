"""Memory store: dispatch, timers, outbox, pruner."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from headway.states import OPEN, TERMINAL, RunState
from headway_engine.lifecycle import START_DEADLINE, TIMEOUT_SLACK
from headway_engine.store.agreement import JUMP
from headway_engine.store.memory.intake import Intake
from headway_engine.store.memory.tables import Queue, Row
from headway_engine.store.records import LAST_SEQ, Dispatch, Purge, QueueState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.events import Event

S = RunState


class Queues(Intake):
    """See the port."""

    async def late_cancels(self, limit: int) -> list[tuple[str, str, str, str]]:
        """Early cancels of live runs."""
        self._check()
        return [
            (ns, run, actor, reason)
            for (ns, run), (actor, reason) in sorted(self.tables.early.items())
            if (row := self.tables.runs.get(run)) is not None
            and row.run.ns == ns
            and row.run.state not in TERMINAL
            and row.run.state is not S.CANCELLING
        ][:limit]

    def _of(self, ns: str, queue: str) -> list[Row]:
        return [r for r in self.tables.runs.values() if r.run.ns == ns and r.run.queue == queue]

    async def queues(self) -> list[QueueState]:
        """All queues."""
        self._check()
        names = set(self.tables.queues)
        names |= {
            (r.run.ns, r.run.queue)
            for r in self.tables.runs.values()
            if r.is_open or r.run.state is S.QUEUED
        }
        names |= {
            (a.state.ns, q)
            for a in self.tables.agents.values()
            if a.state.alive
            for q in a.state.queues
        }
        out: list[QueueState] = []
        for ns, queue in sorted(names):
            s = self.tables.queues.get((ns, queue), Queue())
            rows = self._of(ns, queue)
            given = [r for r in rows if r.run.state is S.QUEUED and r.dispatch is not None]
            shared = sum(r.run.shared for r in given)
            out.append(
                QueueState(
                    ns,
                    queue,
                    s.limit,
                    s.key_limit,
                    s.paused,
                    s.priority,
                    sum(r.waits for r in rows),
                    len(given) - shared,
                    shared,
                    sum(r.is_open for r in rows),
                    min((r.queued_at for r in rows if r.waits and r.queued_at), default=None),
                    s.paused_by,
                    s.paused_at,
                    s.reason,
                )
            )
        return out

    async def live(self) -> dict[tuple[str, str], int]:
        """Live runs by (namespace, state)."""
        self._check()
        runs = (r.run for r in self.tables.runs.values() if r.run.state not in TERMINAL)
        return dict(Counter((run.ns, run.state.status) for run in runs))

    async def dispatch(self, ns: str, queue: str, room: int, shared_room: int) -> Dispatch | None:
        """Choose within limits: priority, then runs that go on, then age."""
        self._check()
        settings = self.tables.queues.setdefault((ns, queue), Queue())
        if settings.paused:
            return None
        rows = self._of(ns, queue)
        held = [
            r for r in rows if r.is_open or (r.run.state is S.QUEUED and r.dispatch is not None)
        ]
        left = settings.limit - len(held) if settings.limit else len(rows)
        keyed = Counter(r.run.limit_key for r in held)
        rooms = {False: room, True: shared_room}
        chosen: list[tuple[str, bool]] = []
        waiting = sorted(
            (r.run for r in rows if r.waits), key=lambda r: (-r.priority, not r.resumed, r.id)
        )
        for run in waiting:
            if left <= 0:
                break
            full = (
                settings.key_limit and run.limit_key and keyed[run.limit_key] >= settings.key_limit
            )
            if full or rooms[run.shared] <= 0:
                continue
            rooms[run.shared] -= 1
            keyed[run.limit_key] += 1
            left -= 1
            chosen.append((run.id, run.shared))
        return self._batch(ns, queue, chosen) if chosen else Dispatch(0, ns, queue, [])

    async def dispatched(self, batches: Sequence[tuple[int, int]], stream_created: str) -> None:
        """These are in WORK."""
        self._check()
        for dispatch, last_seq in batches:
            if (batch := self.tables.batches.get(dispatch)) is not None:
                batch.last_seq, batch.stream_created = last_seq, stream_created
                batch.at = self._now()

    async def undispatched(
        self,
        acked: dict[tuple[str, str], int],
        stream_created: str,
        older_than: float = 30.0,
        written: int = LAST_SEQ,
    ) -> list[Dispatch]:
        """Batches to publish again."""
        self._check()
        out: list[Dispatch] = []
        for number, batch in list(self.tables.batches.items()):
            elsewhere = batch.last_seq is not None and batch.stream_created != stream_created
            if batch.at >= self._now() - timedelta(seconds=older_than) and not elsewhere:
                continue
            runs = [
                (run, shared)
                for run, shared in batch.runs
                if (row := self.tables.runs.get(run)) is not None
                and row.run.state is S.QUEUED
                and row.dispatch == number
            ]
            if not runs:
                del self.tables.batches[number]
                continue
            floor = acked.get((batch.ns, batch.queue))
            if (
                batch.last_seq is None
                or elsewhere
                or batch.last_seq > written
                or (floor is not None and batch.last_seq <= floor)
            ):
                batch.last_seq, batch.at = None, self._now()
                out.append(Dispatch(number, batch.ns, batch.queue, runs))
        return out

    async def due(self, limit: int) -> tuple[list[str], datetime | None, datetime]:
        """(due now, when the next one is due, now)."""
        self._check()
        now = self._now()
        timed = sorted(
            (r.run.due_at, r.run.id)
            for r in self.tables.runs.values()
            if r.run.due_at is not None and r.run.state in (S.DELAYED, S.RETRYING, S.WAITING)
        )
        later = [at for at, _ in timed if at > now]
        return [run for at, run in timed if at <= now][:limit], min(later, default=None), now

    async def overdue(self, limit: int) -> list[str]:
        """Runs for `Overdue`."""
        self._check()
        return [r.run.id for r in self.tables.runs.values() if self._late(r)][:limit]

    def _late(self, row: Row) -> bool:
        run, now = row.run, self._now()
        if run.state in TERMINAL or run.state is S.CANCELLING:
            return False
        if run.deadline_at is not None and run.deadline_at <= now:
            return True
        if run.state in (S.QUEUED, S.DELAYED):
            return run.started_at is None and run.ttl_at is not None and run.ttl_at <= now
        seen = self.tables.liveness
        if seen is not None and (now - seen[1]).total_seconds() >= JUMP:
            return False  # see `tick`: it may be the clock that was set
        if run.state is S.STARTING:
            return run.claimed_at is not None and run.claimed_at + START_DEADLINE <= now
        if run.state is S.RUNNING and run.attempt_at is not None:
            return run.attempt_at + timedelta(seconds=row.timeout) + TIMEOUT_SLACK <= now
        return False

    async def published(self, events: Sequence[tuple[str, int]]) -> None:
        """RUNS has these; what was committed before them and is not among them stays."""
        for posted in self.tables.outbox:
            posted.left -= set(events)
        self.tables.outbox[:] = [p for p in self.tables.outbox if p.left]

    async def unpublished(
        self,
        older_than: float,
    ) -> list[tuple[str, str, str, str, list[Event]]]:
        """What no engine has published for so many seconds."""
        self._check()
        before = self._now() - timedelta(seconds=older_than)
        wanted: dict[str, set[int]] = {}
        for posted in self.tables.outbox:
            if posted.at < before:
                for run, n in posted.left:
                    wanted.setdefault(run, set()).add(n)
        out: list[tuple[str, str, str, str, list[Event]]] = []
        for run, numbers in sorted(wanted.items()):
            row = self.tables.runs.get(run)
            if row is None:
                continue  # pruned: nothing to publish
            events = [e for e in row.events if e.n in numbers]
            out.append((run, row.run.ns, row.run.task, row.run.queue, events))
        return out

    async def prune(self) -> int:
        """What is past its time."""
        self._check()
        now, tables = self._now(), self.tables
        keys = [k for k, v in tables.keys.items() if v.until < now - timedelta(days=1)]
        old = [k for k, v in tables.refusals.items() if v[0] < now - timedelta(days=7)]
        runs = [
            k
            for k, v in tables.runs.items()
            if v.run.ended_at is not None and v.run.ended_at < now - self.retention
        ]
        for key in keys:
            del tables.keys[key]
        for refusal in old:
            del tables.refusals[refusal]
        tombs = [k for k, at in tables.tombstones.items() if at < now - timedelta(days=30)]
        for tomb in tombs:
            del tables.tombstones[tomb]
        for run in runs:
            row = tables.runs.pop(run)
            tables.budgets.pop((row.run.ns, run), None)
            for key in [key for key in tables.usage if key[0] == run]:
                del tables.usage[key]
            tables.tombstones[row.run.ns, run] = now
            if row.refs():
                self._purge(row.run.ns, run, [""], timedelta(days=1))
        jobs = [
            k
            for k, v in tables.jobs.items()
            if v.row.ended_at is not None and v.row.ended_at < now - self.retention
        ]
        items = sum(len(tables.jobs.pop(job).items) for job in jobs)
        return len(keys) + len(old) + len(runs) + len(tombs) + len(jobs) + items

    async def purges(self, limit: int) -> list[Purge]:
        """Blobs to remove now."""
        self._check()
        now, found = self._now(), list[Purge]()
        for (ns, run, key), p in sorted(self.tables.purges.items(), key=lambda i: i[1].due_at):
            late = p.taken is None or p.taken < now - timedelta(minutes=5)
            if p.due_at > now or not late or len(found) == limit:
                continue
            row = self.tables.runs.get(run)
            if row is not None and (not key or key in row.refs()):
                del self.tables.purges[ns, run, key]
                continue
            p.taken = now
            found.append(Purge(p.id, ns, run, key))
        return found

    async def purged(self, ids: Sequence[int]) -> None:
        """They are gone."""
        self._check()
        for place in [k for k, p in self.tables.purges.items() if p.id in set(ids)]:
            del self.tables.purges[place]

    async def keep_blob(self, ns: str, run: str, key: str) -> bool:
        """It is written again."""
        self._check()
        found = self.tables.purges.get((ns, run, key))
        if found is not None and found.taken is not None:
            return False
        self.tables.purges.pop((ns, run, key), None)
        return True

    async def unnamed(self, runs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those that are in no table."""
        self._check()
        t = self.tables
        purged = {(ns, run) for ns, run, _ in t.purges}
        return {
            place
            for place in runs
            if place[1] not in t.runs
            and place not in t.aliases
            and place not in t.refusals
            and place not in t.early
            and place not in purged
        }

    async def purge_later(self, ns: str, run: str, keys: Sequence[str]) -> None:
        """In a day."""
        self._check()
        self._purge(ns, run, keys, timedelta(days=1))

    def _open_of(self, ns: str, agent: str, session: int) -> list[Row]:
        return [
            r
            for r in self.tables.runs.values()
            if r.run.state in OPEN
            and r.run.ns == ns
            and r.run.agent == agent
            and r.run.session == session
        ]
