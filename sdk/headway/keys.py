"""Keys of a key-value bucket, each with its own time to live: by raw publish, compare-and-set.

nats-py's `kv.create` cannot make an expired key again while its delete marker lives, and its `put`
has no time to live. Here a bucket has no markers (`declared.py`): a key that has expired is as if
it had never been there.
"""

# ruff: noqa: ASYNC109 - a timeout here ends in a typed error that says what was asked of whom.
from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from headway.bus import WrongLast
from headway.fencing import Change, Message, append
from headway.history import last

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient


class Entry(NamedTuple):
    """A key's value."""

    value: bytes
    revision: int


def subject_of(bucket: str, key: str) -> str:
    """Where a key is stored; `key` may hold dots, no wildcards or spaces."""
    return f"$KV.{bucket}.{key}"


async def get(nc: NatsClient, bucket: str, key: str, *, timeout: float = 5.0) -> Entry | None:
    """What the key holds, if anything."""
    found = await last(nc, f"KV_{bucket}", subject_of(bucket, key), timeout=timeout)
    if found is None or found.headers.get("KV-Operation"):
        return None
    return Entry(found.data, found.seq)


async def put(
    nc: NatsClient,
    bucket: str,
    key: str,
    value: bytes,
    revision: int,
    *,
    ttl: float = 0.0,
    timeout: float = 5.0,
) -> int:
    """Write the key if its last revision is this one (0: it is not there); the new revision.

    `ttl`: seconds until it expires, rounded up to whole ones; 0 = never. An ack that was lost is
    found out. Raises WrongLast, NotReachable, QueueFull (the bucket is full), JetStreamRefused.
    """
    subject = subject_of(bucket, key)
    headers = {"Nats-TTL": str(max(1, math.ceil(ttl)))} if ttl else {}
    change = Change(subject, revision, (Message(subject, value, headers),))
    return await append(nc, f"KV_{bucket}", change, timeout=timeout)


async def create(
    nc: NatsClient, bucket: str, key: str, value: bytes, *, ttl: float = 0.0, timeout: float = 5.0
) -> Entry:
    """What the key holds after this: our value if it was free, else that of its holder.

    Ours or not is told by the value: give one that nobody else gives. Raises as `put`.
    """
    while True:
        try:
            return Entry(value, await put(nc, bucket, key, value, 0, ttl=ttl, timeout=timeout))
        except WrongLast:
            # It may expire between the two.
            if (held := await get(nc, bucket, key, timeout=timeout)) is not None:
                return held
