"""How far a site's history is at its hub: the hub says it, the site's retention waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from headway import bus
from headway.errors import HeadwayError
from headway.history import last
from headway.subjects import site_api
from headway.wire import Malformed, decode, decoder, encode
from headway_engine.service import Ticker
from headway_engine.sites.commands import down_stream
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

    from headway_engine.sites.records import Position
    from headway_engine.store.records import Shipped

EVERY = 5.0
"""Seconds between two looks at the hub's word."""


class Confirmed(Struct):
    """The hub's word: all of that RUNS up to there is committed in its store."""

    stream: str
    """When the site's RUNS was made: its identity."""
    seq: int


_CONFIRMED = decoder(Confirmed)


@runtime_checkable
class Ships(Protocol):
    """A store whose retention may wait for a hub."""

    holds: bool

    def shipped(self) -> Shipped:
        """How far the hub is."""
        ...

    async def confirm(self, identity: str, seq: int) -> None:
        """The hub has all up to there."""
        ...


def word_subject(site: str) -> str:
    """Where the hub's last word for a site stands, in its stream for that site."""
    return f"down.{site}.confirmed"


class Confirming:
    """At the hub, for one site: says how far it is, when that has changed."""

    def __init__(self, nc: NatsClient, site: str) -> None:
        self._nc, self._site = nc, site
        self._said = -1

    async def say(self, position: Position) -> None:
        """Only what is committed; a word that is lost is said again at the next change."""
        if not position.stream or position.seq == self._said:
            return
        word = encode(Confirmed(position.stream, position.seq))
        await bus.publish_acked(self._nc, word_subject(self._site), word)
        self._said = position.seq


class Homing(Ticker):
    """At a site: hears how far the hub is, and keeps it for its retention."""

    name = "shipping"

    def __init__(self, nc: NatsClient, site: str, hub: str, store: Ships) -> None:
        super().__init__(EVERY)
        self._nc, self._store = nc, store
        self._stream, self._subject = down_stream(site), word_subject(site)
        self._api = site_api(hub)

    async def once(self) -> float | None:
        """Without a link the last word stands."""
        try:
            found = await last(self._nc, self._stream, self._subject, api=self._api)
            word = None if found is None else decode(_CONFIRMED, found.data)
        except (HeadwayError, Malformed) as e:
            if isinstance(e, StoreDown):
                raise
            return None
        if word is not None:
            await self._store.confirm(word.stream, word.seq)
        return None
