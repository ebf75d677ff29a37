"""One sample of this engine a second, from the numbers that it counts anyway. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire.events import Sample
from headway_engine.metrics.timing import Lately

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from headway_engine.metrics.timing import Timing


class Sampler:
    """Rates are what its counters grew by since the sample before."""

    def __init__(
        self, kinds: Mapping[str, int], wait: Timing, start: Timing, save: Timing, now: float
    ) -> None:
        """`kinds`: committed events by kind; `now`: monotonic seconds, as in `take`."""
        self._kinds = kinds
        self._wait, self._start, self._save = Lately(wait), Lately(start), Lately(save)
        self._then, self._seen = now, self._counts()

    def _counts(self) -> tuple[int, int, int]:
        def of(kind: str) -> int:
            return self._kinds.get(kind, 0)

        return of("started"), of("failed") + of("timed_out"), of("retrying")

    def take(self, at: datetime, now: float, pending: int, use: tuple[int, int]) -> Sample:
        """The sample of the time since the last one; `use`: connections, busy and at most."""
        counts, seconds = self._counts(), max(0.001, now - self._then)
        started, failed, retried = (
            round((n - s) / seconds, 3) for n, s in zip(counts, self._seen, strict=True)
        )
        self._then, self._seen = now, counts
        for lately in (self._wait, self._start, self._save):
            lately.tick(now)
        return Sample(
            at, started, failed, retried,
            self._wait.p95(), self._start.p95(), self._save.p95(), pending, *use,
        )  # fmt: skip
