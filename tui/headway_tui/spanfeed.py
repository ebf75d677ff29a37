"""The spans of one run: what is stored, then what comes; read anew after each reconnect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headway import subjects
from headway.errors import HeadwayError
from headway.wire import Malformed, decode
from headway.wire.events import SPAN_CHUNK
from headway.wire.runs import SpansAsk, SpansPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from headway.wire.events import SpanChunk
    from headway_tui.link import Link

AGAIN = 1.0
"""Seconds before what failed is tried again, and between looks at the connection."""


class SpanFeed:
    """Follows the spans of one run; doubles are its reader's to drop, by their numbers."""

    def __init__(self, link: Link, run: str, on_chunk: Callable[[int, SpanChunk], None]) -> None:
        self._link, self._run, self._on_chunk = link, run, on_chunk

    async def run(self) -> None:
        """Follow until cancelled."""
        link = self._link
        while (client := link.client) is None:
            link.changed.clear()
            await link.changed.wait()
        # Heard before what is stored is read: nothing falls in between.
        sub = await link.hear(subjects.live_span(client.namespace, self._run), self._hear)
        read = 0
        try:
            while True:
                if link.connected and link.lives != read:
                    life = link.lives
                    read = life if await self._stored() else 0
                await asyncio.sleep(AGAIN)
        finally:
            if not client.connection.is_closed:
                await sub.unsubscribe()

    def _hear(self, msg: Msg) -> None:
        self._take(subjects.epoch_of_log(msg.subject), msg.data)

    def _take(self, epoch: int, data: bytes) -> None:
        try:
            self._on_chunk(epoch, decode(SPAN_CHUNK, data))
        except Malformed:
            return

    async def _stored(self) -> bool:
        """Everything that SPANS holds of it; False if nobody answered."""
        after, more = 0, True
        while more:
            try:
                ask = SpansAsk(self._run, after)
                page = await self._link.ask("spans", ask, SpansPage)
            except HeadwayError:
                return False
            for one in page.spans:
                after = one.seq
                self._take(one.epoch, bytes(one.chunk))
            more = page.more
        return True
