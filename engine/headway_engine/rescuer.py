"""Ends leases that are over: their runs go back to the queue at once, with no retry used.

The clock of leases runs only while agents could have renewed them: this engine ticks each second
while NATS answers it and its store commits; after an outage every lease gets one whole
lease of grace (DECISIONS B1, B2).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from headway.natspy import nats_errors
from headway_engine.counters import Counters
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nats.aio.client import Client as NatsClient

    from headway_engine.store import Store
    from headway_engine.store.records import Outcome

log = logging.getLogger("headway.engine")

PERIOD = 1.0
PATIENCE = 1.0
"""Seconds in which NATS must answer."""


class Rescuer(Ticker):
    """One look a second."""

    name = "rescuer"

    def __init__(
        self,
        store: Store,
        lease: float,
        reached: Callable[[], Awaitable[bool]],
        tell: Callable[[Sequence[Outcome]], None],
        counters: Counters | None = None,
    ) -> None:
        """`lease`: seconds; `reached`: does this engine hear what agents say, now?"""
        super().__init__(PERIOD)
        self._store, self._lease = store, lease
        self._reached, self._tell = reached, tell
        self._counters = counters if counters is not None else Counters()
        self._ticked = 0.0

    async def once(self) -> float | None:
        """Tick, then expire; nothing while NATS is away, or is only silent."""
        if not await self._reached():
            return None
        now = time.monotonic()
        await self._store.tick(self._lease, now - self._ticked if self._ticked else None)
        self._ticked = now
        outcomes = await self._store.expire(self._lease)
        if outcomes:
            self._counters["lost_lease"] += len(outcomes)
            log.warning("leases ended: runs=%d", len(outcomes))
            self._tell(outcomes)
        return None


async def reached(*connections: NatsClient) -> bool:
    """True if NATS answers on all of these.

    A connection through which nothing passes any more counts as connected for 10 s: longer than
    many a lease.
    """
    if not all(nc.is_connected for nc in connections):
        return False
    try:
        async with asyncio.timeout(PATIENCE):
            for nc in connections:
                await nc.flush()
    except (OSError, TimeoutError, nats_errors.Error):
        return False
    return True
