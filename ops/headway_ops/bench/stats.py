"""Percentiles and medians of what was measured. Pure.

A line is measured in several rounds, and its raw limit beside each: what a busy machine does to one
it does to the other, so the ratio is steadier than either.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Spread(Struct, frozen=True):
    """The middle and the tail of some samples, in the samples' own unit."""

    p50: float
    p99: float
    count: int


def percentile(samples: Sequence[float], q: float) -> float:
    """The value below which `q` (0 to 1) of the samples lie, interpolated between neighbours.

    Raises ValueError without samples, or if q is outside 0 to 1.
    """
    if not samples:
        raise ValueError("no samples")
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"q={q}: expected 0 to 1")
    ordered = sorted(samples)
    place = (len(ordered) - 1) * q
    low, high = math.floor(place), math.ceil(place)
    if low == high:
        return ordered[low]
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(samples: Sequence[float]) -> Spread:
    """p50 and p99 of one round."""
    return Spread(percentile(samples, 0.5), percentile(samples, 0.99), len(samples))


def middle(rounds: Sequence[Spread]) -> Spread:
    """The median round: the median of the p50s, the median of the p99s, all samples counted."""
    return Spread(
        statistics.median(r.p50 for r in rounds),
        statistics.median(r.p99 for r in rounds),
        sum(r.count for r in rounds),
    )


def ratio_of(values: Sequence[float], raws: Sequence[float]) -> float | None:
    """The median of value / raw limit, round by round; None where no raw limit was measured."""
    pairs = [v / r for v, r in zip(values, raws, strict=True) if r > 0]
    return statistics.median(pairs) if pairs else None


def rate(count: int, seconds: float) -> float:
    """How many a second; infinite if no time passed."""
    return count / seconds if seconds > 0 else math.inf
