"""Does a run match? The reference for what the SQL of the same tree must answer."""

from __future__ import annotations

import operator
import string
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from headway.query.fields import STATUS_WORDS
from headway.query.machine import compiled
from headway.query.tree import (
    Ago,
    Amount,
    Clock,
    Duration,
    Moment,
    Number,
    Pattern,
    Prefix,
    Query,
    Regex,
    Status,
    Term,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.query.tree import Compare, Value
    from headway.wire import ErrorInfo
    from headway.wire.runs import RunRow

COMPARE: dict[Compare, Callable[[int, int], bool]] = {
    "=": operator.eq, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def folded(text: str) -> str:
    """ASCII letters in lower case, others as they are: what every store can do alike."""
    return text.translate(_LOWER)


def moment(value: Value, now: datetime) -> datetime:
    """The point in time that a value of kind TIME stands for."""
    match value:
        case Ago(ms):
            return now - timedelta(milliseconds=ms)
        case Clock(at):
            today = datetime.combine(now.date(), at, now.tzinfo)
            return today if today <= now else today - timedelta(days=1)
        case Moment(at):
            return at
        case _:
            raise TypeError(f"no time: {value!r}")


def resolved(query: Query, now: datetime) -> Query:
    """The same query with all times fixed, so that every page of it means the same runs.

    `now` is in UTC, on the clock of the store.
    """
    return Query(
        tuple(
            Term(t.field, tuple(Moment(moment(v, now)) for v in t.values), t.negated, t.column)
            if t.field in ("since", "until")
            else t
            for t in query.terms
        )
    )


def matches(query: Query, row: RunRow, now: datetime) -> bool:
    """True if the run is meant. `now` is in UTC: the request's time, for relative ones."""
    return all(_holds(term, row, now) for term in query.terms)


def _holds(term: Term, row: RunRow, now: datetime) -> bool:
    return any(_one(term.field, value, row, now) for value in term.values) is not term.negated


def _one(field: str, value: Value, row: RunRow, now: datetime) -> bool:
    match value:
        case Status("dead"):
            return row.failure != "" and not row.acked
        case Status(word):
            return any(s.status == row.status for s in STATUS_WORDS.get(word, ()))
        case Number(op, number):
            return COMPARE[op](_NUMBERS[field](row), number)
        case Amount(op, micros):
            return COMPARE[op](round(row.cost_usd * 1_000_000), micros)
        case Duration(op, ms):
            span = duration_ms(row, now)
            return span is not None and COMPARE[op](span, ms)
        case Prefix(text):
            return _TEXTS[field](row)[0].startswith(text)
        case Regex(source):
            fold = field in ("", "error")
            machine = compiled(source, fold=fold)
            texts = _TEXTS[field](row)
            return any(machine.search(folded(text) if fold else text) for text in texts)
        case Pattern(parts):
            if field in ("", "error"):
                inside = ("", *map(folded, parts), "")
                return any(glob(inside, folded(text)) for text in _TEXTS[field](row))
            return any(glob(parts, text) for text in _TEXTS[field](row))
        case _:
            at = moment(value, now)
            return row.created_at >= at if field == "since" else row.created_at < at


def duration_ms(row: RunRow, now: datetime) -> int | None:
    """Whole milliseconds from the first start to the end, or until now; None if never started."""
    if row.started_at is None:
        return None
    return ((row.ended_at or now) - row.started_at) // timedelta(milliseconds=1)


def error_text(row: RunRow) -> str:
    """What `error:` looks at; no store keeps NUL in a text."""
    return "" if row.error is None else said(row.error)


def said(error: ErrorInfo) -> str:
    """What an error says in one text."""
    return f"{error.type}: {error.message}".replace("\x00", "")


def glob(parts: tuple[str, ...], text: str) -> bool:
    """True if the parts follow each other in the text and touch both ends; takes linear time."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _searched(row: RunRow) -> tuple[str, ...]:
    return (row.run, row.task, row.reason, error_text(row), *row.tags)


_NUMBERS: dict[str, Callable[[RunRow], int]] = {
    "attempts": lambda r: r.attempt,
    "priority": lambda r: r.priority,
    "tokens": lambda r: r.tokens_in + r.tokens_out,
}
_TEXTS: dict[str, Callable[[RunRow], tuple[str, ...]]] = {
    "task": lambda r: (r.task,),
    "queue": lambda r: (r.queue,),
    "tag": lambda r: r.tags,
    "error": lambda r: (error_text(r),) if r.error is not None else (),
    "failure": lambda r: (r.failure,),
    "reason": lambda r: (r.reason,),
    "ckpt": lambda r: (r.checkpoint_name,),
    "agent": lambda r: (r.agent,),
    "image": lambda r: (r.version,),
    "key": lambda r: (r.key,),
    "site": lambda r: (r.site,),
    "id": lambda r: (r.run,),
    "parent": lambda r: (r.parent,),
    "origin": lambda r: (r.origin,),
    "job": lambda r: (r.job,) if r.job else (),
    "": _searched,
}
