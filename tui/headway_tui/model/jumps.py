"""Where the reader has been: a list that is walked back and forth, as editors do. Pure."""

from __future__ import annotations

from typing import NamedTuple

KEPT = 100


class Spot(NamedTuple):
    """A screen, and what it showed: a run's id, or a query."""

    place: str
    what: str = ""


class Jumps:
    """Going somewhere new forgets what lay ahead."""

    def __init__(self) -> None:
        self._spots: list[Spot] = []
        self._at = -1
        self._before: Spot | None = None

    def visited(self, spot: Spot) -> None:
        """The reader is there now, by whatever way."""
        here = self.here
        if spot == here:
            return
        self._before = here
        for step in (-1, 1):  # one step by another key is no new place
            if self._near(step) == spot:
                self._at += step
                return
        del self._spots[self._at + 1 :]
        self._spots = [*self._spots, spot][-KEPT:]
        self._at = len(self._spots) - 1

    @property
    def here(self) -> Spot | None:
        """The place now."""
        return self._near(0)

    def step(self, by: int) -> Spot | None:
        """The place that many steps on (or back, below 0), which is the one now; None: no more."""
        spot = self._near(by)
        if spot is not None:
            self._before, self._at = self.here, self._at + by
        return spot

    def last(self) -> Spot | None:
        """The place before this one, whichever way it was left."""
        return self._before

    def _near(self, by: int) -> Spot | None:
        at = self._at + by
        return self._spots[at] if 0 <= at < len(self._spots) else None
