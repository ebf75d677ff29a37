"""Told: rows of words that somebody else makes anew whenever they may have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment

from headway_tui.pages import PageSheet
from headway_tui.widgets.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ToldRow = list[tuple[str, str]]
"""Pieces of a row: (text, role)."""


class Told(Finding):
    """Attempts, or facts; `enter` shows all of a row."""

    def __init__(
        self,
        place: str,
        rows: Callable[[int], Sequence[ToldRow]],
        page: Callable[[int], tuple[str, Sequence[str]]] | None = None,
        *,
        id: str | None = None,
    ) -> None:
        """`rows`: for a width; `page`: title and lines of the whole of a row."""
        super().__init__(id=id)
        self.place = place
        self.has_cursor = page is not None
        self._make, self._page = rows, page
        self._rows: Sequence[ToldRow] = ()

    def count(self) -> int:
        """Rows, as of the last time they were made."""
        return len(self._rows)

    def settle(self) -> None:
        """Make them anew."""
        self._rows = self._make(self.room)
        super().settle()

    def row(self, index: int, width: int) -> list[Segment]:
        """One row."""
        pieces = self._rows[index]
        if self.is_hit("".join(text for text, _ in pieces)):
            return [Segment(self.worded(text), self.palette.hit) for text, _ in pieces]
        return [self.text(self.worded(text), role) for text, role in pieces]

    def plain(self) -> Sequence[str]:
        """The rows as text."""
        return ["".join(text for text, _ in pieces) for pieces in self._rows]

    def do_details(self) -> None:
        """A page with the whole of the row."""
        if self._page is not None and self._rows:
            title, lines = self._page(self.cursor)
            page = [self.worded(line) for line in lines]
            self._app().push_screen(PageSheet(self.worded(title), page))
