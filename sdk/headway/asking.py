"""Requests to the engine, by one who has a connection: tried again while it is busy."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

import msgspec

from headway import bus, subjects
from headway.errors import HeadwayError, NoSuchRun, NotReachable, ReadOnly, refusal_of
from headway.verbs import READ_VERBS
from headway.wire import decode, encode
from headway.wire.api import API_ANSWER, ApiError, Info

if TYPE_CHECKING:
    from headway import config

T = TypeVar("T")

_BUSY = frozenset({"busy", "unavailable"})


class Asking:
    """The engine's api; see `Client`, which has the rest."""

    def __init__(self, connection: bus.Connection, settings: config.Settings) -> None:
        self.connection, self.settings = connection, settings
        self.namespace = settings.namespace
        self.durability = "unknown"
        """What *accepted* is worth on this NATS; the engine says it (DECISIONS C5)."""

    def may(self, what: str) -> None:
        """Raises ReadOnly for what changes something, where this connection may only look."""
        if self.settings.readonly:
            raise ReadOnly(what, self.settings.context)

    async def api(self, verb: str, body: msgspec.Struct | None, answer_type: type[T]) -> T:
        """A request to the engine. Raises Refused (or a kind of it), NotReachable and ReadOnly.

        `busy` is tried again with jitter until the request timeout is used up; every verb may be
        repeated.
        """
        if verb not in READ_VERBS:
            self.may(verb)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.request_timeout
        subject = subjects.api(self.namespace, self.settings.user, verb)
        data = encode(body) if body is not None else b"{}"
        pause, why = 0.05, ""
        while True:
            rest = max(0.05, deadline - loop.time())
            try:
                msg = await bus.ask(self.connection, subject, data, timeout=rest, again=True)
            except NotReachable:
                if why:  # it said why before it fell silent
                    raise NotReachable(why) from None
                raise
            answer = decode(API_ANSWER, msg.data)
            error = answer.error
            if error is None:
                return msgspec.json.decode(bytes(answer.data) or b"null", type=answer_type)
            if error.code not in _BUSY:
                raise _refusal(error)
            why = f"the engine cannot answer {verb} now: {error.message}; see `headway doctor`"
            pause = min(1.0, pause * 2) * random.uniform(0.7, 1.3)
            if loop.time() + pause > deadline:
                raise NotReachable(why)
            await asyncio.sleep(pause)

    async def info(self) -> Info:
        """Who answers, and how durable its NATS is."""
        info = await self.api("info", None, Info)
        self.durability = info.durability or self.durability
        return info


def _refusal(error: ApiError) -> HeadwayError:
    if error.code in ("not_found", "no_such_run"):
        return NoSuchRun(error.message, error.code)
    return refusal_of(error.code, error.message)
