"""Finding: rows that are searched, with the hits marked; the search goes round at the ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_tui.model.loglines import matcher
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Finding(Lines):
    """A kind of it says what its rows are as text."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.wanted = ""
        self._test: Callable[[str], bool] | None = None

    def plain(self) -> Sequence[str]:
        """The rows as text, from the first to the last."""
        raise TypeError("a kind of Finding says what its rows are")

    def search(self, text: str) -> bool:
        """The cursor to the next row that has it; False if none has. Raises ValueError."""
        self.wanted, self._test = text, matcher(text) if text else None
        self.refresh()
        return self._test is None or self._find(self.cursor, 1)

    def is_hit(self, text: str) -> bool:
        """Does a row with this text have what is looked for?"""
        return self._test is not None and self._test(text)

    def _find(self, start: int, step: int) -> bool:
        rows = self.plain()
        for i in range(len(rows)):
            index = (start + i * step) % len(rows)
            if self.is_hit(rows[index]):
                self.move(index)
                return True
        return False

    def do_next_hit(self) -> None:
        """The next hit."""
        self._find(self.cursor + 1, 1)

    def do_last_hit(self) -> None:
        """The hit before."""
        self._find(self.cursor - 1, -1)
