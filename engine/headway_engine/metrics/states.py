"""Live runs by state, for Prometheus: asked of the store now and then, if somebody may scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_engine.service import Ticker

if TYPE_CHECKING:
    from headway_engine.store import Store

EVERY = 10.0
"""Seconds: scrapers come every 15 s or so."""


class States(Ticker):
    """Keeps the last numbers; while the store is away they stand still."""

    name = "states"

    def __init__(self, store: Store) -> None:
        super().__init__(EVERY)
        self._store = store
        self.counts: dict[tuple[str, str], int] = {}
        """By (namespace, state in lower case)."""

    async def once(self) -> float | None:
        """Ask."""
        self.counts = await self._store.live()
        return None
