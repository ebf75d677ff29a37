"""Pages of the list of runs, for any query (`headway.query`), each with a bounded amount of work.

The terms that have an index choose rows in the order of ids; of these a request looks at `SCAN` at
most, and the other terms are tested on them one by one. What is left then is another request: the
page says where it goes on. So no query, however rare what it looks for, reads the whole table at
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headway.query import parse
from headway.query.asked import query_of
from headway.query.evaluate import resolved
from headway.wire.runs import Facet, Facets, FacetsAsk, RunRow, RunsPage, RunsQuery
from headway_engine.store.filtering import Where, where
from headway_engine.store.listing import attempt_of
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.dialect import JOINS, Postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway_engine.store.postgres.specs import Specs

SCAN = 2500
"""Runs that one request looks at: far apart on a disk, about 100 ms."""

_SQL = statements.load("pages")
_DIALECT = Postgres()
_PLAN = msgspec.json.Decoder(list[dict[str, Any]])


class Pages(Part):
    """See the port."""

    specs: Specs

    async def runs(self, ns: str, query: RunsQuery) -> RunsPage:
        """A page of the list, by id; raises BadQuery."""
        now = await self.now()
        fixed = resolved(query_of(query), now)
        asked = where(fixed, now, _DIALECT, [ns])
        scan = max(SCAN, query.n + 1)
        found = await self.db.read(*page(asked, query, query.n + 1, scan))
        more, following = len(found) > query.n, ""
        if more:
            following = found[query.n - 1]["id"]
        elif asked.rest and (cut := await self.db.read(*last_seen(asked, query, scan))):
            more, following = True, cut[0]["id"]
        counts = await self.db.read(_SQL["counts"], ns)
        answer = RunsPage(
            [await self._row(ns, row) for row in found[: query.n]],
            now,
            more,
            {rows.STATES[row["state"]].status: row["n"] for row in counts},
            following,
        )
        if query.total:
            answer.total, answer.estimated = await self._total(
                asked, where(fixed, now, _DIALECT, [ns], bounds=False)
            )
        return answer

    async def live(self) -> dict[tuple[str, str], int]:
        """Live runs by (namespace, state)."""
        found = await self.db.read(_SQL["live"])
        return {(row["ns"], rows.STATES[row["state"]].status): row["n"] for row in found}

    async def _total(self, asked: Where, loose: Where) -> tuple[int, bool]:
        """How many runs match, and whether that is an estimate: exact while a request can see all.

        Beyond that: the planner's estimate of the rows that the indexed terms choose, times the
        share of those looked at that match.
        """
        seen = (await self.db.read(*counted(asked, SCAN + 1)))[0]
        if seen["seen"] <= SCAN:
            return seen["matched"], False
        plan = await self.db.read(*estimated(loose))
        expected = max(SCAN, int(_PLAN.decode(plan[0][0])[0]["Plan"]["Plan Rows"]))
        return max(seen["matched"], expected * seen["matched"] // seen["seen"]), True

    async def facets(self, ns: str, ask: FacetsAsk) -> Facets:
        """Of the newest `SCAN` runs that the indexed terms choose; raises BadQuery."""
        now = await self.now()
        asked = where(resolved(parse(ask.query), now), now, _DIALECT, [ns])
        found = await self.db.read(*values(asked, ask.by, ask.n, SCAN + 1))
        answer = Facets(now, 0, values={field: [] for field in ask.by})
        for field, value, runs in found:
            if field == "":
                answer.matched, answer.partly = runs, int(value) > SCAN
            else:
                answer.values[field].append(Facet(value, runs))
        return answer

    async def _row(self, ns: str, row: Any) -> RunRow:
        state = rows.STATES[row["state"]]
        known = await self.specs.get(ns, row["task"], row["version"])
        return RunRow(
            row["id"],
            row["task"],
            state.status,
            row["queue"],
            row["created_at"],
            row["version"],
            row["epoch"],
            row["n"],
            attempt_of(state, row["failures"]),
            0 if known is None else known.policy.max_attempts,
            row["ck"],
            row["ck_name"] or "",
            row["agent"],
            row["priority"],
            tuple(row["tags"]),
            row["due_at"],
            row["started_at"],
            row["ended_at"],
            row["reason"],
            rows.error_of(row["error"]),
            row["parent"],
            row["origin"],
            row["key"],
            failure=row["failure"],
            acked=row["acked"],
            site=row["site"],
            job=row["job"] or "",
            claimed_at=row["claimed_at"],
        )


_RESULTS = "LEFT JOIN results s ON s.run = r.id AND r.ended_at IS NOT NULL"
_JOBS = """LEFT JOIN LATERAL (
    SELECT i.job FROM job_items i
     WHERE i.ns = $1 AND i.fork = r.id AND i.fork <> i.run AND r.origin <> '' LIMIT 1) j ON true"""
_CHECKPOINTS = "LEFT JOIN checkpoints c ON c.run = r.id AND c.number = r.ck AND r.ck > 0"


def _scan(asked: Where, args: list[Any], query: RunsQuery | None, limit: int) -> str:
    """The rows to look at, in order: of each part no more are read than the whole takes.

    Parts without an order are sorted apart: a planner that is asked for a page of them in order
    reads by id instead, and for a state that no run is in, a million rows.
    """
    order = "ASC" if query is not None and query.sort == "oldest" else "DESC"
    after = ""
    if query is not None and query.after:
        args.append(query.after)
        after = f" AND r.id {'>' if order == 'ASC' else '<'} ${len(args)}"
    args.append(limit)
    end = f"ORDER BY r.id {order} LIMIT ${len(args)}"
    parts: list[str] = []
    apart: list[str] = []
    for part in asked.parts:
        text = f"SELECT r.* FROM runs r WHERE r.ns = $1{_and(part.condition)}{after} {end}"
        if part.order == "none":
            apart.append(f"p{len(apart)} AS MATERIALIZED ({text})")
            text = f"SELECT r.* FROM p{len(apart) - 1} r {end}"
        parts.append(text)
    first = f"WITH {', '.join(apart)} " if apart else ""
    if len(parts) == 1:
        return f"{first}{parts[0]}"
    return f"{first}SELECT r.* FROM ({' UNION ALL '.join(f'({p})' for p in parts)}) r {end}"


def _and(condition: str) -> str:
    return condition and f" AND {condition}"


def _joined(asked: Where, wanted: str = "") -> str:
    """What the other terms ask for, and the columns that are `wanted`."""
    return " ".join(j for column, j in JOINS.items() if column in asked.rest or column in wanted)


def page(asked: Where, query: RunsQuery, n: int, scan: int) -> tuple[Any, ...]:
    """Statement and values: the first `n` rows that match among the next `scan`."""
    args = list(asked.args)
    rows = _scan(asked, args, query, scan)
    args.append(n)
    order = "ASC" if query.sort == "oldest" else "DESC"
    rest = asked.rest or "true"
    return (
        "SELECT r.id, r.task, r.state, r.queue, r.created_at, r.version, r.epoch, r.n, r.failures,"
        " r.ck, c.name AS ck_name, r.agent, r.priority, r.tags, r.due_at, r.started_at, r.ended_at,"
        " r.reason, s.error, r.parent, r.origin, r.key, r.failure, r.acked, j.job, r.site,"
        " r.claimed_at"
        f" FROM (SELECT r.* FROM ({rows}) r {_joined(asked)} WHERE {rest}"
        f" ORDER BY r.id {order} LIMIT ${len(args)}) r {_CHECKPOINTS} {_RESULTS} {_JOBS}"
        f" ORDER BY r.id {order}",
        *args,
    )


def ids(asked: Where, query: RunsQuery, n: int, scan: int) -> tuple[Any, ...]:
    """Statement and values: as `page`, but ids, states and times alone."""
    args = list(asked.args)
    rows = _scan(asked, args, query, scan)
    args.append(n)
    columns = "r.id, r.state, r.started_at, r.ended_at"
    found = f"SELECT {columns} FROM ({rows}) r {_joined(asked)} WHERE {asked.rest or 'true'}"
    return f"{found} ORDER BY r.id DESC LIMIT ${len(args)}", *args


def last_seen(asked: Where, query: RunsQuery, scan: int) -> tuple[Any, ...]:
    """Statement and values: the id at which a scan was cut off; no row = it saw all."""
    args = asked.args[: asked.scanned]
    inner = _scan(asked, args, query, scan)
    args.append(scan - 1)
    return f"SELECT r.id FROM ({inner}) r OFFSET ${len(args)}", *args


def counted(asked: Where, scan: int) -> tuple[Any, ...]:
    """Statement and values: how many of the newest `scan` rows there are, and how many match."""
    args = list(asked.args)
    inner = _scan(asked, args, None, scan)
    matched = f"count(*) FILTER (WHERE {asked.rest})" if asked.rest else "count(*)"
    return (
        f"SELECT count(*) AS seen, {matched} AS matched FROM ({inner}) r {_joined(asked)}",
        *args,
    )


_FACETS = {
    "status": "lower(r.state)", "task": "r.task", "queue": "r.queue", "agent": "r.agent",
    "image": "r.version", "tag": "r.tags",
    "error": "split_part(e.said, ': ', 1)",
}  # fmt: skip


def values(asked: Where, by: Sequence[str], n: int, scan: int) -> tuple[Any, ...]:
    """Statement and values: rows of (field, value, runs), the `n` most frequent of each field.

    One row has no field: how many runs were looked at, and how many of them match.
    """
    args = list(asked.args)
    inner = _scan(asked, args, None, scan)
    args.append(n)
    columns = ", ".join(f"{_FACETS[field]} AS f_{field}" for field in by)
    parts: list[str] = []
    for field in by:
        one = f"SELECT f_{field} AS value FROM matched"
        if field == "tag":
            one = "SELECT t AS value FROM matched, LATERAL (SELECT DISTINCT unnest(f_tag) AS t) x"
        parts.append(
            f"(SELECT '{field}', value, count(*) FROM ({one}) x WHERE value <> ''"
            f' GROUP BY value ORDER BY count(*) DESC, value COLLATE "C" LIMIT ${len(args)})'
        )
    rest = f" WHERE {asked.rest}" if asked.rest else ""
    tested = f"SELECT {columns} FROM looked r {_joined(asked, columns)}{rest}"
    seen = "SELECT '', (SELECT count(*) FROM looked)::text, (SELECT count(*) FROM matched)"
    return (
        f"WITH looked AS MATERIALIZED ({inner}),"
        f" matched AS MATERIALIZED ({tested})"
        f" {seen} UNION ALL {' UNION ALL '.join(parts)}",
        *args,
    )


def estimated(asked: Where) -> tuple[Any, ...]:
    """Statement and values: the planner's word on how many rows the indexed terms choose."""
    parts = " UNION ALL ".join(
        f"SELECT FROM runs r WHERE r.ns = $1{_and(part.condition)}" for part in asked.parts
    )
    return f"EXPLAIN (FORMAT JSON) {parts}", *asked.args[: asked.scanned]
