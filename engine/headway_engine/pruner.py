"""Retention: removes what is past its time, a small batch at a time.

Rows go first, their blobs a day later: whoever holds a reference that he has just read can still
use it. A blob is removed only if no row names it by then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from headway_engine.blobs import BlobsDown
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from headway_engine.blobs import Blobs
    from headway_engine.store import Store

log = logging.getLogger("headway.engine")

REST = 0.05
"""Seconds between two batches, so that pruning never holds up the rest."""
BLOBS = 200
"""Blobs, or runs with blobs, in one batch."""
BLOBS_TIMEOUT = 120.0
"""Seconds for a batch of blobs: less than the five minutes in which it is ours alone."""


class Pruner(Ticker):
    """Every `period` seconds, until nothing is left to remove."""

    name = "pruner"

    def __init__(self, store: Store, blobs: Blobs, period: float = 30.0) -> None:
        super().__init__(period)
        self._store, self._blobs = store, blobs
        self.removed = self.purged = 0

    async def once(self) -> float | None:
        """One batch of rows, and one of blobs."""
        rows = await self._store.prune()
        self.removed += rows
        if rows:
            log.debug("pruned: rows=%d", rows)
        purged = await self._purge()
        return REST if rows or purged else None

    async def _purge(self) -> int:
        """A crash in the middle leaves the rest to whoever looks five minutes later."""
        found = await self._store.purges(BLOBS)
        if not found:
            return 0
        try:
            async with asyncio.timeout(BLOBS_TIMEOUT):
                await self._blobs.remove([p.key for p in found if p.key])
                whole = [f"{p.ns}/{p.run}/" for p in found if not p.key]
                if whole:
                    await self._blobs.delete(*whole)
        except (BlobsDown, TimeoutError) as e:
            log.warning("blobs of removed runs stay for now: %s", e)
            return 0
        await self._store.purged([p.id for p in found])
        self.purged += len(found)
        log.debug("purged: blobs=%d", len(found))
        return len(found)
