"""Curves beside and below each other, as many lines high as there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_tui.model.sparks import chart
from headway_tui.model.texts import fit
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.segment import Segment

    from headway_tui.model.metrics import Curve

TALLEST = 7
"""Lines of one curve at most."""
APART = 4
"""With more lines than this for each there is a blank one between them."""


class Curves(Lines):
    """Each with its name, its last value, and how high it goes."""

    has_cursor = False

    def __init__(self, what: Callable[[], Sequence[Curve]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._what = what
        self._rows: list[list[Segment]] = []

    def settle(self) -> None:
        """Lay out for the size there is."""
        self._rows = self._lay_out(self.room, self.size.height)
        super().settle()

    def _lay_out(self, width: int, height: int) -> list[list[Segment]]:
        curves = list(self._what())
        beside = 3 if width >= 90 else 2 if width >= 50 else 1
        stories = -(-len(curves) // beside)
        # A title, the curve, and a blank line where there is room for it.
        tall = height // max(1, stories)
        apart = tall > APART
        lines = max(1, min(TALLEST, tall - (2 if apart else 1)))
        cell = (width - 2 * (beside - 1)) // beside
        rows: list[list[Segment]] = []
        for first in range(0, len(curves), beside):
            story = curves[first : first + beside]
            rows.append(self._across([self._title(curve, cell) for curve in story]))
            drawn = [
                chart(c.values, cell, lines, ascii_only=self.sign("cut") == "~") for c in story
            ]
            rows += [
                self._across(
                    [[self.text(d[line], c.role)] for d, c in zip(drawn, story, strict=True)]
                )
                for line in range(lines)
            ]
            if apart:
                rows.append([])
        return rows

    def _title(self, curve: Curve, width: int) -> list[Segment]:
        name, high = f" {curve.name} ", f"max {curve.high}"
        rest = width - len(name) - len(high) - 1
        now = fit(curve.now, max(0, rest))
        return [self.text(name, "muted"), self.text(now), self.text(high, "muted"), self.text(" ")]

    def _across(self, parts: list[list[Segment]]) -> list[Segment]:
        row: list[Segment] = []
        for part in parts:
            row += [*part, self.text("  ")]
        return row[:-1]

    def count(self) -> int:
        """Lines."""
        return len(self._rows)

    def row(self, index: int, width: int) -> list[Segment]:
        """One line."""
        return self._rows[index]
