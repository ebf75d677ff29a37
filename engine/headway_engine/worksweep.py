"""Finds dispatches that are not in WORK: never published, or forgotten by the server.

Recovery is a loop over facts: WORK's consumers say how far they are, the stream where it ends, and
the store which runs nobody has claimed. What should lie there and does not is published again; the
claim decides over doubled messages (DECISIONS D2).
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from headway import subjects
from headway.bus import JetStreamRefused, jsapi
from headway.errors import HeadwayError, NotReachable
from headway_engine.service import Ticker
from headway_engine.store.records import LAST_SEQ

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from nats.aio.client import Client as NatsClient

    from headway_engine.credits import Place
    from headway_engine.dispatch import Dispatcher
    from headway_engine.store import Store

log = logging.getLogger("headway.engine")

TICK = 1.0
"""Seconds between looks after a loss."""
SWEEP_EVERY = 30.0
"""Seconds between looks otherwise."""
SETTLED = 3.0
"""Seconds in which a batch is certainly written and noted; once too often does no harm."""
AFTER_LOSS = 8
"""Looks after a loss of WORK, NATS, the store or an engine, and at start: they cover `SETTLED` and
the time in which written batches are gathered (`dispatch.NOTE_EVERY`), with room."""


class WorkSweep(Ticker):
    """Finds dispatches whose messages are gone from WORK, or were never written."""

    name = "work-sweep"

    def __init__(
        self,
        nc: NatsClient,
        dispatcher: Dispatcher,
        store: Store,
        work_created: Callable[[], str],
        places: Callable[[], Iterable[Place]],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        """`look`: see whether WORK was made anew (by another engine, by hand)."""
        super().__init__(SWEEP_EVERY)
        self._look = look
        # An engine that died left what it had given and not published: often this is its successor.
        self._seen, self._closer = "", AFTER_LOSS
        self._nc, self._dispatcher, self._store = nc, dispatcher, store
        self._work_created, self._places = work_created, places

    def after_loss(self) -> None:
        """The store or NATS is back, or an engine is gone: what they were told may be nowhere."""
        self._closer = AFTER_LOSS
        self.wake()

    async def once(self) -> float | None:
        """Ask each consumer for its ack floor, then the store what lies below it unclaimed.

        WORK acknowledges before it writes: a killed server comes back without its last messages,
        so what lies above the stream's end is published again as well.
        """
        with contextlib.suppress(HeadwayError):
            await self._look()
        acked: dict[Place, int] = {}
        for ns, queue in list(self._places()):
            durable = subjects.work_consumer(ns, queue)
            try:
                info = await jsapi(self._nc, f"CONSUMER.INFO.{subjects.WORK}.{durable}")
            except (JetStreamRefused, NotReachable):
                continue
            acked[ns, queue] = int(info["ack_floor"]["stream_seq"])
        older_than = SETTLED if self._closer else SWEEP_EVERY
        written = await self._end_of_work()
        gone = await self._store.undispatched(acked, self._work_created(), older_than, written)
        if self._closer:
            await self._sweep_out(acked)
        if gone:
            log.info("dispatches published again: batches=%d", len(gone))
            self._dispatcher.again(gone)
        if self._seen not in ("", self._work_created()):
            self._closer = AFTER_LOSS
        self._seen = self._work_created()
        self._closer = max(0, self._closer - 1)
        return TICK if self._closer else None

    async def _end_of_work(self) -> int:
        """The last sequence of WORK, as it is now."""
        try:
            info = await jsapi(self._nc, f"STREAM.INFO.{subjects.WORK}")
        except (JetStreamRefused, NotReachable):
            return LAST_SEQ
        return int(info["state"]["last_seq"])

    async def _sweep_out(self, acked: dict[Place, int]) -> None:
        """Take out what nobody will ever deliver.

        A consumer may remember acks of sequences that the stream forgot and gave out again. Such
        messages lie below its ack floor for ever; their runs were found there and published anew.
        """
        for place, floor in acked.items():
            below = {"filter": subjects.work(*place), "seq": floor + 1}
            with contextlib.suppress(HeadwayError):
                await jsapi(self._nc, f"STREAM.PURGE.{subjects.WORK}", below)
