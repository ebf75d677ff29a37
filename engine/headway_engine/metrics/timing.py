"""Durations in fixed buckets: cheap enough to be measured always. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
    30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
)  # fmt: skip
"""Upper bounds of the buckets, in seconds; one more bucket takes what is longer."""


class Timing:
    """A histogram of seconds that only grows."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One duration; a clock that went back counts as none at all."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many durations were added."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound as Prometheus writes it, how many were at most so long), `+Inf` last."""
        found: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            seen += count
            found.append((bound, float(seen)))
        return found


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds within which `share` (0 to 1) of what the buckets hold lies; None = they are empty.

    Within its bucket evenly spread; of what is over the last bound only that bound is known.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, seen, low = share * total, 0, 0.0
    for count, bound in zip(counts, BOUNDS, strict=False):
        if count and seen + count >= wanted:
            return low + (bound - low) * max(0.0, wanted - seen) / count
        seen, low = seen + count, bound
    return BOUNDS[-1]


class Lately:
    """What a Timing took up in the last `seconds`; `tick` once a second or so."""

    __slots__ = ("_past", "seconds", "timing")

    def __init__(self, timing: Timing, seconds: float = 60.0) -> None:
        self.timing, self.seconds = timing, seconds
        self._past = deque([(float("-inf"), list(timing.counts))])

    def tick(self, now: float) -> None:
        """Remember how it stands."""
        self._past.append((now, list(self.timing.counts)))
        while len(self._past) > 1 and self._past[1][0] <= now - self.seconds:
            self._past.popleft()

    def p95(self) -> float | None:
        """The 95th percentile, in seconds; None = nothing was timed."""
        then = self._past[0][1]
        return quantile([n - t for n, t in zip(self.timing.counts, then, strict=True)], 0.95)
