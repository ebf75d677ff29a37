"""At a hub: what was told of a site's run is known before anybody is answered about it.

A copy is told on `hw.live` as soon as this NATS has it, and written into the store a moment later.
Who subscribes in between, and then asks what is stored, must not miss it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from headway import subjects
from headway.errors import HeadwayError
from headway.history import last
from headway_engine.sites.following import origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client as NatsClient

    from headway_engine.service import Service
    from headway_engine.sites import SiteStore

log = logging.getLogger("headway.engine.sites")

WITHIN = 2.0
"""Seconds after which what is known by then has to do; this engine may not be who follows."""
_FIRST, _LONGEST = 0.01, 0.1
"""Seconds between two looks."""


class Catching:
    """Waits until the store has what this NATS has of a run."""

    def __init__(self, nc: NatsClient, store: SiteStore, followers: Mapping[str, Service]) -> None:
        self._nc, self._store, self._followers = nc, store, followers

    async def find(self, ns: str, run: str) -> str:
        """The site that has told of this run, once the store has what it told; empty = none has."""
        told = await asyncio.gather(*(self.up(site, ns, run) for site in self._followers))
        return next((site for site, found in zip(self._followers, told, strict=True) if found), "")

    async def up(self, site: str, ns: str, run: str) -> bool:
        """Wait until the store has what this site has told of the run; False if it has nothing.

        It has what is known when neither NATS nor the store says more in time. Raises StoreDown.
        """
        where = subjects.site_stream(subjects.RUNS, site)
        try:
            found = await last(self._nc, where, subjects.run_all(ns, run), timeout=WITHIN)
        except HeadwayError as e:
            log.warning("what site %s told of run %s cannot be read now: %s", site, run, e)
            return False
        if found is None:
            return False
        seq, pause, waited = origin(found), _FIRST, 0.0
        while waited < WITHIN:
            position = (await self._store.positions()).get(site)
            if position is not None and position.seq >= seq:
                return True
            if position is not None and position.problem:
                return False
            self._followers[site].wake()
            await asyncio.sleep(pause)
            waited += pause
            pause = min(2 * pause, _LONGEST)
        return False
