"""Time to cells: one scale per view, idle stretches folded to a few cells. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.texts import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from headway_tui.model.timeline import Node

FOLD_FROM = 5.0
"""Seconds: shorter idle stretches are never folded."""
FOLD_SHARE = 0.15
"""Of the whole time: an idle stretch that takes less is not folded."""
IDLE_CELLS = 6
_BUSY = frozenset({"attempt"})


class Stretch(NamedTuple):
    """A part of the axis: seconds since the beginning, cells from the left."""

    start: float
    end: float
    left: float
    cells: float
    idle: bool


class Scale:
    """Where a time lies in `width` cells."""

    def __init__(self, begin: datetime, stretches: list[Stretch], width: int, whole: float) -> None:
        """`whole`: seconds of all of the time, seen or not."""
        self.begin, self.stretches, self.width, self.whole = begin, stretches, width, whole

    def cell(self, at: datetime) -> int:
        """The cell of a time, from 0; clamped to what is on the axis."""
        seconds = (at - self.begin).total_seconds()
        for s in self.stretches:
            if seconds <= s.end:
                part = (seconds - s.start) / (s.end - s.start) if s.end > s.start else 0.0
                return max(0, min(self.width - 1, int(s.left + s.cells * max(0.0, part))))
        return self.width - 1

    def seconds(self, cell: float) -> float:
        """The time at the left edge of a cell, in seconds since the beginning; clamped."""
        for s in self.stretches:
            if cell < s.left + s.cells:
                part = max(0.0, cell - s.left) / s.cells if s.cells else 0.0
                return s.start + (s.end - s.start) * part
        return self.stretches[-1].end if self.stretches else 0.0

    def away(self, start: datetime, end: datetime) -> int:
        """Below 0: it was over before what is seen; above 0: it began after that."""
        low, high = self.stretches[0].start, self.stretches[-1].end
        before = (end - self.begin).total_seconds() < low
        return -1 if before else int((start - self.begin).total_seconds() > high)

    def moved(self, begin: datetime) -> Scale:
        """The same scale from another zero."""
        return Scale(begin, self.stretches, self.width, self.whole)

    def folds(self) -> list[tuple[int, int, float]]:
        """Folded stretches: first cell, cells, seconds."""
        return [(int(s.left), int(s.cells), s.end - s.start) for s in self.stretches if s.idle]

    def axis(self) -> str:
        """The axis as text, `width` cells: times at the left of each stretch, and folds."""
        line = [" "] * self.width

        def put(at: int, text: str) -> int:
            if at < 0 or at + len(text) > self.width:
                return -1
            line[at : at + len(text)] = text
            return at + len(text)

        free = 0
        for s in self.stretches:
            left = int(s.left)
            if s.idle:
                text = f"[{span(s.end - s.start)}]"
                if left >= free:
                    free = max(free, put(left, text) + 1)
                continue
            ticks = max(1, int(s.cells // 14))
            for i in range(ticks):
                at = left + int(s.cells * i / ticks)
                if at >= free:
                    seconds = s.start + (s.end - s.start) * i / ticks
                    free = max(free, put(at, span(seconds) if seconds else "0s") + 1)
        total = span(self.stretches[-1].end) if self.stretches else ""
        if self.width - len(total) >= free:
            put(self.width - len(total), total)
        return "".join(line)


def straight(begin: datetime, part: tuple[float, float], width: int, whole: float) -> Scale | None:
    """A scale without folds; None where there is no room."""
    stretch = Stretch(*part, 0.0, float(width), False)
    return Scale(begin, [stretch], width, whole) if width >= 4 else None


def zoomed(total: float, zoom: float, centre: float) -> tuple[float, float]:
    """The part of the whole time that is seen: `zoom` 2 = half of it, around `centre` (0 to 1)."""
    half = total / zoom / 2
    middle = min(max(centre * total, half), total - half)
    return middle - half, middle + half


def scale_of(
    nodes: Iterable[Node], now: datetime, width: int, *, fold: bool,
    part: Callable[[float], tuple[float, float]] = lambda total: (0.0, total),
) -> Scale | None:  # fmt: skip
    """The scale of a view; None while there is nothing. `part`: what is seen of the whole time."""
    spans = [
        ((n.start, n.end or max(now, n.start)), n.kind in _BUSY or bool(n.children)) for n in nodes
    ]
    if not spans or width < 4:
        return None
    begin = min(s for (s, _), _ in spans)
    total = max((max(e for (_, e), _ in spans) - begin).total_seconds(), 0.001)
    busy = sorted(
        ((s - begin).total_seconds(), (e - begin).total_seconds()) for (s, e), work in spans if work
    )
    low, high = part(total)
    idle = _idle(busy, total) if fold else []
    parts: list[tuple[float, float, bool]] = []
    at = low
    for start, end in idle:
        start, end = max(start, low), min(end, high)
        if end - start <= 0:
            continue
        if start > at:
            parts.append((at, start, False))
        parts.append((start, end, True))
        at = end
    if at < high:
        parts.append((at, high, False))
    folds = sum(1 for p in parts if p[2])
    room = max(1.0, width - folds * IDLE_CELLS)
    shown = sum(e - s for s, e, folded in parts if not folded) or 1.0
    left, stretches = 0.0, list[Stretch]()
    for start, end, folded in parts:
        cells = float(IDLE_CELLS) if folded else room * (end - start) / shown
        stretches.append(Stretch(start, end, left, cells, folded))
        left += cells
    return Scale(begin, stretches, width, total)


def _idle(busy: list[tuple[float, float]], total: float) -> list[tuple[float, float]]:
    """Stretches in which no attempt ran that are long enough to be folded."""
    found: list[tuple[float, float]] = []
    work = sum(end - start for start, end in busy)
    at = 0.0
    for start, end in [*busy, (total, total)]:
        if start - at >= max(FOLD_FROM, total * FOLD_SHARE):
            # A little stays on both sides, so that backoffs are seen as such.
            edge = min((start - at) * 0.02, work * 0.05)
            found.append((at + edge, start - edge))
        at = max(at, end)
    return found
