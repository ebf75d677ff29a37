"""Memory store: registry and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from headway.query import parse
from headway.query.asked import query_of
from headway.query.evaluate import matches
from headway.states import RunState
from headway.wire import DEFAULT_QUEUE, NOTHING, BlobRef
from headway.wire.bundles import BundleMark
from headway.wire.fleet import Deployment, DeploymentRow, QueueAsk, QueueRow, TaskSpec
from headway.wire.runs import (
    KIN,
    CheckpointRow,
    Facets,
    FacetsAsk,
    Kin,
    MarkRow,
    RunDetail,
    RunRow,
    RunsPage,
    RunsQuery,
)
from headway_engine.store.forking import ForkSource
from headway_engine.store.listing import agent_rows, attempt_of, facets_of
from headway_engine.store.memory.agents import Agents
from headway_engine.store.memory.tables import Checkpoint, Mark, Queue, Row

if TYPE_CHECKING:
    from datetime import datetime

    from headway.wire.events import Event
    from headway.wire.fleet import AgentRow
    from headway_engine.store.records import Run

S = RunState


class Lists(Agents):
    """See the port."""

    async def deploy(self, ns: str, what: Deployment) -> list[str]:
        """Register a version and make it current."""
        self._check()
        again = (ns, what.version) in self.tables.versions and not what.dev
        warnings = [
            f"{t.task}: version {what.version} was registered before and is replaced"
            for t in sorted(what.tasks, key=lambda t: t.task)
            if again and self.tables.current.get((ns, t.task)) == what.version
        ]
        self.tables.versions[ns, what.version] = (self._now(), what)
        for task in what.tasks:
            self.tables.current[ns, task.task] = what.version
            self.tables.queues.setdefault((ns, task.queue), Queue())
        return warnings

    async def spec(self, ns: str, task: str, version: str = "") -> tuple[str, TaskSpec] | None:
        """(version, spec)."""
        self._check()
        known = self._known(ns, task, version)
        return None if known is None else (known[1].version, known[0])

    async def deployments(self, ns: str) -> list[DeploymentRow]:
        """Newest first."""
        self._check()
        rows = sorted(
            ((at, what) for (n, _), (at, what) in self.tables.versions.items() if n == ns),
            key=lambda item: (item[0], item[1].version),
            reverse=True,
        )
        return [
            DeploymentRow(
                d.version,
                d.image,
                d.image_tag,
                tuple(sorted(t.task for t in d.tasks)),
                at,
                any(self.tables.current.get((ns, t.task)) == d.version for t in d.tasks),
                sum(
                    r.run.version == d.version and r.run.ns == ns and r.run.ended_at is None
                    for r in self.tables.runs.values()
                ),
                d.dev,
            )
            for at, d in rows
        ]

    async def early_cancel(self, ns: str, run: str, actor: str, reason: str) -> None:
        """Intake honours it."""
        self._check()
        self.tables.early.setdefault((ns, run), (actor, reason))

    async def find(self, ns: str, prefix: str) -> list[str]:
        """Run ids that begin so, at most 3."""
        self._check()
        return sorted(
            run
            for run, row in self.tables.runs.items()
            if run.startswith(prefix.upper()) and row.run.ns == ns
        )[:3]

    def _row(self, ns: str, run: str) -> Row | None:
        self._check()
        row = self.tables.runs.get(run)
        return row if row is not None and row.run.ns == ns else None

    async def get(self, ns: str, run: str) -> Run | None:
        """The record."""
        row = self._row(ns, run)
        return None if row is None else msgspec.structs.replace(self._load(row))

    async def events(self, ns: str, run: str, after: int, n: int) -> list[Event]:
        """Events with a number above `after`."""
        row = self._row(ns, run)
        return [] if row is None else [e for e in row.events if e.n > after][:n]

    async def state(
        self,
        ns: str,
        run: str,
        number: int,
    ) -> tuple[CheckpointRow, bytes, BlobRef | None] | None:
        """One checkpoint; 0 = the last."""
        row = self._row(ns, run)
        ck = None if row is None else row.checkpoints.get(number or row.run.ck)
        return None if ck is None else (_checkpoint(ck), bytes(ck.state), ck.ref)

    async def marks(self, ns: str, run: str) -> list[MarkRow]:
        """Recorded marks in the order of time."""
        row = self._row(ns, run)
        if row is None:
            return []
        marks = sorted(row.marks.values(), key=lambda m: (m.at, m.record.key))
        return [
            MarkRow(
                m.record.key,
                m.record.kind,
                m.record.fn,
                m.record.status,
                m.record.epoch,
                m.at,
                m.token,
                m.size,
            )
            for m in marks
        ]

    async def mark_page(self, ns: str, run: str, after: str, n: int) -> list[BundleMark]:
        """Marks with a key above `after`, with their values."""
        row = self._row(ns, run)
        if row is None:
            return []
        return [_mark(m) for key, m in sorted(row.marks.items()) if key > after][:n]

    async def detail(self, ns: str, run: str) -> RunDetail | None:
        """Everything about one run."""
        row = self._row(ns, run)
        if row is None:
            return None
        end = row.end
        return RunDetail(
            self._run_row(row),
            Raw(row.payload) if row.payload else NOTHING,
            row.payload_ref,
            NOTHING if end is None else end.result,
            None if end is None else end.ref,
            list(row.events),
            [_checkpoint(c) for _, c in sorted(row.checkpoints.items())],
            await self.marks(ns, run),
        )

    async def kin(self, ns: str, run: str, failure: str, since: datetime) -> Kin:
        """Forks, and runs that failed alike."""
        self._check()
        every = [row.run for row in self.tables.runs.values() if row.run.ns == ns]
        forks = sum(r.origin == run for r in every)
        failed = [r for r in every if failure and r.failure == failure]
        alike = sum(r.created_at >= since for r in failed)
        first_at = min((r.ended_at for r in failed if r.ended_at is not None), default=None)
        return Kin(min(forks, KIN), min(alike, KIN), first_at)

    def _run_row(self, row: Row) -> RunRow:
        run = self._load(row)
        ck = row.checkpoints.get(run.ck)
        known = self._known(run.ns, run.task, run.version)
        return RunRow(
            run.id,
            run.task,
            run.state.status,
            run.queue,
            run.created_at,
            run.version,
            run.epoch,
            run.n,
            attempt_of(run.state, run.failures),
            0 if known is None else run.policy.max_attempts,
            run.ck,
            "" if ck is None else ck.name,
            run.agent,
            run.priority,
            run.tags,
            run.due_at,
            run.started_at,
            run.ended_at,
            run.reason,
            None if row.end is None else row.end.error,
            run.parent,
            run.origin,
            run.key,
            failure=run.failure,
            acked=run.acked,
            job=self._job_of(run.ns, run.id) if run.origin else "",
            claimed_at=run.claimed_at,
        )

    def _job_of(self, ns: str, run: str) -> str:
        for (where, job), known in self.tables.jobs.items():
            if where == ns and any(i.told.fork == run != i.told.run for i in known.items):
                return job
        return ""

    async def runs(self, ns: str, query: RunsQuery) -> RunsPage:
        """A page, by id; raises BadQuery."""
        self._check()
        now = self._now()
        asked = query_of(query)
        oldest = query.sort == "oldest"
        mine = [r for _, r in sorted(self.tables.runs.items()) if r.run.ns == ns]
        listed = [self._run_row(r) for r in (mine if oldest else reversed(mine))]
        found = [r for r in listed if matches(asked, self._priced(r), now)]
        rest = [
            r
            for r in found
            if not query.after or (r.run > query.after if oldest else r.run < query.after)
        ]
        counts: dict[str, int] = {}
        for row in mine:
            if row.run.ended_at is None:
                counts[row.run.state.status] = counts.get(row.run.state.status, 0) + 1
        more = len(rest) > query.n
        return RunsPage(
            rest[: query.n],
            now,
            more,
            counts,
            rest[query.n - 1].run if more else "",
            len(found) if query.total else None,
        )

    async def facets(self, ns: str, ask: FacetsAsk) -> Facets:
        """Of all runs that match; raises BadQuery."""
        self._check()
        now, query = self._now(), parse(ask.query)
        mine = (self._run_row(r) for r in self.tables.runs.values() if r.run.ns == ns)
        return facets_of((row for row in mine if matches(query, self._priced(row), now)), ask, now)

    async def fork_source(self, ns: str, run: str) -> ForkSource | None:
        """All that a fork reads."""
        row = self._row(ns, run)
        if row is None:
            return None
        kept = [c for _, c in sorted(row.checkpoints.items())]
        return ForkSource(
            msgspec.structs.replace(self._load(row)),
            row.payload,
            row.payload_ref,
            row.hash,
            row.schema,
            [_checkpoint(c) for c in kept],
            {c.number: c.ref for c in kept if c.ref is not None},
            [
                (key, m.record.kind, m.after, m.record.ref)
                for key, m in sorted(row.marks.items())
                if m.record.status == "done"
            ],
        )

    async def set_queue(self, ns: str, ask: QueueAsk, actor: str) -> QueueRow:
        """Change a queue; absent fields stay."""
        self._check()
        q = self.tables.queues.setdefault((ns, ask.queue), Queue())
        q.limit = q.limit if ask.limit is None else ask.limit
        q.key_limit = q.key_limit if ask.key_limit is None else ask.key_limit
        if ask.paused is not None:
            q.paused, q.paused_by, q.paused_at = ask.paused, actor, self._now()
            q.reason = ask.reason if ask.paused else ""
        q.priority = q.priority if ask.priority is None else ask.priority
        return next(r for r in await self.queue_rows(ns) if r.queue == ask.queue)

    async def queue_rows(self, ns: str) -> list[QueueRow]:
        """Queues with their numbers."""
        out: list[QueueRow] = []
        for q in await self.queues():
            if q.ns != ns:
                continue
            rows = self._of(ns, q.queue)
            out.append(
                QueueRow(
                    q.queue,
                    q.limit,
                    q.key_limit,
                    q.paused,
                    q.priority,
                    q.queued,
                    q.dispatched + q.dispatched_shared,
                    q.open,
                    sum(r.run.state is S.RETRYING for r in rows),
                    sum(r.run.state is S.DELAYED for r in rows),
                    sum(
                        a.alive and not a.drain and q.queue in a.queues
                        for a in await self.agents(ns)
                    ),
                    q.oldest_at,
                    q.paused_by,
                    q.paused_at,
                    q.reason,
                    self._now(),
                )
            )
        return out

    async def named_queues(self, ns: str) -> frozenset[str]:
        """Of settings, tasks and agents."""
        self._check()
        served = (q for (n, _), a in self.tables.agents.items() if n == ns for q in a.state.queues)
        return frozenset({DEFAULT_QUEUE, *served, *(q for n, q in self.tables.queues if n == ns)})

    async def agent_rows(self, ns: str) -> list[AgentRow]:
        """Agents, for the api."""
        images = {
            d.image: d.version
            for (n, _), (_, d) in self.tables.versions.items()
            if n == ns and d.image
        }
        return agent_rows(await self.agents(ns), images)


def _checkpoint(c: Checkpoint) -> CheckpointRow:
    return CheckpointRow(c.number, c.name, c.size, c.at, c.epoch, c.sha256, c.schema)


def _mark(m: Mark) -> BundleMark:
    r = m.record
    kind: Any = r.kind
    return BundleMark(
        r.key, kind, m.at, r.fn, r.status, m.token, m.after, r.epoch, m.size, r.value, r.ref,
        r.error, r.due_at, r.resolved,
    )  # fmt: skip
