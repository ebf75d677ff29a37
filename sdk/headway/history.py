"""Reads of stored messages by direct get: no consumer is made, so none can leak.

To follow something live: subscribe to the republished subject (`hw.live...`) first, then read the
history, and join both by `Nats-Sequence`.
"""

# ruff: noqa: ASYNC109 - a timeout here ends in a typed error that says what was asked of whom.
from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headway.bus import ask, jsapi, no_answer
from headway.errors import HeadwayError
from headway.natspy import Header

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


API = "$JS.API"
"""Of the server that one is connected to; `$JS.<domain>.API` is that of another one, by a link."""


async def last(
    nc: NatsClient, stream: str, subject: str, *, timeout: float = 5.0, api: str = API
) -> Stored | None:
    """The last stored message under a filter, or None."""
    body = msgspec.json.encode({"last_by_subj": subject})
    msg = await ask(nc, f"{api}.DIRECT.GET.{stream}", body, timeout=timeout)
    if sequence_of(msg):
        return _stored(msg)
    _check_end(stream, msg)
    return None


async def next_after(
    nc: NatsClient, stream: str, subject: str, seq: int, *, timeout: float = 5.0, api: str = API
) -> Stored | None:
    """The first stored message under a filter with a higher sequence, or None."""
    body = msgspec.json.encode({"seq": seq + 1, "next_by_subj": subject})
    msg = await ask(nc, f"{api}.DIRECT.GET.{stream}", body, timeout=timeout, again=True)
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
    api: str = API,
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
                f"{api}.DIRECT.GET.{stream}", msgspec.json.encode(request), reply=inbox
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


async def before(
    nc: NatsClient,
    stream: str,
    subject: str,
    below: int,
    n: int,
    *,
    max_bytes: int = 0,
    timeout: float = 5.0,
) -> tuple[list[Stored], bool]:
    """The last `n` stored messages under a filter with a sequence below one (0: of all).

    Oldest first; and whether there are older ones. `max_bytes`: not many more bytes than that (0:
    no limit). The server reads forwards only, but says how many messages follow: where to begin is
    searched for. Raises as `history`.
    """
    oldest = await _count_from(nc, stream, subject, 1, timeout)
    newest = await last(nc, stream, subject, timeout=timeout)
    if oldest is None or newest is None:
        return [], False
    top = below or newest.seq + 1
    above = (await _count_from(nc, stream, subject, top, timeout) or (0, 0))[1]
    start = await _begin(nc, stream, subject, (oldest, (top, above)), n, timeout)
    found: deque[Stored] = deque()
    size = 0
    read = history(nc, stream, subject, start, batch=n, timeout=timeout)
    async with aclosing(read):
        async for m in read:
            if below and m.seq >= below:
                break
            found.append(m)
            size += len(m.data)
            while len(found) > n or (max_bytes and size > max_bytes and len(found) > 1):
                size -= len(found.popleft().data)
    return list(found), bool(found) and found[0].seq > oldest[0]


async def _begin(
    nc: NatsClient,
    stream: str,
    subject: str,
    ends: tuple[tuple[int, int], tuple[int, int]],
    n: int,
    timeout: float,
) -> int:
    """A sequence from which on there are `n` messages, or not much fewer, up to the upper end.

    `ends`: a sequence at either end, and how many messages there are from it on.
    """
    (low, many), (high, above) = ends
    if many - above <= n:
        return low
    few, turn = above, 0
    while high - low > 1:
        share = (above + n - few) / max(1, many - few) if turn % 2 == 0 else 0.5
        guess = min(high - 1, max(low + 1, high - int((high - low) * share)))
        at, count = await _count_from(nc, stream, subject, guess, timeout) or (guess, 0)
        if count > above + n:
            low, many = max(guess, min(at, high - 1)), count
        elif count <= above + n // 2:
            high, few = guess, count
        else:
            return guess
        turn += 1
    return low if few <= above else high


async def _count_from(
    nc: NatsClient, stream: str, subject: str, seq: int, timeout: float
) -> tuple[int, int] | None:
    """The first message from a sequence on, and how many there are with it; None = none."""
    body = msgspec.json.encode({"batch": 1, "seq": seq, "next_by_subj": subject})
    msg = await ask(nc, f"$JS.API.DIRECT.GET.{stream}", body, timeout=timeout)
    found = sequence_of(msg)
    if not found:
        _check_end(stream, msg)
        return None
    return found, 1 + int((msg.headers or {}).get("Nats-Num-Pending", 0))


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
