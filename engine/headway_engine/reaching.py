"""Servers that are not there yet are waited for, and what they are reached with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, TypeVar

from headway.config import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_engine.config import NatsConfig

log = logging.getLogger("headway.engine")

T = TypeVar("T")

RETRY_FIRST, RETRY = 0.05, 1.0
"""Seconds between two tries to reach a server at start: at first, and later."""
SAY_EVERY = 10.0
"""Seconds between two lines that say what is awaited."""


def nats_settings(config: NatsConfig, role: str = "") -> Settings:
    """Connection settings of the SDK's layer from our section; `role`: the engine's `answers`."""
    answers = role == "answers" and config.answers_credentials
    return Settings(
        nats_url=config.url,
        credentials=config.answers_credentials if answers else config.credentials,
        tls_ca=config.tls_ca,
        connect_timeout=2.0,
    )


async def until_reached(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    stop: asyncio.Event,
    *errors: type[Exception],
) -> T | None:
    """Try until it works, saying now and then what is awaited; None if stopped meanwhile."""
    loop = asyncio.get_running_loop()
    begun, said, tries = loop.time(), float("-inf"), 0
    while not stop.is_set():
        tries += 1
        try:
            return await attempt()
        except errors as e:
            if loop.time() - said > SAY_EVERY:
                log.warning("waits for %s: tries=%d why=%s", what, tries, e)
                said = loop.time()
        # Servers that are started beside us are there in a moment.
        pause = min(RETRY, max(RETRY_FIRST, 0.3 * (loop.time() - begun)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()
    return None
