"""From the query text of a script to what the verb `runs` takes.

The one place that knows which part of the query language is understood: fields that are not are
refused by name, never ignored.
"""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta
from typing import NamedTuple

from headway.errors import HeadwayError
from headway.retry import seconds
from headway.states import RunState
from headway.wire.commands import RunRow, RunsQuery

DEAD = ("failed", "timed_out", "expired")
"""What `status:dead` means: it ended badly, and nobody wanted that."""
FIELDS = "status, task, queue, tag, id, error, since, until"


class BadQuery(HeadwayError):
    """The query cannot be read."""

    code = "bad_request"


class Wanted(NamedTuple):
    """A query for the engine, and what is looked at here."""

    query: RunsQuery
    error: str = ""
    """In the error's type or message."""

    def fits(self, row: RunRow) -> bool:
        """True if the row is meant, of those that the engine gave."""
        if not self.error:
            return True
        error = row.error
        return error is not None and self.error.lower() in f"{error.type} {error.message}".lower()


def translate(text: str, now: datetime) -> Wanted:
    """The query; raises BadQuery with the word that is not understood and what is expected."""
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise BadQuery(f"query {text!r}: {e}") from None
    query = RunsQuery(n=1000)
    error = ""
    for word in words:
        field, colon, value = word.partition(":")
        if not colon or not value:
            raise BadQuery(f"query: {word!r}: expected FIELD:VALUE; the fields are {FIELDS}")
        match field:
            case "status":
                query.status = tuple(s for v in value.split(",") for s in _status(v))
            case "task":
                query.task = value
            case "queue":
                query.queue = value
            case "tag":
                query.tags = (*query.tags, value)
            case "id":
                query.ids = (*query.ids, *value.upper().split(","))
            case "error":
                query.text = error = value
            case "since":
                query.since = _time(value, now)
            case "until":
                query.until = _time(value, now)
            case _:
                raise BadQuery(f"query: field {field!r} is not known here; there are {FIELDS}")
    return Wanted(query, error)


def _status(word: str) -> tuple[str, ...]:
    if word == "dead":
        return DEAD
    known = {s.status for s in RunState} | {"live", "ended"}
    if word not in known:
        raise BadQuery(f"query: status {word!r}: expected dead, {', '.join(sorted(known))}")
    return (word,)


def _time(text: str, now: datetime) -> datetime:
    try:
        return now - timedelta(seconds=seconds(text, "since"))
    except HeadwayError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise BadQuery(f'query: {text!r}: expected a length of time as "2h", or an RFC 3339 time')
    return found
