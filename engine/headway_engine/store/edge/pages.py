"""Edge store: pages of the list of runs, for any query, each with a bounded amount of work.

The terms that have an index choose ids in order, at most `SCAN` of them; the other terms are
tested on their rows, some at a time, until the page is full. What is left is another request: the
page says where it goes on. A page is read in one turn of the loop: it shows one moment.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from headway.query import parse
from headway.query.asked import query_of
from headway.query.evaluate import resolved
from headway.states import RunState
from headway.wire.runs import Facet, Facets, FacetsAsk, RunRow, RunsPage, RunsQuery
from headway_engine.store.edge.dialect import JOINS, SQLite, values
from headway_engine.store.edge.projection import error_of
from headway_engine.store.edge.reading import Reading
from headway_engine.store.edge.times import moment
from headway_engine.store.filtering import Where, where
from headway_engine.store.listing import attempt_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SCAN = 2500
"""Runs that one request looks at."""
CHUNK = 250
"""Rows that are read at once."""

_SQLITE = SQLite()
_STATES = {s.value: s for s in RunState}
_tags = msgspec.json.Decoder(tuple[str, ...])
_COLUMNS = (
    "r.id, r.task, r.state, r.queue, r.created_at, r.version, r.epoch, r.n, r.failures, r.ck,"
    " c.name, r.agent, r.priority, r.tags, r.due_at, r.started_at, r.ended_at, r.reason, b.error,"
    " r.parent, r.origin, r.key, r.failure, r.acked"
)
_FACETS = {
    "status": "lower(r.state)", "task": "r.task", "queue": "r.queue", "agent": "r.agent",
    "image": "r.version", "tag": "r.tags", "error": "hw_said(b.error)",
}  # fmt: skip


class Pages(Reading):
    """See the port."""

    async def runs(self, ns: str, query: RunsQuery) -> RunsPage:
        """A page of the list, by id; raises BadQuery."""
        asked_for = query_of(query)
        await self._fresh()
        asked = self._asked(ns, asked_for)
        page = self._listed(ns, query, asked)
        if query.total:
            page.total, page.estimated = await self._total(asked)
        return page

    def _asked(self, ns: str, query: Any) -> Where:
        now = self._now()
        return where(resolved(query, now), now, _SQLITE, [ns])

    def _listed(self, ns: str, query: RunsQuery, asked: Where) -> RunsPage:
        found, following = self._matching(asked, query, _COLUMNS)
        counts = self.db.execute(
            "SELECT lower(state), count(*) FROM runs INDEXED BY runs_live"
            " WHERE ns = ? AND ended_at IS NULL AND state IS NOT NULL GROUP BY 1",
            (ns,),
        )
        return RunsPage(
            [self._row(ns, row) for row in found],
            self._now(),
            bool(following),
            dict(counts.fetchall()),
            following,
        )

    def _matching(
        self, asked: Where, query: RunsQuery, columns: str
    ) -> tuple[list[tuple[Any, ...]], str]:
        """At most `n` rows that begin with their id, and the id after which there may be more."""
        scan = max(SCAN, query.n + 1) if asked.rest else query.n + 1
        looked = self._looked(asked, scan, query.after, oldest=query.sort == "oldest")
        found: list[tuple[Any, ...]] = []
        for row in self._rows(asked, looked, columns):
            found.append(row)
            if len(found) > query.n:
                return found[: query.n], found[query.n - 1][0]
        return found, looked[-1] if asked.rest and len(looked) == scan else ""

    def _looked(
        self, asked: Where, scan: int, after: str = "", *, oldest: bool = False
    ) -> list[str]:
        """Ids that the indexed terms choose, in order, at most so many."""
        args = values(asked.args[: asked.scanned])
        order, beyond = ("ASC", ">") if oldest else ("DESC", "<")
        further = ""
        if after:
            args.append(after)
            further = f" AND r.id {beyond} ?{len(args)}"
        args.append(scan)
        sql = f"{_parts(asked, further)} ORDER BY id {order} LIMIT ?{len(args)}"
        return [run for (run,) in self.db.execute(sql, args)]

    def _rows(self, asked: Where, looked: Sequence[str], columns: str) -> Iterator[tuple[Any, ...]]:
        """The rows of these that meet the other terms, in the same order."""
        args = values(asked.args)
        place = f"?{len(args) + 1}"
        joins = " ".join(
            j for column, j in JOINS.items() if column in asked.rest or column in columns
        )
        sql = (
            f"SELECT {columns} FROM json_each({place}) x CROSS JOIN runs r ON r.id = x.value"
            f" {joins} WHERE {asked.rest or 'true'} ORDER BY x.key"
        )
        for at in range(0, len(looked), CHUNK):
            ids = values([list(looked[at : at + CHUNK])])
            yield from self.db.execute(sql, args + ids).fetchall()

    async def _total(self, asked: Where) -> tuple[int, bool]:
        """How many runs match, and whether that is an estimate: exact while a request can see all.

        Beyond that: the rows that the indexed terms choose, which another thread counts, times the
        share of the newest that match.
        """
        looked = self._looked(asked, SCAN + 1)
        matched = sum(1 for _ in self._rows(asked, looked, "r.id")) if asked.rest else len(looked)
        if len(looked) <= SCAN:
            return matched, False
        sql = f"SELECT count(*) FROM ({_parts(asked, '')})"
        args = values(asked.args[: asked.scanned])
        chosen = await asyncio.to_thread(_counted, self.projection.path, sql, args)
        if not asked.rest:
            return chosen, False
        return max(matched, chosen * matched // len(looked)), True

    async def facets(self, ns: str, ask: FacetsAsk) -> Facets:
        """Of the newest `SCAN` runs that the indexed terms choose; raises BadQuery."""
        query = parse(ask.query)
        await self._fresh()
        asked = self._asked(ns, query)
        looked = self._looked(asked, SCAN + 1)
        counts: dict[str, Counter[str]] = {field: Counter() for field in ask.by}
        columns = ", ".join(_FACETS[field] for field in ask.by)
        matched = 0
        for row in self._rows(asked, looked, columns):
            matched += 1
            for field, value in zip(ask.by, row, strict=True):
                counts[field].update(v for v in _facet(field, value) if v)
        return Facets(
            self._now(),
            matched,
            len(looked) > SCAN,
            {
                field: [
                    Facet(v, n) for v, n in sorted(c.items(), key=lambda i: (-i[1], i[0]))[: ask.n]
                ]
                for field, c in counts.items()
            },
        )

    def _row(self, ns: str, row: tuple[Any, ...]) -> RunRow:
        created: int
        (
            run, task, name, queue, created, version, epoch, n, failures, ck, point, agent,
            priority, tags, due, started, ended, reason, error, parent, origin, key, failure, acked,
        ) = row  # fmt: skip
        state, known = _STATES[name], self._known(ns, task, version)
        return RunRow(
            run, task, state.status, queue, moment(created), version, epoch, n,
            attempt_of(state, failures), 0 if known is None else known[0].max_attempts, ck,
            point or "", agent, priority, _tags.decode(tags), moment(due), moment(started),
            moment(ended), reason, error_of(error), parent, origin, key, failure=failure,
            acked=bool(acked),
        )  # fmt: skip


def _counted(path: Path, sql: str, args: list[Any]) -> int:
    """One number, on a connection of its own: a million entries of an index take a while."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        ((count,),) = db.execute(sql, args)
    return count


def _parts(asked: Where, further: str) -> str:
    """The ids that the indexed terms choose; SQLite merges parts that are in order.

    With its plus an id has no index: a part in another order is found by its own and then sorted.
    """
    return " UNION ALL ".join(
        f"SELECT {'+' if part.order == 'none' else ''}r.id AS id FROM runs r WHERE r.ns = ?1"
        f"{part.condition and f' AND {part.condition}'}{further}"
        for part in asked.parts
    )


def _facet(field: str, value: str | None) -> Sequence[str]:
    if value is None:
        return ()
    if field == "tag":
        return tuple(set(_tags.decode(value)))
    return (value.partition(": ")[0],) if field == "error" else (value,)
