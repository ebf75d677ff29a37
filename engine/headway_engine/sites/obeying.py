"""At a site: takes the hub's commands over the link, each once, in their order."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec import Struct

from headway import bus
from headway.errors import HeadwayError
from headway.history import history, last
from headway.subjects import site_api
from headway.wire import Malformed, decode, decoder, encode
from headway_engine.control import Asker
from headway_engine.service import Ticker
from headway_engine.sites.commands import (
    COMMAND,
    DONE,
    ENQUEUE,
    VERBS,
    Answer,
    Command,
    declared_done,
    done_subject,
    down_stream,
)
from headway_engine.store import StoreDown
from headway_engine.streams import ensure_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from nats.aio.client import Client as NatsClient

    from headway.history import Stored
    from headway_engine.control import Handler

EVERY = 1.0
PAGE, PAGE_BYTES = 100, 4 * 1024 * 1024
"""Of commands that are asked for at once."""
PATIENCE = 2.0
"""Seconds that the hub gets to answer: a link may have nobody behind it."""


class _Said(Struct):
    outcome: str = "ok"
    message: str = ""


_SAID = decoder(_Said)


class Obeying(Ticker):
    """One of a site's engines does each command; two of them do none twice that has an answer."""

    name = "hub-commands"

    def __init__(
        self,
        nc: NatsClient,
        site: str,
        hub: str,
        table: dict[str, Handler],
        enqueue: Callable[[Command], Awaitable[Answer]],
        now: Callable[[], datetime],
    ) -> None:
        """`hub`: the JetStream domain of the hub; `table`: the verbs of this site's own api.

        `enqueue`: makes the run of such a command; safe to repeat.
        """
        super().__init__(EVERY)
        self._nc, self._site, self._api = nc, site, site_api(hub)
        self._table, self._enqueue, self._now = table, enqueue, now
        self._seen = 0
        self._declared = False
        self.obeyed = 0

    async def once(self) -> float | None:
        """Take the next page of commands; without a link there is none."""
        try:
            if not self._declared:
                await ensure_stream(self._nc, DONE, declared_done(), [])
                self._declared = True
            page = await self._page()
            for stored in page:
                await self._take(stored.data)
                self._seen = stored.seq
        except StoreDown:
            raise
        except HeadwayError:
            self._seen, self._declared = 0, False  # the link is down: look at all of them again
            return None
        return 0 if page else None

    async def _page(self) -> list[Stored]:
        page: list[Stored] = []
        read = history(
            self._nc,
            down_stream(self._site),
            f"down.{self._site}.*.*",
            self._seen + 1,
            batch=PAGE,
            max_bytes=PAGE_BYTES,
            timeout=PATIENCE,
            api=self._api,
        )
        async with aclosing(read):
            async for stored in read:
                page.append(stored)
                if len(page) == PAGE:
                    break
        return page

    async def _take(self, data: bytes) -> None:
        try:
            command = decode(COMMAND, data)
        except Malformed:
            return
        where = done_subject(self._site, command)
        if command.outcome or await last(self._nc, DONE, where) is not None:
            return
        answer = await self._obey(command)
        await bus.publish_acked(self._nc, where, encode(answer))
        self.obeyed += 1

    async def _obey(self, command: Command) -> Answer:
        if self._now() > command.until:
            return Answer(command.id, "expired", "its time was over when the link was back")
        if command.verb not in (*VERBS, ENQUEUE):
            return Answer(command.id, "not_served", f"{command.verb}: a site does not do that")
        try:
            if command.verb == ENQUEUE:
                return await self._enqueue(command)
            asker = Asker(command.ns, f"{command.user}@hub")
            done = await self._table[command.verb](asker, bytes(command.body))
        except StoreDown:
            raise
        except HeadwayError as e:
            return Answer(command.id, e.code, str(e)[:500])
        said = decode(_SAID, encode(done))
        return Answer(command.id, said.outcome, said.message[:500])
