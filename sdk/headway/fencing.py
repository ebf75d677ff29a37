"""Conditional writes to a stream: stored only if nobody has written since we looked.

The expected number is that of the last message under a filter (`hw.run.<ns>.<run>.>`). It is the
fence of the edge: whatever anybody else appends to the run makes the next write of one who has not
seen it fail with `WrongLast`. Never remove a single message of what is still written: the number of
the one before it would be valid again.

An ack that does not come means *unknown*. Each change carries an id of its own in a header, so that
a repeat which loses against itself is recognised. Ids for deduplication (`Nats-Msg-Id`) are not
used: they cost memory for as long as they work, and they work only for a while.
"""

# ruff: noqa: ASYNC109 - a timeout here ends in a typed error that says what was asked of whom.
from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.bus import JetStreamRefused, PubAck, WrongLast, ask, expect_last, pub_ack
from headway.errors import HeadwayError, NotReachable
from headway.history import next_after
from headway.natspy import nats_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nats.aio.client import Client as NatsClient

WRITE = "Headway-Write"
"""Header: the id of the change that a message belongs to."""
SINGLES = 12
"""Up to so many changes go out by themselves, side by side; more as atomic batches.

A small batch takes longer than one publish, and a hundred in a batch hardly longer than two: every
batch is staged on disk, every message that goes alone is fsynced alone.
"""
BATCH = 500
"""Messages of one atomic batch; the server takes a thousand."""
BATCH_BYTES = 4 * 1024 * 1024

_PAUSE = 0.05
"""Seconds before the same again."""
_INCOMPLETE = 10176
"""A batch of which the server has not heard the beginning: the connection broke in it."""
_CROWDED = 10210
"""Too many batches are open."""


class Message(Struct, frozen=True):
    """What is to be stored on one subject."""

    subject: str
    body: bytes
    headers: dict[str, str] = {}


_numbers = itertools.count(1)
_process = secrets.token_hex(12)


def _fresh() -> str:
    # With the pid: a fork counts on from where we are.
    return f"{_process}-{os.getpid():x}-{next(_numbers):x}"


class Change(Struct, frozen=True):
    """Messages that are stored together, or not at all."""

    over: str
    """The filter whose last message counts."""
    last: int
    """The sequence of that message; 0 = there is none."""
    messages: tuple[Message, ...]
    id: str = msgspec.field(default_factory=_fresh)


class _Answer(Struct):
    seq: int = 0
    count: int = 0


_answer = msgspec.json.Decoder(_Answer)


async def append(nc: NatsClient, stream: str, change: Change, *, timeout: float = 5.0) -> int:
    """Store one change; the sequence of its last message.

    Its first message must be one that stays: by it the change is recognised.

    An ack that was lost is found out, within `timeout` seconds. Raises WrongLast (somebody else has
    written), QueueFull, JetStreamRefused (nothing was stored), or NotReachable: then it may have
    been stored, or be stored yet; the same change may be given here again.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        rest = max(0.05, deadline - loop.time())
        try:
            if len(change.messages) == 1:
                return (await _publish(nc, _headed(change), rest)).seq
            return (await _publish_atomic(nc, list(_headed(change)), rest)).seq
        except WrongLast:
            # Maybe against itself: what was lost on its way back is sent again by `ask` too.
            if seq := await stored(nc, stream, change):
                return seq
            raise
        except NotReachable:
            if loop.time() + _PAUSE >= deadline:
                raise
        except JetStreamRefused as e:
            if e.err_code != _CROWDED or loop.time() + _PAUSE >= deadline:
                raise
        await asyncio.sleep(_PAUSE)


async def stored(nc: NatsClient, stream: str, change: Change) -> int:
    """The sequence of the change's last message if the stream has it; 0 = it has not.

    Only what follows the expected message directly can be ours, whatever came after it. While a
    publish may still be on its way, 0 means *not yet*. Raises NotReachable.
    """
    found = await next_after(nc, stream, change.over, change.last)
    if found is None or found.headers.get(WRITE) != change.id:
        return 0
    # What belongs together was stored without a gap.
    return found.seq + len(change.messages) - 1


async def append_all(
    nc: NatsClient, stream: str, changes: Sequence[Change], *, timeout: float = 5.0
) -> list[int | HeadwayError]:
    """Store changes of different filters, in any order; each change whole or not at all.

    Per change the sequence of its last message, or why it was not stored (as `append` raises). A
    batch of many is refused as a whole if one of its changes is stale: then each goes out alone,
    the good ones are stored and the stale one gets its answer.
    """
    if len(changes) <= SINGLES:
        return await _alone(nc, stream, changes, timeout)
    found: dict[str, int | HeadwayError] = {}
    for batch in _batches(changes):
        found |= zip(
            (c.id for c in batch), await _together(nc, stream, batch, timeout), strict=True
        )
    return [found[c.id] for c in changes]


def _batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """In order, each within the bounds of a batch (but for one change that is larger by itself)."""
    batch: list[Change] = []
    count = size = 0
    for change in changes:
        much = sum(len(m.body) for m in change.messages)
        full = count + len(change.messages) > BATCH or size + much > BATCH_BYTES
        if batch and full:
            yield batch
            batch, count, size = [], 0, 0
        batch.append(change)
        count, size = count + len(change.messages), size + much
    if batch:
        yield batch


async def _alone(
    nc: NatsClient, stream: str, changes: Sequence[Change], timeout: float
) -> list[int | HeadwayError]:
    async def one(change: Change) -> int | HeadwayError:
        try:
            return await append(nc, stream, change, timeout=timeout)
        except HeadwayError as e:
            return e

    if len(changes) == 1:
        return [await one(changes[0])]
    return await asyncio.gather(*map(one, changes))


async def _together(
    nc: NatsClient, stream: str, batch: Sequence[Change], timeout: float
) -> list[int | HeadwayError]:
    """One atomic batch; each alone if it was refused, or if nobody knows."""
    if len(batch) == 1:
        return await _alone(nc, stream, batch, timeout)
    try:
        answer = await _publish_atomic(nc, [m for c in batch for m in _headed(c)], timeout)
    except (WrongLast, NotReachable):
        # Who was in a batch that was stored after all finds that out alone too.
        return await _alone(nc, stream, batch, timeout)
    except JetStreamRefused as e:
        if e.err_code == _CROWDED:
            return await _alone(nc, stream, batch, timeout)
        return [e] * len(batch)
    except HeadwayError as e:  # the stream is full
        return [e] * len(batch)
    at, found = answer.seq - answer.count, list[int | HeadwayError]()
    for change in batch:
        at += len(change.messages)
        found.append(at)
    return found


def _headed(change: Change) -> Iterable[Message]:
    """The messages with their headers; the first one carries the condition for all."""
    own = {WRITE: change.id}
    first, *more = change.messages
    condition = expect_last(change.last, change.over)
    yield Message(first.subject, first.body, {**first.headers, **own, **condition})
    for message in more:
        yield Message(message.subject, message.body, {**message.headers, **own})


async def _publish(nc: NatsClient, messages: Iterable[Message], timeout: float) -> PubAck:
    (message,) = messages
    answer = await ask(
        nc, message.subject, message.body, timeout=timeout, headers=message.headers, again=True
    )
    return pub_ack(message.subject, answer.data)


async def _publish_atomic(nc: NatsClient, messages: Sequence[Message], timeout: float) -> _Answer:
    """All of them, or none. Raises as `append`."""
    batch, url = _fresh(), getattr(nc, "shown_url", "")
    head: Mapping[str, str]
    try:
        for number, message in enumerate(messages[:-1], 1):
            head = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await nc.publish(message.subject, message.body, headers={**message.headers, **head})
    except nats_errors.Error as e:
        raise NotReachable(f"NATS at {url}: {e}") from None
    final = messages[-1]
    head = {
        "Nats-Batch-Id": batch,
        "Nats-Batch-Sequence": str(len(messages)),
        "Nats-Batch-Commit": "1",
    }
    answer = await ask(
        nc,
        final.subject,
        final.body,
        timeout=timeout,
        headers={**final.headers, **head},
        again=True,
    )
    try:
        pub_ack(final.subject, answer.data)
    except JetStreamRefused as e:
        if e.err_code == _INCOMPLETE:
            # The beginning went out on a connection that broke.
            raise NotReachable(f"NATS at {url}: the connection broke within a batch") from None
        raise
    return _answer.decode(answer.data)
