"""Memory store: what a plan has to know of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway.forks import failures_of
from headway.wire.replays import Source, SourcesPage
from headway.wire.runs import CheckpointRow, RunsQuery
from headway_engine.store.memory.lists import Lists
from headway_engine.store.planning import source_of, took

if TYPE_CHECKING:
    from headway.wire.replays import SourcesAsk


class Sources(Lists):
    """See the port."""

    async def sources(self, ns: str, ask: SourcesAsk) -> SourcesPage:
        """A page of runs, newest first."""
        query = RunsQuery(ids=ask.ids, query=ask.query, after="" if ask.ids else ask.after, n=ask.n)
        page = await self.runs(ns, query)
        out: list[Source] = []
        for listed in page.runs:
            row = self.tables.runs[listed.run]
            kept = [
                CheckpointRow(c.number, c.name, c.size, c.at, c.epoch, c.sha256)
                for _, c in sorted(row.checkpoints.items())
            ]
            events = await self.events(ns, listed.run, 0, len(row.events))
            failures = failures_of(events)
            once = tuple(
                key
                for key, m in sorted(row.marks.items())
                if m.record.kind == "once" and m.record.status == "done"
            )
            jobs = [
                j.row
                for (n, _), j in self.tables.jobs.items()
                if n == ns
                and any(
                    i.told.run == listed.run != i.told.fork and i.told.state in ("started", "ended")
                    for i in j.items
                )
            ]
            last = max(jobs, key=lambda r: r.at).job if jobs else ""
            source = source_of(
                listed.run, listed.status, ask.start, kept, failures, once, last,
                took(listed.started_at, listed.ended_at),
                None if listed.ended_at else events[-1].at,
            )  # fmt: skip
            for _, m in sorted(row.marks.items()):
                done = m.record.kind == "step" and m.record.status == "done"
                if done and m.after >= source.checkpoint:
                    source.again[m.record.fn] = source.again.get(m.record.fn, 0) + 1
            point = row.checkpoints.get(source.checkpoint)
            if point is not None and point.ref is None:
                state = msgspec.json.decode(point.state)
                if isinstance(state, dict):
                    source.lacks = tuple(key for key in ask.keys if key not in state)
            out.append(source)
        return SourcesPage(out, page.next)
