"""A run's output as numbered lines: a window on what is stored, doubles, gaps, search. Pure.

Lines are kept as tuples of plain values; style is made when a line is painted. A line's absolute
number stays the same while others come and go at both ends; whole chunks come and go, so that the
sequences in the stream of both ends are known and the rest can be read from there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from headway.lines import missing_words
from headway.wire.events import LogChunk
from headway_tui.model.loglines import Line, level_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

CAPACITY = 100_000
_LOOKS = 64
"""Lines after which it is asked whether it is late."""


class Part(NamedTuple):
    """A chunk as it comes from the stream; `seq` 0 = not known."""

    epoch: int
    chunk: LogChunk
    seq: int = 0


class _Mark(NamedTuple):
    """A chunk that is kept."""

    seq: int
    epoch: int
    expected: int
    """The line that should have come first: what lies between was missing."""
    rows: int
    """Lines in the window: a rule and a gap before it are counted with it."""
    bare: bool
    """Nothing was known of what stands above it."""


class LogStore:
    """Lines in the order in which they came, attempt by attempt."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.lines: list[Line] = []
        self.errors: list[int] = []
        """Absolute numbers of the lines with level E."""
        self.base = 0
        """Absolute number of the first line that is kept; below 0 where older ones were added."""
        self.received = 0
        """Lines that were seen, kept or not."""
        self.missing = 0
        self.older = False
        """There is more in the stream above what is kept."""
        self.newer = False
        """The window does not reach the end: what comes live is counted only."""
        self.life = 0
        """Another number: the window was moved elsewhere, absolute numbers mean other lines."""
        self._marks: deque[_Mark] = deque()
        self._next: dict[int, int] = {}
        self._known: dict[int, list[tuple[int, int]]] = {}
        """By epoch: stretches of lines that are counted in `received` or `missing` already."""
        self._epoch = 0
        self._above = self._below = 0
        """Sequences of the ends, where chunks that were read there held known lines alone."""
        self.left_out = 0
        """The highest sequence that came, or was kept, and is not in the window."""

    @property
    def end(self) -> int:
        """Absolute number after the last line."""
        return self.base + len(self.lines)

    @property
    def room(self) -> int:
        """How many lines may come before others have to go."""
        return self.capacity - len(self.lines)

    @property
    def first_seq(self) -> int:
        """Sequence above which older ones are to be read; 0 = none, or not known."""
        return self._above or (self._marks[0].seq if self._marks else 0)

    @property
    def last_seq(self) -> int:
        """Sequence below which newer ones are to be read; 0 = none, or not known."""
        return max(self._below, self._marks[-1].seq if self._marks else 0)

    def lines_known(self) -> dict[int, int]:
        """By attempt: the number of the last line that was seen."""
        return {epoch: known[-1][1] - 1 for epoch, known in self._known.items()}

    # --- what comes

    def add(self, epoch: int, chunk: LogChunk, seq: int = 0) -> int:
        """Take a chunk that came live; how many lines were new.

        Lines that are known by number are left out. Where the window does not reach the end, they
        are counted and read from the stream when the reader goes there.
        """
        had = self.received
        if self.newer:
            self.left_out = max(self.left_out, seq)
            known = self._known.get(epoch)
            self._count(epoch, chunk, known[-1][1] if known else 1)
            return self.received - had
        self._append(Part(epoch, chunk, seq))
        self._below = max(self._below, seq)
        self._trim_head()
        return self.received - had

    def load(self, parts: Sequence[Part], *, older: bool, newer: bool) -> None:
        """Fill an empty window; whether there is more above and below it in the stream."""
        self.older = older
        for part in parts:
            self._append(part)
            self._below = part.seq
        self.newer = newer
        if newer:
            self._trim_tail()
        else:
            self._trim_head()

    def extend(self, parts: Sequence[Part], *, newer: bool) -> None:
        """Chunks that follow the window in the stream; `newer`: others come after them."""
        for part in parts:
            if part.seq > self.last_seq:
                self._append(part)
                self._below = part.seq
        self._trim_head()
        self.newer = newer

    def prepend(self, parts: Sequence[Part], *, older: bool) -> None:
        """Chunks that stand right above the window, oldest first; `older`: others above them.

        What is too much then goes at the end.
        """
        if not self._marks:
            self.load(parts, older=older, newer=self.newer)
            return
        new = self._unknown([p for p in parts if p.seq < self.first_seq])
        above = LogStore(self.capacity)
        above.older, above._known = older, self._known
        for part in new:
            above._append(part)
        self.received += above.received
        self.missing += above.missing
        if self._marks[0].bare and (new or not older):
            self._join(above)
        rows = len(above.lines)
        self.base -= rows
        self.errors[:0] = [n + self.base for n in above.errors]
        self.lines[:0] = above.lines
        self._marks.extendleft(reversed(above._marks))
        self._above = parts[0].seq if parts else self._above
        self.older = older
        self._trim_tail()

    def _unknown(self, parts: Sequence[Part]) -> list[Part]:
        """Of older chunks the lines that are not in the window: agents may send some again."""
        low: dict[int, int] = {}
        for mark in self._marks:
            low.setdefault(mark.epoch, mark.expected)
        new: list[Part] = []
        for part in parts:
            chunk, first = part.chunk, low.get(part.epoch)
            if first is not None and chunk.first + len(chunk.lines) > first:
                chunk = replace(chunk, lines=chunk.lines[: max(0, first - chunk.first)])
            if chunk.lines:
                new.append(part._replace(chunk=chunk))
        return new

    def _append(self, part: Part) -> None:
        """Put a chunk at the end, with a rule and a gap before it where they belong."""
        epoch, chunk = part.epoch, part.chunk
        bare = not self._marks and self.older
        expected = self._next.get(epoch, chunk.first if bare else 1)
        skip = max(0, expected - chunk.first)
        if skip and skip >= len(chunk.lines):
            return
        had = len(self.lines)
        if epoch != self._epoch:
            if self._epoch:
                self.lines.append(Line(chunk.at, "-", epoch, f"attempt {epoch}"))
            self._epoch = epoch
        if chunk.first > expected:
            self.lines.append(_gap(chunk.first - expected, chunk, epoch))
        self._count(epoch, chunk, expected)
        new = chunk.lines[skip:] if skip else chunk.lines
        at, stream, number = chunk.at, chunk.stream, self.end
        made = [Line(at, level_of(t, stream), epoch, t) for t in new]
        self.lines += made
        self.errors += [number + i for i, line in enumerate(made) if line.level == "E"]
        self._next[epoch] = chunk.first + len(chunk.lines)
        rows = len(self.lines) - had
        self._marks.append(_Mark(part.seq, epoch, expected, rows, bare))

    def _count(self, epoch: int, chunk: LogChunk, expected: int) -> None:
        """Count its lines, and those missing before it, unless that was done already."""
        first, after = chunk.first, chunk.first + len(chunk.lines)
        self.missing += self._new(epoch, expected, first)
        self.received += self._new(epoch, first, after)

    def _new(self, epoch: int, first: int, after: int) -> int:
        """How many of these lines are not counted yet; then they are."""
        if first >= after:
            return 0
        known = self._known.get(epoch, [])
        new = after - first
        apart: list[tuple[int, int]] = []
        low, high = first, after
        for a, b in known:
            if b < first or a > after:
                apart.append((a, b))
            else:
                new -= max(0, min(b, after) - max(a, first))
                low, high = min(low, a), max(high, b)
        self._known[epoch] = sorted([*apart, (low, high)])
        return new

    def _join(self, above: LogStore) -> None:
        """What lies between older chunks and the window, now that both are known."""
        mark, at = self._marks[0], self.lines[0].at
        extra: list[Line] = []
        if above._epoch not in {0, mark.epoch}:
            extra.append(Line(at, "-", mark.epoch, f"attempt {mark.epoch}"))
        expected = above._next.get(mark.epoch, 1)
        gap = mark.expected - expected
        if gap > 0:
            self.missing += self._new(mark.epoch, expected, mark.expected)
            extra.append(_gap(gap, LogChunk(mark.expected, [], at), mark.epoch))
        self.lines[:0] = extra
        self.base -= len(extra)
        self._marks[0] = mark._replace(bare=False, rows=mark.rows + len(extra))

    # --- what goes

    def _trim_head(self) -> None:
        # The head goes in one slice, and only when a tenth too much is there.
        if len(self.lines) <= self.capacity + self.capacity // 10:
            return
        over = 0
        while len(self._marks) > 1 and len(self.lines) - over - self._marks[0].rows >= (
            self.capacity
        ):
            over += self._marks.popleft().rows
        del self.lines[:over]
        self.base += over
        self._above = 0 if over else self._above
        del self.errors[: bisect_left(self.errors, self.base)]
        self.older = self.older or bool(over and self.first_seq)

    def _trim_tail(self) -> None:
        over = 0
        while len(self._marks) > 1 and len(self.lines) - over - self._marks[-1].rows >= (
            self.capacity
        ):
            gone = self._marks.pop()
            over += gone.rows
            self._next[gone.epoch] = gone.expected
            self.left_out = max(self.left_out, gone.seq)
        if over:
            del self.lines[-over:]
            del self.errors[bisect_left(self.errors, self.end) :]
            self.newer, self._epoch, self._below = True, self._marks[-1].epoch, 0

    def clear(self) -> None:
        """Drop what is shown; numbers go on, and what is known stays known."""
        self.base = self.end
        self.lines.clear()
        self.errors.clear()
        self._marks.clear()
        self.older, self._above, self._below = False, 0, 0

    def move_away(self) -> None:
        """Empty the window: it is filled again from another place of the stream."""
        self.left_out = max(self.left_out, self.last_seq)
        self.clear()
        self.life += 1
        self._next, self._epoch, self.newer = {}, 0, True

    # --- looking

    def line(self, number: int) -> Line | None:
        """The line with an absolute number; None for one that is gone or not there yet."""
        index = number - self.base
        return self.lines[index] if 0 <= index < len(self.lines) else None

    def rows_of(self, seq: int) -> range:
        """Absolute numbers of the lines of a chunk, by its sequence; empty = it is not here."""
        first = self.base
        for mark in self._marks:
            if mark.seq == seq:
                return range(first, first + mark.rows)
            first += mark.rows
        return range(0)

    def has_error(self, first: int, after: int) -> bool:
        """Is one of these lines, by absolute number, an error?"""
        at = bisect_left(self.errors, first)
        return at < len(self.errors) and self.errors[at] < after

    def find(self, test: Callable[[str], bool], start: int, step: int) -> int | None:
        """The next line from `start` on whose text passes, forwards (+1) or backwards (-1)."""
        return self.look(test, start, step, lambda: False)[0]

    def look(
        self, test: Callable[[str], bool], start: int, step: int, late: Callable[[], bool]
    ) -> tuple[int | None, int | None]:
        """As `find`, until it is `late`: the line that passes, or from which to go on then."""
        if not self.lines:
            return None, None
        index = start - self.base
        last = len(self.lines) if step > 0 else -1
        for i in range(max(0, min(index, len(self.lines) - 1)), last, step):
            if test(self.lines[i].text):
                return i + self.base, None
            if not i % _LOOKS and i + step != last and late():
                return None, i + step + self.base
        return None, None

    def near(self, at: datetime) -> int:
        """The absolute number of the first line at or after a time."""
        return self.base + bisect_left(self.lines, at, key=lambda line: line.at)

    def minute(self, number: int, step: int) -> int:
        """The line about a minute after or before another one."""
        line = self.line(number)
        if line is None:
            return number
        return min(self.end - 1, self.near(line.at + timedelta(minutes=step)))


def around(parts: Sequence[Part], seq: int, room: int) -> list[Part]:
    """Of chunks in their order those near one of them, with so many lines at most.

    What comes after it may take half of the room, or more where less comes before it.
    """
    at = sum(p.seq < seq for p in parts)
    after = _as_many(parts[at:], room // 2)
    before = _as_many(parts[:at][::-1], room - sum(len(p.chunk.lines) for p in after))[::-1]
    left = room - sum(len(p.chunk.lines) for p in before)
    return [*before, *_as_many(parts[at:], left)]


def _as_many(parts: Sequence[Part], room: int) -> list[Part]:
    """The first ones, until there is no room; one at least."""
    found: list[Part] = []
    for part in parts:
        room -= len(part.chunk.lines)
        if room < 0 and found:
            break
        found.append(part)
    return found


def _gap(gap: int, chunk: LogChunk, epoch: int) -> Line:
    return Line(chunk.at, "!", epoch, missing_words(gap, chunk))
