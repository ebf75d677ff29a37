"""What time alone brings about: due runs, passed deadlines, the end of retention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Timers"]


class Timers(Protocol):
    """What time alone brings about: due runs, passed deadlines, the end of retention."""

    async def due(self, limit: int) -> tuple[list[str], datetime | None, datetime]:
        """(runs that are due now, when the next one is due, now)."""
        ...

    async def overdue(self, limit: int) -> list[str]:
        """Runs whose TTL, deadline, start deadline or timeout backstop may have passed."""
        ...

    async def prune(self) -> int:
        """Remove expired keys, old refusals, runs past retention, spent dispatches; how many.

        Works in small batches.
        """
        ...
