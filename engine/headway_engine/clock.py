"""Clock port: the time of parts that have no store clock, and a clock that tests move by hand.

Deadlines live on the store's clock alone. This one serves the memory store and purely local waits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

_EARLY = 0.01
"""Seconds that a loop's timer may be early."""


def on_grid(now: float, seconds: float) -> float:
    """How long to rest for at most `seconds`, to wake when others wake too. Pure.

    `now`: monotonic seconds. From a second on: until a whole one; from half a second on: until a
    half one; less is left as it is.
    """
    if seconds < 0.5:
        return seconds
    step = 1.0 if seconds >= 1.0 else 0.5
    return max(0.0, (now + seconds + _EARLY) // step * step - now)


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The time, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.now(UTC)


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """The time, UTC."""
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Move on by so many seconds; the new time."""
        self._now += timedelta(seconds=seconds)
        return self._now
