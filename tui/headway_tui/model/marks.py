"""Which rows of a list are marked: one by one, a range, or all that match. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Marks:
    """Ids, or all: then the query says which, loaded or not."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.all = False
        self._from: int | None = None
        """Where a range began, while it grows."""
        self._base: set[str] = set()

    def __contains__(self, run: object) -> bool:
        return self.all or run in self.runs

    def __len__(self) -> int:
        return len(self.runs)

    def words(self) -> str:
        """For the line below the list."""
        if self.all:
            return " all that match are marked (u clears)   "
        if self._from is not None:
            return f" {len(self.runs):,} marked, V ends the range   "
        return f" {len(self.runs):,} marked (space)   " if self.runs else " "

    def toggle(self, run: str) -> None:
        """Mark it or not; a range ends."""
        self._from = None
        self.runs ^= {run}

    def turn(self, at: int) -> None:
        """A range begins at this row, or ends."""
        if self._from is None:
            self._from, self._base = at, set(self.runs)
        else:
            self._from = None

    def extend(self, to: int, run_at: Callable[[int], str]) -> bool:
        """The range goes up to this row; false if none grows."""
        if self._from is None:
            return False
        first, last = sorted((self._from, to))
        self.runs = self._base | ({run_at(i) for i in range(first, last + 1)} - {""})
        return True

    def mark_all(self) -> None:
        """All that match, loaded or not."""
        self.runs, self.all, self._from = set(), True, None

    def mark_these(self, runs: Iterable[str]) -> None:
        """These and no others."""
        self.runs, self.all, self._from = set(runs), False, None

    def clear(self) -> None:
        """None."""
        self.mark_these(())
