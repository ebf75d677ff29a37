"""One line of a run's output: its level, its shape, its text as it is shown, and searches. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from headway.query.finding import finder
from headway.query.regex import BadRegex
from headway.texts import plural
from headway_tui.model.texts import LINE_LIMIT, safe

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from headway.wire.events import Event
    from headway.wire.runs import RunDetail

LEVELS = "DIWE"
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b")
_LETTERS = {"D": "D", "I": "I", "W": "W", "E": "E", "C": "E", "F": "E"}
_VARIES = re.compile(r"'[^']{0,200}'|\"[^\"]{0,200}\"|\b(?=\w*\d)\w+(?:[-.:/]\w+)*")
_SHAPE = 400
"""Characters of a line that its shape is made of."""


class Line(NamedTuple):
    """One line. `level`: D I W E; `-` = a rule between attempts, `!` = lines are missing."""

    at: datetime
    level: str
    epoch: int
    text: str


def level_of(text: str, stream: str) -> str:
    """The level that a line names in its beginning; else W for stderr, I for the rest."""
    found = _LEVEL.search(text, 0, 80)
    if found is not None:
        return _LETTERS[found[1][0]]
    return "W" if stream == "err" else "I"


def rule_of(started: Event, number: int) -> str:
    """What the rule above an attempt's lines says."""
    words = f"attempt {number or started.epoch}"
    words += f" ({started.epoch})" if number and number != started.epoch else ""
    resumed = started.data.get("resumed_from")
    return words + (f", resumed from ◆{resumed}" if isinstance(resumed, int) and resumed else "")


def shape(text: str) -> str:
    """What lines that differ by numbers, ids and quoted texts alone have in common."""
    return _VARIES.sub("…", text[:_SHAPE])


def matcher(text: str) -> Callable[[str], bool]:
    """A search: `/re/` is a regular expression, anything else a part of the text, any case.

    The expressions are those of queries, and none takes long, whatever a line holds. Raises
    ValueError with what is wrong with the expression.
    """
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        try:
            return finder(text[1:-1])
        except BadRegex as e:
            raise ValueError(f"the expression is wrong at {e.at + 1}: {e.what}") from None
    low = text.lower()
    return lambda line: low in line.lower()


def shown(line: Line) -> str:
    """A line's text, safe and cut."""
    return safe(line.text, LINE_LIMIT)


def none_yet(detail: RunDetail | None, written: int) -> str:
    """Why a run has no output; `written`: the number of its last line, as its end told it."""
    if detail is None:
        return ""
    row = detail.row
    if row.ended_at is not None:
        if written:
            return f"removed by the retention of LOGS: it had written {plural(written, 'line')}"
        return "it wrote nothing" if row.started_at is not None else "it never ran"
    return f"no output yet: {safe(detail.why or row.status, 200)}"
