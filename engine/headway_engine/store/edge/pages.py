"""Edge store: pages of the list of runs, and the values of their fields, for any query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headway.query import parse
from headway.query.asked import query_of
from headway.query.evaluate import resolved
from headway.states import RunState
from headway.wire.runs import Facet, Facets, FacetsAsk, RunRow, RunsPage, RunsQuery
from headway_engine.store.edge.dialect import SQLite
from headway_engine.store.edge.reading import Reading
from headway_engine.store.edge.rows import error_of
from headway_engine.store.edge.scanning import Found, Reader, Scan
from headway_engine.store.edge.times import moment
from headway_engine.store.filtering import Where, where
from headway_engine.store.listing import attempt_of

if TYPE_CHECKING:
    import sqlite3

_SQLITE = SQLite()
_STATES = {s.value: s for s in RunState}
_tags = msgspec.json.Decoder(tuple[str, ...])
COLUMNS = (
    "r.id, r.task, r.state, r.queue, r.created_at, r.version, r.epoch, r.n, r.failures, r.ck,"
    " c.name, r.agent, r.priority, r.tags, r.due_at, r.started_at, r.ended_at, r.reason, b.error,"
    " r.parent, r.origin, r.key, r.failure, r.acked, k.job, r.claimed_at"
)
"""What `_row` makes a row of."""
_LIVE = (
    "SELECT lower(state), count(*) FROM runs INDEXED BY runs_live"
    " WHERE ns = ? AND ended_at IS NULL AND state IS NOT NULL GROUP BY 1"
)


class Pages(Reading):
    """See the port."""

    reader: Reader

    async def runs(self, ns: str, query: RunsQuery) -> RunsPage:
        """A page of the list, by id; raises BadQuery."""
        wanted = query_of(query)
        await self._fresh()
        asked = self._asked(ns, wanted)

        def read(db: sqlite3.Connection) -> tuple[Found, dict[str, int], tuple[int, bool] | None]:
            scan = Scan(db, asked)
            total = scan.total() if query.total else None
            return scan.page(query, COLUMNS), dict(db.execute(_LIVE, (ns,)).fetchall()), total

        found, counts, total = await self.reader.read(read)
        rows = [self._row(ns, row) for row in found.rows]
        page = RunsPage(rows, self._now(), bool(found.following), counts, found.following)
        if total is not None:
            page.total, page.estimated = total
        return page

    def _asked(self, ns: str, query: Any) -> Where:
        now = self._now()
        return where(resolved(query, now), now, _SQLITE, [ns])

    async def facets(self, ns: str, ask: FacetsAsk) -> Facets:
        """Of the newest runs that the indexed terms choose; raises BadQuery."""
        query = parse(ask.query)
        await self._fresh()
        asked = self._asked(ns, query)
        found = await self.reader.read(lambda db: Scan(db, asked).facets(ask.by))
        return Facets(
            self._now(),
            found.matched,
            found.partly,
            {
                field: [
                    Facet(v, n) for v, n in sorted(c.items(), key=lambda i: (-i[1], i[0]))[: ask.n]
                ]
                for field, c in found.values.items()
            },
        )

    def _row(self, ns: str, row: tuple[Any, ...]) -> RunRow:
        created: int
        (
            run, task, name, queue, created, version, epoch, n, failures, ck, point, agent,
            priority, tags, due, started, ended, reason, error, parent, origin, key, failure, acked,
            job, claimed,
        ) = row  # fmt: skip
        state, known = _STATES[name], self._known(ns, task, version)
        return RunRow(
            run, task, state.status, queue, moment(created), version, epoch, n,
            attempt_of(state, failures), 0 if known is None else known[0].max_attempts, ck,
            point or "", agent, priority, _tags.decode(tags), moment(due), moment(started),
            moment(ended), reason, error_of(error), parent, origin, key, failure=failure,
            acked=bool(acked), job=job or "", claimed_at=moment(claimed),
        )  # fmt: skip
