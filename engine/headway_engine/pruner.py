"""Retention: removes what is past its time, a small batch at a time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headway_engine.service import Ticker

if TYPE_CHECKING:
    from headway_engine.store import Store

log = logging.getLogger("headway.engine")

REST = 0.05
"""Seconds between two batches, so that pruning never holds up the rest."""


class Pruner(Ticker):
    """Every `period` seconds, until nothing is left to remove."""

    name = "pruner"

    def __init__(self, store: Store, period: float = 30.0) -> None:
        super().__init__(period)
        self._store = store
        self.removed = 0

    async def once(self) -> float | None:
        """One batch."""
        rows = await self._store.prune()
        self.removed += rows
        if rows:
            log.debug("pruned: rows=%d", rows)
        return REST if rows else None
