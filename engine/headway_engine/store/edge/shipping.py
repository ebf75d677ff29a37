"""Edge store: what a hub has confirmed of RUNS, and what had to go before that.

Where a site waits for its hub, a run past its retention stays until every message of it is in the
hub's store. The disk has the last word: when RUNS is nearly full the oldest go all the same, and
how many went is kept, to be said.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway import subjects
from headway.bus import WrongLast, jsapi
from headway.errors import HeadwayError
from headway.wire import decoder, encode
from headway_engine.store import StoreDown
from headway_engine.store.edge.purging import Purging
from headway_engine.store.records import Shipped

if TYPE_CHECKING:
    from datetime import timedelta

KEY = "shipping.home"
FULL = 0.9
"""Of the bytes that RUNS may take: beyond that retention does not wait for the hub."""
ALL = 1 << 62
"""Beyond any sequence."""


_SHIPPED = decoder(Shipped)


class Shipping(Purging):
    """Beside the port: for `sites.shipping`, and for retention."""

    holds: bool
    """Retention waits for the hub."""
    identity: str
    """When this RUNS was made."""
    retention: timedelta

    def shipped(self) -> Shipped:
        """How far the hub is, and what it will never have."""
        return self.settings.value(KEY, _SHIPPED) or Shipped()

    async def confirm(self, identity: str, seq: int) -> None:
        """The hub has all up to there, of the RUNS that was made then. Raises StoreDown.

        The hub's last word counts, also when it is a lower number: then it was set back.
        """
        if identity != self.identity:
            seq = 0
        await self._fresh()
        if self.shipped().seq != seq:
            with contextlib.suppress(WrongLast):  # another engine has heard the same
                await self._keep(replace(self.shipped(), seq=seq))

    def _upto(self) -> int:
        """Runs whose last message is not beyond this may go."""
        return self.shipped().seq if self.holds else ALL

    async def _note_lost(self, count: int) -> None:
        while True:
            found = self.shipped()
            try:
                await self._keep(replace(found, lost=found.lost + count, lost_at=self._now()))
            except WrongLast:
                continue
            return

    async def _keep(self, value: Shipped) -> None:
        await self.settings.put(KEY, encode(value), self.settings.seq(KEY))

    async def _is_full(self) -> bool:
        try:
            info = await jsapi(self.nc, f"STREAM.INFO.{subjects.RUNS}")
        except HeadwayError as e:
            raise StoreDown(f"RUNS is not there: {e}") from None
        most = int(info["config"].get("max_bytes", -1))
        return 0 < most * FULL < int(info["state"]["bytes"])
