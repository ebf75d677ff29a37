"""Does a series rise? Least squares with a 95 % bound. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Slope(NamedTuple):
    """Change a second; the true one lies within `bound` of it, 19 times of 20.

    The samples of one process follow each other, so the bound is rather too small than too large.
    """

    per_second: float
    bound: float

    @property
    def rises(self) -> bool:
        """More than noise explains."""
        return self.per_second - self.bound > 0


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
