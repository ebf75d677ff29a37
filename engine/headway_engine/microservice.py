"""The api as a NATS micro service: `nats micro ls | info | stats headway` find and count it.

Each verb is an endpoint with its own numbers. The requests themselves keep one subscription and one
guard (`control`); nats-py's own service would subscribe once a verb, answer any reply subject and
serve one request at a time. So only its answers' types are used here.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nats.micro.service import (
    EndpointInfo,
    EndpointStats,
    ServiceInfo,
    ServicePing,
    ServiceStats,
    ServiceVerb,
    control_subject,
)

from headway import subjects
from headway._version import __version__
from headway.wire import encode
from headway_engine.strikes import Strikes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from headway_engine.post import Post


NAME = "headway"
DESCRIPTION = "Headway's api: durable runs, their state and their control"


class Numbers:
    """What one verb has done since the engine started."""

    __slots__ = ("errors", "last_error", "nanoseconds", "requests")

    def __init__(self) -> None:
        self.requests = self.errors = self.nanoseconds = 0
        self.last_error = ""

    def count(self, since: int, error: str = "") -> None:
        """One request was answered; `since`: `time.perf_counter_ns` when its turn came."""
        self.requests += 1
        self.nanoseconds += time.perf_counter_ns() - since
        if error:
            self.errors += 1
            self.last_error = error[:300]


class Microservice:
    """Answers the discovery subjects for one engine."""

    def __init__(
        self,
        nc: NatsClient,
        post: Post,
        engine: str,
        verbs: Iterable[str],
        counters: Mapping[str, int],
    ) -> None:
        """`nc`: the connection that hears requests; `engine`: the id of this instance.

        `counters`: what the engine refused and repeated; in STATS as metadata.
        """
        self._counters = counters
        self._nc, self._post, self._engine = nc, post, engine
        self._started = datetime.now(UTC)
        self._subs: list[Subscription] = []
        self.numbers = {verb: Numbers() for verb in sorted(verbs)}
        """By verb; a verb that is not served has none."""
        self.strikes = Strikes("discovery")
        """Requests whose reply was no inbox: never answered."""

    async def open(self) -> None:
        """Listen for PING, INFO and STATS: of all services, of this name, of this engine."""
        answers = {
            ServiceVerb.PING: self.ping,
            ServiceVerb.INFO: self.info,
            ServiceVerb.STATS: self.stats,
        }
        for verb, answer in answers.items():

            async def on_message(msg: Msg, answer: Any = answer) -> None:
                if not subjects.may_answer(msg.reply):
                    self.strikes.add(msg.subject, msg.reply)
                    return
                self._post.put(msg.reply, encode(answer()))

            for name, ident in ((None, None), (NAME, None), (NAME, self._engine)):
                subject = control_subject(verb, name, ident)
                self._subs.append(await self._nc.subscribe(subject, cb=on_message))

    async def close(self) -> None:
        """Be found no more."""
        for sub in self._subs:
            await sub.unsubscribe()
        self._subs.clear()

    def ping(self) -> dict[str, Any]:
        """Who is there."""
        return ServicePing(self._engine, NAME, __version__).to_dict()

    def info(self) -> dict[str, Any]:
        """Where each verb listens: `*` stands for the namespace and the user."""
        endpoints = [
            EndpointInfo(verb, subjects.api_verb(verb), subjects.ENGINE_QUEUE)
            for verb in self.numbers
        ]
        return ServiceInfo(NAME, self._engine, __version__, DESCRIPTION, endpoints).to_dict()

    def stats(self) -> dict[str, Any]:
        """What each verb has done."""
        endpoints = [
            EndpointStats(
                verb,
                subjects.api_verb(verb),
                subjects.ENGINE_QUEUE,
                n.requests,
                n.errors,
                n.nanoseconds,
                n.nanoseconds // max(1, n.requests),
                n.last_error,
            )
            for verb, n in self.numbers.items()
        ]
        counted = {name: str(n) for name, n in self._counters.items()}
        return ServiceStats(
            self._engine, NAME, __version__, self._started, endpoints, counted
        ).to_dict()
