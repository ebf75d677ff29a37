"""VTable: a list of any length, of which only the rows on screen are fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip
from textual.widget import Widget

from headway_tui.model.cells import Cell, Column
from headway_tui.model.texts import fit, right
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.segment import Segment


__all__ = ["Cell", "Column", "TableHead", "VTable"]


class VTable(Lines):
    """Rows by number through `fetch`; None = not here yet."""

    place = "table"

    def __init__(
        self,
        fetch: Callable[[int], Sequence[Cell] | None],
        count: Callable[[], int],
        *,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._fetch, self._count = fetch, count
        self.columns: tuple[Column, ...] = ()
        self.on_top: Callable[[], None] | None = None
        """Called when the reader goes to the top: what is new is taken in then."""
        self.on_bottom: Callable[[], None] | None = None
        """Called when he goes to the end: of a long list it may not be here yet."""

    def do_top(self) -> None:
        """The first row, and what is new."""
        super().do_top()
        if self.on_top is not None:
            self.on_top()

    def do_bottom(self) -> None:
        """The last row."""
        super().do_bottom()
        if self.on_bottom is not None:
            self.on_bottom()

    def count(self) -> int:
        """Rows of the list."""
        return self._count()

    def widths(self, width: int) -> list[int]:
        """Cells of each column; one more lies between two."""
        fixed = sum(c.width + 1 for c in self.columns) - 1
        return [c.width or max(4, width - fixed) for c in self.columns]

    def head(self, width: int) -> list[Segment]:
        """The titles."""
        parts = [
            (right if c.to_right else fit)(c.title, w)
            for c, w in zip(self.columns, self.widths(width), strict=True)
        ]
        return [self.text(" ".join(parts), "muted")]

    def row(self, index: int, width: int) -> list[Segment]:
        """One row."""
        cells = self._fetch(index)
        if cells is None:
            return [self.text(" " + self.sign("dot") * 3, "muted")]
        gap = self.text(" ")
        segments: list[Segment] = []
        cut = self.sign("cut")
        for cell, column, w in zip(cells, self.columns, self.widths(width), strict=True):
            shown = right(cell.text, w) if column.to_right else fit(cell.text, w, cut)
            segments += [self.text(shown, cell.role), gap]
        return segments[:-1]


class TableHead(Widget):
    """The titles of a table, above it."""

    DEFAULT_CSS = "TableHead { height: 1; background: $background; }"

    def __init__(self, table: VTable) -> None:
        super().__init__()
        self._table = table

    def render_line(self, y: int) -> Strip:
        """One line."""
        strip = Strip(self._table.head(self.size.width)).adjust_cell_length(self.size.width)
        return strip.apply_style(self.rich_style)
