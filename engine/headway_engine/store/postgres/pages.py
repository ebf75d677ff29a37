"""Pages of the list of runs, for any query (`headway.query`), each with a bounded amount of work.

The terms that have an index choose rows in the order of ids; of these a request looks at `SCAN` at
most, and the other terms are tested on them one by one. What is left then is another request: the
page says where it goes on. So no query, however rare what it looks for, reads the whole table at
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headway.query.asked import query_of
from headway.query.evaluate import resolved
from headway.wire.commands import RunRow, RunsPage, RunsQuery
from headway_engine.store.filtering import Where, where
from headway_engine.store.listing import attempt_of
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.dialect import Postgres

if TYPE_CHECKING:
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
        )


_RESULTS = "LEFT JOIN results s ON s.run = r.id AND r.ended_at IS NOT NULL"
_CHECKPOINTS = "LEFT JOIN checkpoints c ON c.run = r.id AND c.number = r.ck AND r.ck > 0"


def _scan(asked: Where, args: list[Any], query: RunsQuery | None, limit: int, what: str) -> str:
    """The rows to look at, in order."""
    order = "ASC" if query is not None and query.sort == "oldest" else "DESC"
    conditions = "r.ns = $1"
    if asked.scan:
        conditions += f" AND {asked.scan}"
    if query is not None and query.after:
        args.append(query.after)
        conditions += f" AND r.id {'>' if order == 'ASC' else '<'} ${len(args)}"
    args.append(limit)
    return f"SELECT {what} FROM runs r WHERE {conditions} ORDER BY r.id {order} LIMIT ${len(args)}"


def _tested(asked: Where, scan: str, what: str) -> str:
    """Of the rows of a scan those that meet the other terms; joined is only what they ask for."""
    joins = " ".join(
        join
        for column, join in (("s.error", _RESULTS), ("c.name", _CHECKPOINTS))
        if column in asked.rest
    )
    rest = f" WHERE {asked.rest}" if asked.rest else ""
    return f"SELECT {what} FROM ({scan}) r {joins}{rest}"


def page(asked: Where, query: RunsQuery, n: int, scan: int) -> tuple[Any, ...]:
    """Statement and values: the first `n` rows that match among the next `scan`."""
    args = list(asked.args)
    inner = _tested(asked, _scan(asked, args, query, scan, "*"), "r.*")
    args.append(n)
    order = "ASC" if query.sort == "oldest" else "DESC"
    return (
        "SELECT r.id, r.task, r.state, r.queue, r.created_at, r.version, r.epoch, r.n, r.failures,"
        " r.ck, c.name AS ck_name, r.agent, r.priority, r.tags, r.due_at, r.started_at, r.ended_at,"
        " r.reason, s.error, r.parent, r.origin, r.key"
        f" FROM ({inner} ORDER BY r.id {order} LIMIT ${len(args)}) r {_CHECKPOINTS} {_RESULTS}"
        f" ORDER BY r.id {order}",
        *args,
    )


def ids(asked: Where, query: RunsQuery, n: int, scan: int) -> tuple[Any, ...]:
    """Statement and values: as `page`, but the ids and states alone."""
    args = list(asked.args)
    inner = _tested(asked, _scan(asked, args, query, scan, "*"), "r.id, r.state")
    args.append(n)
    return f"{inner} ORDER BY r.id DESC LIMIT ${len(args)}", *args


def last_seen(asked: Where, query: RunsQuery, scan: int) -> tuple[Any, ...]:
    """Statement and values: the id at which a scan was cut off; no row = it saw all."""
    args = asked.args[: asked.scanned]
    inner = _scan(asked, args, query, scan, "r.id")
    args.append(scan - 1)
    return f"SELECT id FROM ({inner}) x OFFSET ${len(args)}", *args


def counted(asked: Where, scan: int) -> tuple[Any, ...]:
    """Statement and values: how many of the newest `scan` rows there are, and how many match."""
    args = list(asked.args)
    inner = _scan(asked, args, None, scan, "*")
    seen = f"SELECT count(*) FROM ({inner}) x"
    return f"SELECT ({seen}) AS seen, ({_tested(asked, inner, 'count(*)')}) AS matched", *args


def estimated(asked: Where) -> tuple[Any, ...]:
    """Statement and values: the planner's word on how many rows the indexed terms choose."""
    conditions = f" AND {asked.scan}" if asked.scan else ""
    return (
        f"EXPLAIN (FORMAT JSON) SELECT FROM runs r WHERE r.ns = $1{conditions}",
        *asked.args[: asked.scanned],
    )
