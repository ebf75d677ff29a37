"""The filter line: text to what the engine is asked. Pure.

`filter_of` is the one place that knows the language; the screens show what it says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headway.retry import seconds
from headway.states import RunState
from headway.wire.commands import RunsQuery

if TYPE_CHECKING:
    from datetime import datetime

STATUSES = (*(s.status for s in RunState), "live", "ended", "dead")
KEYS = ("status", "task", "queue", "agent", "tag", "failure", "id", "since", "until")


class BadFilter(ValueError):
    """The filter cannot be understood: `at` is the place of the bad word, from 0."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.at = at


def filter_of(text: str, now: datetime) -> RunsQuery:
    """What to ask the engine for; raises BadFilter with what was expected."""
    query = RunsQuery()
    words: list[str] = []
    place = 0
    for word in text.split(" "):
        at, place = place, place + len(word) + 1
        key, colon, value = word.partition(":")
        if not word:
            continue
        if not colon or (not value and key not in KEYS):
            words.append(word)
            continue
        if key not in KEYS:
            raise BadFilter(f"no field {key!r}: {', '.join(KEYS)}, or a bare word", at)
        if not value:
            raise BadFilter(f"{key}: needs a value", at)
        if key == "status":
            query.status = _statuses(value, at)
        elif key == "task":
            query.task = value
        elif key == "queue":
            query.queue = value
        elif key in {"failure", "agent"}:
            query.query = f"{query.query} {key}:{value}".strip()
        elif key == "tag":
            query.tags = (*query.tags, value)
        elif key == "id":
            query.ids = tuple(v.upper() for v in value.split(",") if v)
        else:
            moment = now - timedelta(seconds=_ago(key, value, at))
            if key == "since":
                query.since = moment
            else:
                query.until = moment
    query.text = " ".join(words)
    return query


def _statuses(value: str, at: int) -> tuple[str, ...]:
    found = tuple(v.lower() for v in value.split(",") if v)
    for one in found:
        if one not in STATUSES:
            raise BadFilter(f"no status {one!r}: {', '.join(STATUSES)}", at)
    return found


def _ago(key: str, value: str, at: int) -> float:
    try:
        return seconds(value)
    except Exception:
        raise BadFilter(f'{key}: a time span such as "30m" or "2h"', at) from None
