"""Reads of stored messages by direct get: no consumer is made, so none can leak.

To follow something live: subscribe to the republished subject (`hw.live...`) first, then read the
history, and join both by `Nats-Sequence`.
"""

# ruff: noqa: ASYNC109 - a timeout here ends in a typed error that says what was asked of whom.
from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from nats.js.api import Header

from headway.bus import ask, jsapi, no_answer
from headway.errors import HeadwayError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg


class Stored(NamedTuple):
    """One stored message."""

    subject: str
    seq: int
    time: str
    """When it was stored: RFC 3339 UTC with nanoseconds."""
    data: bytes
    headers: Mapping[str, str]


def sequence_of(msg: Msg) -> int:
    """The stream sequence of a republished or directly read message; 0 = a control message."""
    return int((msg.headers or {}).get("Nats-Sequence", 0))


def _stored(msg: Msg) -> Stored:
    h: dict[str, str] = msg.headers or {}
    return Stored(
        h.get("Nats-Subject", ""),
        int(h["Nats-Sequence"]),
        h.get("Nats-Time-Stamp", ""),
        msg.data,
        h,
    )


async def last(nc: NatsClient, stream: str, subject: str, *, timeout: float = 5.0) -> Stored | None:
    """The last stored message under a filter, or None."""
    body = msgspec.json.encode({"last_by_subj": subject})
    msg = await ask(nc, f"$JS.API.DIRECT.GET.{stream}", body, timeout=timeout)
    if sequence_of(msg):
        return _stored(msg)
    _check_end(stream, msg)
    return None


async def next_after(
    nc: NatsClient, stream: str, subject: str, seq: int, *, timeout: float = 5.0
) -> Stored | None:
    """The first stored message under a filter with a higher sequence, or None."""
    body = msgspec.json.encode({"seq": seq + 1, "next_by_subj": subject})
    msg = await ask(nc, f"$JS.API.DIRECT.GET.{stream}", body, timeout=timeout, again=True)
    if sequence_of(msg):
        return _stored(msg)
    _check_end(stream, msg)
    return None


async def history(
    nc: NatsClient,
    stream: str,
    subject: str,
    from_seq: int = 1,
    *,
    batch: int = 500,
    max_bytes: int = 0,
    timeout: float = 5.0,
) -> AsyncGenerator[Stored]:
    """All stored messages under a filter from a sequence on, oldest first.

    `batch`, `max_bytes`: so many messages, or about so many bytes (0: no limit), are asked for at
    once. Raises NotReachable if the server says nothing for `timeout` seconds; go on from the last
    sequence seen plus one.
    """
    inbox = nc.new_inbox()
    arrived: deque[Msg] = deque()
    event = asyncio.Event()

    async def on_message(msg: Msg) -> None:
        arrived.append(msg)
        event.set()

    sub = await nc.subscribe(inbox, cb=on_message)
    try:
        seq, more = max(1, from_seq), True
        while more:
            more = False
            request: dict[str, int | str] = {"batch": batch, "seq": seq, "next_by_subj": subject}
            if max_bytes:
                request["max_bytes"] = max_bytes
            await nc.publish(
                f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(request), reply=inbox
            )
            ended = False
            while not ended:
                if not arrived:
                    event.clear()
                    try:
                        async with asyncio.timeout(timeout):
                            await event.wait()
                    except TimeoutError:
                        raise no_answer(nc, f"a read of {stream}", timeout) from None
                msg = arrived.popleft()
                if sequence_of(msg):
                    stored = _stored(msg)
                    seq = stored.seq + 1
                    yield stored
                else:
                    ended = True
                    more = _check_end(stream, msg)
    finally:
        if not nc.is_closed:
            await sub.unsubscribe()


def _check_end(stream: str, msg: Msg) -> bool:
    """Read the control message that ends a read: True if more is to come."""
    h: dict[str, str] = msg.headers or {}
    status = h.get(Header.STATUS.value, "")
    if status == "404":
        return False
    if status == "204":
        return int(h.get("Nats-Num-Pending", 0)) > 0
    if status == "503":
        raise HeadwayError(f"stream {stream} is not there: run `headway doctor`")
    raise HeadwayError(f"reading {stream}: {status} {h.get(Header.DESCRIPTION.value, '')}")


async def purge(nc: NatsClient, stream: str, subject: str, *, timeout: float = 5.0) -> int:
    """Remove everything under a filter; how many messages went."""
    answer = await jsapi(nc, f"STREAM.PURGE.{stream}", {"filter": subject}, timeout=timeout)
    return int(answer.get("purged", 0))
