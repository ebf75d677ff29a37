"""How SQLite writes the conditions of a query (`store/filtering.py`).

Patterns are met by the very functions of the reference: SQLite's own LIKE and GLOB take exponential
time for some of them.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from headway.query.evaluate import folded, glob, said
from headway.query.machine import compiled
from headway.states import RunState
from headway.wire import ErrorInfo, decoder, encode
from headway_engine.store.edge.times import us
from headway_engine.store.filtering import Part

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from headway.query.tree import Pattern

_ERROR = "hw_said(b.error)"
_COLUMNS = {
    "task": "r.task", "queue": "r.queue", "reason": "r.reason",
    "failure": "r.failure", "agent": "r.agent",
    "image": "r.version", "key": "r.key", "site": "''", "id": "r.id", "parent": "r.parent",
    "origin": "r.origin", "job": "f.job", "ckpt": "coalesce(c.name, '')", "error": _ERROR,
}  # fmt: skip
JOINS = {
    "b.error": "LEFT JOIN bodies b ON b.run = r.id AND b.ended AND r.ended_at IS NOT NULL",
    "k.job": "LEFT JOIN forks k ON k.run = r.id",
    "c.name": "LEFT JOIN checkpoints c ON c.run = r.id AND c.number = r.ck AND r.ck > 0",
}
"""What a column of another table takes."""
_FAR = 4_000_000_000_000
"""Milliseconds that make any span a positive one: SQLite divides towards zero."""
_error = decoder(ErrorInfo)
_parts = msgspec.json.Decoder(tuple[str, ...])


class SQLite:
    """See `filtering.Dialect`."""

    def column(self, field: str) -> str:
        """Of `runs`, but for two."""
        return _COLUMNS[field]

    def searched(self) -> Sequence[str]:
        """Id, task, reason and error."""
        return ("r.id", "r.task", "r.reason", _ERROR)

    def parameter(self, number: int, value: Any) -> str:
        """By its number."""
        return f"?{number}"

    def states(self, states: frozenset[RunState], put: Callable[[Any], str]) -> list[Part]:
        """A part for each state: the index has all of them, each in the order of ids."""
        if states == frozenset(RunState):
            return [Part("r.state IS NOT NULL", "among")]
        return [Part(f"r.state = {put(s.value)}", "alone") for s in sorted(states)]

    def used(self, field: str) -> str:
        """Rows of one run stand together."""
        what = "round(sum(cost_usd) * 1e6)" if field == "cost" else "sum(tokens_in + tokens_out)"
        return f"(SELECT coalesce({what}, 0) FROM usage u WHERE u.run = r.id)"

    def among(self, column: str, values: str) -> str:
        """A JSON array."""
        return f"{column} IN (SELECT value FROM json_each({values}))"

    def tagged(self, condition: str) -> str:
        """A row for each tag."""
        return (
            f"EXISTS (SELECT 1 FROM (SELECT value AS tag FROM json_each(r.tags)) WHERE {condition})"
        )

    def lower(self, text: str) -> str:
        """See `teach`."""
        return f"lower({text})"

    def pattern(self, pattern: Pattern) -> str:
        """A part of a text as it is, any other pattern's parts as JSON."""
        return pattern.parts[1] if _is_part(pattern) else encode(pattern.parts).decode()

    def meets(self, text: str, asked: str, pattern: Pattern) -> str:
        """By the reference's own function, but for what SQLite does in the same time."""
        if _is_part(pattern):
            return f"instr({text}, {asked}) > 0"
        return f"hw_glob({asked}, {text})"

    def of_jobs(self, condition: str, *, few: bool) -> str:
        """?1 is the namespace."""
        return f"r.id IN (SELECT f.run FROM forks f WHERE f.ns = ?1 AND ({condition}))"

    def expression(self, source: str, *, fold: bool) -> str:
        """As it was written, after what is done about cases."""
        return f"{'i' if fold else 'c'}{source}"

    def fits(self, text: str, expression: str) -> str:
        """By the reference's own machine."""
        return f"hw_fits({expression}, {text})"

    def span_ms(self, now: str) -> str:
        """Times are whole microseconds."""
        span = f"coalesce(r.ended_at, {now}) - r.started_at"
        return f"(({span} + {_FAR * 1000}) / 1000 - {_FAR})"


def values(args: Iterable[Any]) -> list[Any]:
    """Parameters as SQLite keeps them: times as numbers, lists as JSON."""
    return [_value(arg) for arg in args]


def _value(arg: Any) -> Any:
    match arg:
        case datetime():
            return us(arg)
        case list():
            return encode(arg).decode()  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return arg


def _is_part(pattern: Pattern) -> bool:
    """It stands for what has this text somewhere."""
    parts = pattern.parts
    return len(parts) == 3 and parts[0] == parts[2] == ""


@lru_cache(maxsize=512)
def _decoded(parts: str) -> tuple[str, ...]:
    return _parts.decode(parts)


def _glob(parts: str, text: str | None) -> bool | None:
    return None if text is None else glob(_decoded(parts), text)


def _fits(expression: str, text: str | None) -> bool | None:
    if text is None:
        return None
    return compiled(expression[1:], fold=expression[0] == "i").search(text)


def _said(error: str | None) -> str | None:
    return None if error is None else said(_error.decode(error))


def _folded(text: str | None) -> str | None:
    return None if text is None else folded(text)


def teach(db: sqlite3.Connection) -> None:
    """Give a connection the functions that conditions call."""
    db.create_function("hw_glob", 2, _glob, deterministic=True)
    db.create_function("hw_fits", 2, _fits, deterministic=True)
    db.create_function("hw_said", 1, _said, deterministic=True)
    ((lowered,),) = db.execute("SELECT lower('AÉ')")
    if lowered != "aÉ":  # built with the letters of all languages
        db.create_function("lower", 1, _folded, deterministic=True)
