"""How many messages of enqueues wait in INGEST: asked of NATS only while there may be some."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from headway import subjects
from headway.errors import HeadwayError
from headway_engine import streams
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from headway.bus import Connection
    from headway_engine.intake import Intake


class Backlog(Ticker):
    """A look once a second, for the eyes."""

    name = "backlog"

    def __init__(self, nc: Connection, intake: Intake) -> None:
        super().__init__(1.0)
        self._nc, self._intake = nc, intake
        self.waiting = 0
        """Messages, those in the hands of engines included."""
        self._pulled = -1

    async def once(self) -> float | None:
        """Ask, unless there were none, none came since, and the store takes what comes."""
        pulled = self._intake.pulled
        if self.waiting or pulled != self._pulled or self._intake.holds:
            with contextlib.suppress(HeadwayError):  # NATS is away: the last number stands
                self.waiting = await streams.waiting(self._nc, subjects.INGEST)
                self._pulled = pulled
        return None
