"""Looks at NATS and the store now and then: what somebody changed by hand is put right, or said.

Streams and consumers are made again or get their settings back; settings of the servers that break
a promise are said when they appear and when they are gone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headway.errors import HeadwayError, NotReachable
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headway_engine.broker import Broker
    from headway_engine.credits import Place
    from headway_engine.store import Store

log = logging.getLogger("headway.engine")


class Watch(Ticker):
    """One look each `period` seconds, or when somebody noticed that something is gone."""

    name = "watch"

    def __init__(
        self,
        broker: Broker,
        store: Store,
        places: Callable[[], Iterable[Place]],
        period: float,
        problems: Iterable[str],
    ) -> None:
        """`places`: the queues that there are; `problems`: what was said at the start."""
        super().__init__(period)
        self._broker, self._store, self._places = broker, store, places
        self._said = {f"store: {problem}" for problem in problems}

    async def once(self) -> float | None:
        """Repair the streams, compare the store's settings; raises StoreDown."""
        found: set[str] = set()
        try:
            await self._broker.repair(self._places())
        except NotReachable as e:
            log.info("streams cannot be looked at: %s", e)
        except HeadwayError as e:
            found.add(f"NATS: {e}")
        found |= {f"store: {problem}" for problem in (await self._store.facts()).problems}
        for problem in sorted(found - self._said):
            log.warning("%s", problem)
        for problem in sorted(self._said - found):
            log.warning("no longer so: %s", problem)
        self._said = found
        return None
