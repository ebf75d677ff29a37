"""Enqueue requests and their answers.

They travel on `hw.in.<ns>` (stream INGEST), many in one message; answers come by push.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.wire import NOTHING, BlobRef, ErrorInfo, decoder
from headway.wire.fields import Name, Priority, RunId, Seconds, Tags, Text


class EnqueueItem(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One run to be made. `payload` is a JSON object: parameter name to value."""

    run: RunId
    task: Name
    payload: Raw = NOTHING
    payload_ref: BlobRef | None = None
    schema: Text = ""
    """Hash of the payload schema it was checked against; empty = the engine checks it."""
    queue: Name | None = None
    """Instead of the task's own queue."""
    key: Text | None = None
    key_ttl: Seconds = 86400.0
    key_scope: Literal["namespace", "parent"] = "namespace"
    keep_key: bool = False
    """A run that failed keeps its key."""
    priority: Priority = 0
    """Higher goes first."""
    delay: Seconds = 0.0
    at: datetime | None = None
    ttl: Seconds | None = None
    """EXPIRED if not started within that time after it is due."""
    deadline: Seconds | None = None
    """The whole run, from its enqueue."""
    tags: Tags = ()
    limit_key: Text = ""
    """The key of the queue's per-key limit (a tenant, say)."""
    version: Text | None = None
    parent: RunId | None = None
    root: RunId | None = None
    trace: Annotated[str, Meta(max_length=64)] = ""
    """W3C traceparent of the enqueuing span."""


class EnqueueBatch(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of an INGEST message."""

    items: Annotated[list[Raw], Meta(max_length=2000)]
    """EnqueueItems; decoded one by one, so that one bad item fails alone."""
    client: Annotated[str, Meta(max_length=64)] = ""
    reply: Annotated[str, Meta(max_length=160)] = ""
    """Where to answer *recorded* and send results: `hw.reply.<user>.<token>`."""
    want: Literal["recorded", "result"] = "result"
    """`result`: the end of each run is pushed to `reply` as well."""


class Recorded(Struct, frozen=True, omit_defaults=True):
    """The engine's word on one enqueue."""

    run: str
    outcome: Literal["recorded", "duplicate", "rejected"]
    winner: str = ""
    """With `duplicate`: the run that holds the key."""
    code: str = ""
    reason: str = ""


class Ended(Struct, frozen=True, omit_defaults=True):
    """A run has ended. `result` is raw JSON when SUCCEEDED; large ones come as a reference."""

    run: str
    status: str
    result: Raw = NOTHING
    result_ref: BlobRef | None = None
    error: ErrorInfo | None = None


class Answers(Struct, omit_defaults=True):
    """What the engine publishes on `hw.reply.<client>.<token>`: any number of both kinds."""

    recorded: list[Recorded] = []
    ended: list[Ended] = []
    durability: str = ""
    """`fsynced`, `replicated` or `lazy`: what *accepted* is worth on this NATS."""


ENQUEUE = decoder(EnqueueBatch)
ITEM = decoder(EnqueueItem)
ANSWERS = decoder(Answers)
