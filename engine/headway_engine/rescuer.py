"""Ends leases that are over: their runs go back to the queue at once, with no retry used.

The clock of leases runs only while agents could have renewed them: this engine ticks each second
while it is connected to NATS and its store commits; after an outage every lease gets one whole
lease of grace (DECISIONS B1, B2).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headway_engine.counters import Counters
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway_engine.store import Store
    from headway_engine.store.records import Outcome

log = logging.getLogger("headway.engine")

PERIOD = 1.0


class Rescuer(Ticker):
    """One look a second."""

    name = "rescuer"

    def __init__(
        self,
        store: Store,
        lease: float,
        connected: Callable[[], bool],
        tell: Callable[[Sequence[Outcome]], None],
        counters: Counters | None = None,
    ) -> None:
        """`lease`: seconds; `connected`: this engine can be reached by agents."""
        super().__init__(PERIOD)
        self._store, self._lease = store, lease
        self._connected, self._tell = connected, tell
        self._counters = counters if counters is not None else Counters()

    async def once(self) -> float | None:
        """Tick, then expire; nothing while NATS is away."""
        if not self._connected():
            return None
        await self._store.tick(self._lease)
        outcomes = await self._store.expire(self._lease)
        if outcomes:
            self._counters["lost_lease"] += len(outcomes)
            log.warning("leases ended: runs=%d", len(outcomes))
            self._tell(outcomes)
        return None
