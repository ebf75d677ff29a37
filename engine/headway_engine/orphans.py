"""Blobs of enqueues that were never recorded: a client stored its payload and died before the rest.

Nobody has a row for them, so the pruner never hears of them. They are found by their age and go
when no row speaks of their run: not a run, not the outcome of an enqueue, not a cancel that waits
for one. A blob in a known run's folder goes with the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.ids import is_run_id
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headway_engine.blobs import Blobs
    from headway_engine.store import Store

log = logging.getLogger("headway.engine")

PERIOD = 6 * 3600.0
"""Seconds between looks: each of them lists the whole bucket."""
FIRST = 900.0
"""Seconds after the start of the first look, at most; engines that start together spread out."""
AGAIN = 600.0
"""Seconds after a look that failed."""
AGE = timedelta(days=1)
"""Younger ones may belong to an enqueue that is on its way."""
SKEW = timedelta(hours=2)
"""An enqueue reaches INGEST within an hour of its id, which is older than its blob (H1)."""
OWNERS = "headway-databases/"
"""Keys that say whose blobs lie in the bucket: to another database they all look lost."""
BATCH = 1000
REST = 0.05
"""Seconds between two batches."""


async def claim(blobs: Blobs, identity: str) -> list[str]:
    """Say in the bucket that this database's blobs lie there; the others that said so too."""
    await blobs.put(OWNERS + identity, b"")
    return sorted([key async for key in blobs.keys(OWNERS) if key != OWNERS + identity])


class Orphans(Ticker):
    """Lists the blobs of the bucket by age, and removes those that nothing names."""

    name = "orphans"

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        now: Callable[[], datetime],
        oldest_enqueue: Callable[[], Awaitable[datetime | None]],
        identity: str,
    ) -> None:
        """`identity`: of the store's database.

        `oldest_enqueue`: when the oldest message that still waits in INGEST arrived.
        """
        super().__init__(PERIOD)
        self._store, self._blobs, self._now = store, blobs, now
        self._oldest_enqueue, self._identity = oldest_enqueue, identity
        self.removed = 0

    async def run(self) -> None:
        """A while after the start, then every few hours."""
        with contextlib.suppress(HeadwayError):  # each look says it again
            await claim(self._blobs, self._identity)
        await self._rest(random.uniform(0.2, 1) * FIRST)
        await super().run()

    async def once(self) -> float | None:
        """One look at the whole bucket; a crash in the middle leaves the rest to the next."""
        try:
            if others := await claim(self._blobs, self._identity):
                log.warning(
                    "other databases keep blobs in this bucket: none is removed by its age; give"
                    " each installation a prefix, or remove what is no more: %s",
                    ", ".join(others),
                )
                return None
            before = self._now() - AGE
            waits = await self._oldest_enqueue()
            if waits is not None:
                # What waits there names blobs that no row names yet, however long it takes.
                before = min(before, waits - SKEW)
            removed = await self._look(before)
        except HeadwayError as e:
            log.warning("blobs without a run stay for now: %s", e)
            return AGAIN
        self.removed += removed
        if removed:
            log.info("blobs of enqueues that were never recorded: removed=%d", removed)
        return None

    async def _look(self, before: datetime) -> int:
        removed, batch = 0, list[str]()
        async for key in self._blobs.keys("", before):
            batch.append(key)
            if len(batch) >= BATCH:
                removed += await self._remove(batch)
                batch.clear()
                await asyncio.sleep(REST)
        return removed + await self._remove(batch)

    async def _remove(self, keys: Sequence[str]) -> int:
        places = {key: place for key in keys if (place := place_of(key)) is not None}
        if not places:
            return 0
        unnamed = await self._store.unnamed(sorted(set(places.values())))
        gone = [key for key, place in places.items() if place in unnamed]
        await self._blobs.remove(gone)
        return len(gone)


def place_of(key: str) -> tuple[str, str] | None:
    """(namespace, run) of a blob; None for what is not ours, in a bucket that is shared."""
    ns, _, rest = key.partition("/")
    run, slash, name = rest.partition("/")
    return (ns, run) if ns and slash and name and is_run_id(run) else None
