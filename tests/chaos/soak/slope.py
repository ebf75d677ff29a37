"""Does a series rise? Least squares with a 95 % bound. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Slope(NamedTuple):
    """Change a second; the true one lies within `bound` of it, 19 times of 20."""

    per_second: float
    bound: float

    @property
    def rises(self) -> bool:
        """More than noise explains."""
        return self.per_second - self.bound > 0


def blocks(samples: Sequence[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Means of (time, value) over stretches of so many seconds.

    What follows each other within one is alike: as samples of their own they would make the bound
    of a slope too small.
    """
    found: dict[int, list[tuple[float, float]]] = {}
    for at, value in samples:
        found.setdefault(int((at - samples[0][0]) / seconds), []).append((at, value))
    return [
        (math.fsum(t for t, _ in those) / len(those), math.fsum(v for _, v in those) / len(those))
        for those in found.values()
    ]


def slope(times: Sequence[float], values: Sequence[float]) -> Slope:
    """Of at least three samples; a series that does not change has the slope 0 without a bound."""
    n = len(times)
    if n < 3:
        raise ValueError(f"a slope needs 3 samples, not {n}")
    at, mean = math.fsum(times) / n, math.fsum(values) / n
    spread = math.fsum((t - at) ** 2 for t in times)
    rise = math.fsum((t - at) * (v - mean) for t, v in zip(times, values, strict=True)) / spread
    rest = math.fsum((v - mean - rise * (t - at)) ** 2 for t, v in zip(times, values, strict=True))
    return Slope(rise, 1.96 * math.sqrt(rest / (n - 2) / spread))
