"""The api: requests of clients, CLI and terminal UI on `hw.api.<ns>.<user>.<verb>`.

Any engine answers (one queue group). The broker vouches for the user in the subject, who becomes
the actor of what is done. Answers are envelopes: data, or an error with a code; unknown verbs are
`not_served`. Nothing is answered to a reply that is no inbox of the sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway import subjects
from headway.errors import BadQuery, HeadwayError
from headway.steadynats import settled
from headway.wire import Malformed, encode
from headway.wire.api import ApiAnswer, ApiError
from headway_engine.blobs import BlobsDown, NoBlob
from headway_engine.microservice import Microservice
from headway_engine.service import Service
from headway_engine.store import StoreDown
from headway_engine.strikes import Strikes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg

    from headway_engine.post import Post

    Handler = Callable[["Asker", bytes], Awaitable[Any]]

log = logging.getLogger("headway.engine")

ANSWER_LIMIT = 1000 * 1024
"""Bytes of an answer; the server's limit is 1 MB a message."""
NO_STORE = frozenset({"info", "logs", "metrics", "spans"})
"""Verbs that are answered without the store."""


class ApiRefused(HeadwayError):
    """The request is answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Asker:
    """Who asks."""

    __slots__ = ("ns", "user")

    def __init__(self, ns: str, user: str) -> None:
        self.ns, self.user = ns, user

    @property
    def actor(self) -> str:
        """As it stands in events."""
        return f"user:{self.user}"


class Control(Service):
    """Serves verbs with a few workers; too many waiting = `unavailable`, ask again."""

    name = "control"

    def __init__(
        self,
        nc: NatsClient,
        post: Post,
        verbs: dict[str, Handler],
        engine: str,
        *,
        workers: int = 8,
        capacity: int = 2048,
        store_down: Callable[[], str] = lambda: "",
        counters: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`store_down`: why the store is away; then only `info` and `logs` are served.

        `counters`: what STATS says beside the verbs.
        """
        super().__init__()
        self._nc, self._post, self._verbs = nc, post, verbs
        self._workers, self._store_down = workers, store_down
        self._queue: asyncio.Queue[tuple[str, str, str, str, bytes] | None] = asyncio.Queue(
            capacity
        )
        self._discovery = Microservice(nc, post, engine, verbs, counters)
        self.served = 0
        self._strikes = Strikes("an api request")

    @property
    def strikes(self) -> int:
        """Requests whose reply was no inbox of their sender: dropped, never answered."""
        return self._strikes.count + self._discovery.strikes.count

    async def _on_message(self, msg: Msg) -> None:
        reply = msg.reply
        ns, user, verb = subjects.parse_api(msg.subject)
        if not subjects.may_answer(reply, "client", user):
            self._strikes.add(msg.subject, reply)
            return
        if verb not in NO_STORE and (why := self._store_down()):
            # At once: it must not wait behind those that the store does not answer.
            self._refuse(reply, "unavailable", f"the store does not answer: {why}")
            return
        try:
            self._queue.put_nowait((reply, ns, user, verb, msg.data))
        except asyncio.QueueFull:
            self._refuse(reply, "unavailable", "too many requests wait: ask again in a moment")

    def _refuse(self, reply: str, code: str, message: str, column: int = 0) -> None:
        self._post.put(reply, encode(ApiAnswer(error=ApiError(code, message[:2000], column))))

    def _count(self, verb: str, since: int, error: str = "") -> None:
        if (numbers := self._discovery.numbers.get(verb)) is not None:
            numbers.count(since, error)

    async def run(self) -> None:
        """Hear and serve until stopped."""
        sub = await self._nc.subscribe(
            subjects.API_ANY, queue=subjects.ENGINE_QUEUE, cb=self._on_message
        )
        await self._discovery.open()
        await settled(self._nc)
        self.passed.fire()
        async with asyncio.TaskGroup() as group:
            for i in range(self._workers):
                group.create_task(self._work(), name=f"headway-control-{i}")
            await self.stopping.wait()
            if not self._nc.is_closed:
                with contextlib.suppress(Exception):  # the link may be away
                    await sub.unsubscribe()
                    await self._discovery.close()
            for _ in range(self._workers):
                await self._queue.put(None)

    async def _work(self) -> None:
        while (entry := await self._queue.get()) is not None:
            reply, ns, user, verb, body = entry
            await self._serve(reply, Asker(ns, user), verb, body)
            self.passed.fire()

    async def _serve(self, reply: str, asker: Asker, verb: str, body: bytes) -> None:
        since = time.perf_counter_ns()
        try:
            data = await self._answer(asker, verb, body)
        except HeadwayError as e:
            code = _code_of(e)
            message = f"the store does not answer: {e}" if isinstance(e, StoreDown) else str(e)
            self._refuse(reply, code, message, e.column if isinstance(e, BadQuery) else 0)
            self._count(verb, since, f"{code}: {message}")
        except (ArithmeticError, LookupError, TypeError, ValueError) as e:
            # What one asker sent must not end the api for all.
            log.warning("api %s was refused: %r", verb, e, exc_info=e)
            self._refuse(reply, "bad_request", f"{type(e).__name__}: {e}")
            self._count(verb, since, f"bad_request: {type(e).__name__}")
        else:
            self.served += 1
            self._post.put(reply, encode(ApiAnswer(Raw(data))))
            self._count(verb, since)

    async def _answer(self, asker: Asker, verb: str, body: bytes) -> bytes:
        handler = self._verbs.get(verb)
        if handler is None:
            raise ApiRefused(
                "not_served",
                f"this engine does not serve {verb[:64]!r}; it serves"
                f" {', '.join(sorted(self._verbs))}",
            )
        if not subjects.is_name(asker.ns):
            raise ApiRefused("bad_request", f"bad namespace {asker.ns[:80]!r}")
        data = encode(await handler(asker, body or b"{}"))
        if len(data) > ANSWER_LIMIT:
            raise ApiRefused(
                "too_large",
                f"the answer has {len(data):,} bytes: ask for less"
                " (a smaller page, or events and state by their own verbs)",
            )
        return data


def _code_of(error: HeadwayError) -> str:
    """The api's word for what went wrong."""
    match error:
        case Malformed():
            return "bad_request"
        case StoreDown() | BlobsDown():
            return "unavailable"
        case NoBlob():
            return "not_found"
        case _:
            return error.code
