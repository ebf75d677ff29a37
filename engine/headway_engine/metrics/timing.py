"""Durations in fixed buckets: cheap enough to be measured always. Pure."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
    300.0, 1800.0,
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
