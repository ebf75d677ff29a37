"""The postbox: core publishes from code that must not wait (answers, results, stops, hints).

Nothing here is durable: an answer that is lost is asked for again, a result is read from the store.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from headway.bus import publish_all
from headway.fastnats import FastClient
from headway.natspy import nats_errors
from headway_engine.service import Service

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

log = logging.getLogger("headway.engine")

CAPACITY = 50_000
"""Letters that may wait; beyond that they are dropped and counted."""


class Post(Service):
    """Publishes on one connection what was put into it, in order."""

    def __init__(self, nc: NatsClient, name: str) -> None:
        super().__init__()
        self.name = f"post-{name}"
        self._nc = nc
        self.letters: list[tuple[str, bytes]] = []
        """(subject, body) of what waits to be sent."""
        self._event = asyncio.Event()
        self.dropped = 0
        """Letters that could not be sent: the connection was away, or too many waited."""

    def put(self, subject: str, body: bytes) -> None:
        """Send it soon; never waits, never raises."""
        if len(self.letters) >= CAPACITY:
            self.dropped += 1
            return
        self.letters.append((subject, body))
        self._event.set()

    def send(self, letters: list[tuple[str, bytes]]) -> None:
        """`put` each; written before anything else gets its turn if nothing stands in the way."""
        nc = self._nc
        if not self.letters and isinstance(nc, FastClient) and nc.publish_now(letters):
            self.passed.fire()
            return
        for subject, body in letters:
            self.put(subject, body)

    def wake(self) -> None:
        """Look for letters."""
        self._event.set()

    async def run(self) -> None:
        """Send until stopped and empty."""
        while self.letters or not self.stopping.is_set():
            if not self.letters:
                self._event.clear()
                await self._event.wait()
                continue
            letters, self.letters = self.letters, []
            try:
                await publish_all(self._nc, letters)
            except nats_errors.Error:
                await self._send(letters)
            self.passed.fire()

    async def _send(self, letters: list[tuple[str, bytes]]) -> None:
        """One after the other, since one of them cannot be sent; twice is harmless."""
        for subject, body in letters:
            try:
                await self._nc.publish(subject, body)
            except nats_errors.Error as e:
                if not self.dropped:
                    log.warning("post drops letters: subject=%s why=%s", subject, e)
                self.dropped += 1
