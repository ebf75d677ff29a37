"""How Postgres writes the conditions of a query (`store/filtering.py`)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from headway.query.machine import LOOKS
from headway.query.regex import folded as in_any_case
from headway.query.regex import postgres, read
from headway.states import OPEN, RunState
from headway_engine.store.filtering import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.query.tree import Pattern

_TYPES: dict[type, str] = {str: "text", list: "text[]", int: "bigint", datetime: "timestamptz"}


_ERROR = "e.said"
_COLUMNS = {
    "task": "r.task", "queue": "r.queue", "reason": "r.reason",
    "failure": "r.failure", "agent": "r.agent",
    "image": "r.version", "key": "r.key", "site": "r.site", "id": "r.id", "parent": "r.parent",
    "origin": "r.origin", "job": "j.job", "ckpt": "coalesce(c.name, '')", "error": _ERROR,
}  # fmt: skip
JOINS = {
    _ERROR: """LEFT JOIN LATERAL (
        SELECT t.said FROM results s, LATERAL hw_error_said(s.error) t
         WHERE s.run = r.id AND r.ended_at IS NOT NULL AND r.state <> 'SUCCEEDED'
           AND s.error IS NOT NULL OFFSET 0) e ON true""",
    "c.name": """LEFT JOIN LATERAL (
        SELECT x.name FROM checkpoints x WHERE x.run = r.id AND x.number = r.ck AND r.ck > 0
        OFFSET 0) c ON true""",
}
"""What a column of another table takes: row by row, since a wrong guess reads all of it."""
_LISTED = frozenset(RunState) - OPEN - {RunState.QUEUED, RunState.SUCCEEDED}
"""States of the index runs_listed."""
_QUEUED = (
    "r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key = ''",
    "r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key <> ''",
    "r.state = 'QUEUED' AND r.dispatch IS NOT NULL",
)


class Postgres:
    """See Dialect."""

    def column(self, field: str) -> str:
        """Of `runs`, but for two."""
        return _COLUMNS[field]

    def searched(self) -> Sequence[str]:
        """Id, task, reason and error."""
        return ("r.id", "r.task", "r.reason", _ERROR)

    def parameter(self, number: int, value: Any) -> str:
        """With its type: Postgres need not guess it."""
        return f"${number}::{_TYPES[type(value)]}"

    def states(self, states: frozenset[RunState], put: Callable[[Any], str]) -> list[Part]:
        """A part for each index that has some of the states; runs_listed is in order by state.

        SUCCEEDED has none: of such runs there are always some at hand.
        """
        if states == frozenset(RunState):
            return [Part("", "among")]
        if RunState.SUCCEEDED in states:
            return [Part(f"r.state = ANY({put(sorted(s.value for s in states))})", "among")]
        found = [Part(f"r.state = {put(s.value)}", "alone") for s in sorted(states & _LISTED)]
        if states & OPEN:
            among = put(sorted(s.value for s in states & OPEN))
            found.append(Part(f"r.state = ANY({among})", "none"))
        if RunState.QUEUED in states:
            found += [Part(condition, "none") for condition in _QUEUED]
        return found

    def used(self, field: str) -> str:
        """Rows of one run stand together in the index."""
        what = "sum(cost_usd) * 1e6" if field == "cost" else "sum(tokens_in + tokens_out)"
        return f"(SELECT coalesce(round(({what})::float8), 0) FROM usage u WHERE u.run = r.id)"

    def among(self, column: str, values: str) -> str:
        """An array."""
        return f"{column} = ANY({values})"

    def tagged(self, condition: str) -> str:
        """A row for each tag."""
        return f"EXISTS (SELECT FROM unnest(r.tags) AS t(tag) WHERE {condition})"

    def lower(self, text: str) -> str:
        """The collation C knows no letters but those of ASCII."""
        return f'lower({text} COLLATE "C")'

    def pattern(self, pattern: Pattern) -> str:
        """With the usual escape."""
        return "%".join(
            p.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for p in pattern.parts
        )

    def meets(self, text: str, asked: str, pattern: Pattern) -> str:
        """LIKE tells cases apart."""
        return f"{text} LIKE {asked}"

    def of_jobs(self, condition: str, *, few: bool) -> str:
        """$1 is the namespace. An array is read by the index of ids, a set is hashed."""
        made = (
            "SELECT i.fork FROM jobs j JOIN job_items i ON i.ns = j.ns AND i.job = j.job"
            f" WHERE j.ns = $1 AND i.fork <> i.run AND ({condition})"
        )
        return f"r.id = ANY(ARRAY({made}))" if few else f"r.id IN ({made})"

    def expression(self, source: str, *, fold: bool) -> str:
        """In the words of Postgres."""
        node = read(source)
        return postgres(in_any_case(node) if fold else node)

    def fits(self, text: str, expression: str) -> str:
        """Its machine does not backtrack either: there are no references back in it."""
        return f'left({text}, {LOOKS}) COLLATE "C" ~ {expression}'

    def span_ms(self, now: str) -> str:
        """EXTRACT gives an exact numeric."""
        return f"floor(extract(epoch FROM coalesce(r.ended_at, {now}) - r.started_at) * 1000)"
