"""A run's output as numbered lines: capacity, doubles, gaps, search. Pure.

Lines are kept as tuples of plain values; style is made when a line is painted. A line's absolute
number stays the same when older ones are dropped.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from headway_tui.model.texts import LINE_LIMIT, safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.events import LogChunk

CAPACITY = 100_000
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b")
_LETTERS = {"D": "D", "I": "I", "W": "W", "E": "E", "C": "E", "F": "E"}
LEVELS = "DIWE"


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


class LogStore:
    """Lines in the order in which they came, attempt by attempt."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.lines: list[Line] = []
        self.base = 0
        """Absolute number of the first line that is kept."""
        self.received = 0
        self.missing = 0
        self._next: dict[int, int] = {}
        self._epoch = 0

    @property
    def end(self) -> int:
        """Absolute number after the last line."""
        return self.base + len(self.lines)

    def add(self, epoch: int, chunk: LogChunk) -> int:
        """Take a chunk; how many lines were new. Lines that are known by number are left out."""
        expected = self._next.get(epoch, 1)
        skip = max(0, expected - chunk.first)
        if skip and skip >= len(chunk.lines):
            return 0
        if epoch != self._epoch:
            if self._epoch:
                self.lines.append(Line(chunk.at, "-", epoch, f"attempt {epoch}"))
            self._epoch = epoch
        gap = chunk.first - expected
        if gap > 0:
            self.missing += gap
            why = ", too much output" if chunk.dropped else ""
            words = f"{gap:,} line{'s are' if gap > 1 else ' is'} missing{why}"
            self.lines.append(Line(chunk.at, "!", epoch, words))
        new = chunk.lines[skip:] if skip else chunk.lines
        at, stream = chunk.at, chunk.stream
        self.lines += [Line(at, level_of(t, stream), epoch, t) for t in new]
        self._next[epoch] = chunk.first + len(chunk.lines)
        self.received += len(new)
        self._trim()
        return len(new)

    def _trim(self) -> None:
        # The head goes in one slice, and only when a tenth too much is there.
        over = len(self.lines) - self.capacity
        if over > self.capacity // 10:
            del self.lines[:over]
            self.base += over

    def line(self, number: int) -> Line | None:
        """The line with an absolute number; None for one that is gone or not there yet."""
        index = number - self.base
        return self.lines[index] if 0 <= index < len(self.lines) else None

    def clear(self) -> None:
        """Drop what is shown; numbers go on, and what is known stays known."""
        self.base = self.end
        self.lines.clear()

    def find(self, test: Callable[[str], bool], start: int, step: int) -> int | None:
        """The next line from `start` on whose text passes, forwards (+1) or backwards (-1)."""
        index = start - self.base
        last = len(self.lines) if step > 0 else -1
        for i in range(max(0, min(index, len(self.lines) - 1)), last, step):
            if test(self.lines[i].text):
                return i + self.base
        return None

    def near(self, at: datetime) -> int:
        """The absolute number of the first line at or after a time."""
        low, high = 0, len(self.lines)
        while low < high:
            middle = (low + high) // 2
            if self.lines[middle].at < at:
                low = middle + 1
            else:
                high = middle
        return self.base + low

    def minute(self, number: int, step: int) -> int:
        """The line about a minute after or before another one."""
        line = self.line(number)
        if line is None:
            return number
        return min(self.end - 1, self.near(line.at + timedelta(minutes=step)))


def matcher(text: str) -> Callable[[str], bool]:
    """A search: `/re/` is a regular expression, anything else a part of the text, any case.

    Raises ValueError with what is wrong with the expression.
    """
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        try:
            found = re.compile(text[1:-1], re.IGNORECASE)
        except re.error as e:
            where = "" if e.pos is None else f" at {e.pos + 1}"
            raise ValueError(f"the expression is wrong{where}: {e.msg}") from None
        return lambda line: found.search(line) is not None
    low = text.lower()
    return lambda line: low in line.lower()


def shown(line: Line) -> str:
    """A line's text, safe and cut."""
    return safe(line.text, LINE_LIMIT)
