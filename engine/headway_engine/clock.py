"""Clock port: the time of parts that have no store clock, and a clock that tests move by hand.

Deadlines live on the store's clock alone. This one serves the memory store and purely local waits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


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
