"""The wire vocabulary: every body that crosses NATS or the channel, as msgspec Structs in JSON.

Two doors (DECISIONS G1): `strict` decoders for untrusted senders (enqueue, api, frames from a
runner) refuse unknown fields; between our own parts unknown fields are ignored. Users' own bodies
(payload, state, result) ride as `Raw` JSON: exact bytes, not decoded on the way; an absent one is
`Raw(b"")` (`NOTHING`). Times are RFC 3339 UTC, durations are seconds, ids upper-case ULIDs.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, TypeVar, overload

import msgspec

from headway.errors import HeadwayError

T = TypeVar("T")

NOTHING = msgspec.Raw(b"")
"""An absent user body."""

PROTOCOL = 1
"""Version of the frames between runner and agent; `hello` negotiates it."""

DEFAULT_QUEUE = "default"
"""The queue of tasks that name none; it always exists."""
INLINE_LIMIT = 128 * 1024
"""User bodies over this go to blobs."""
FRAME_LIMIT = 1024 * 1024
"""Largest frame on the channel."""
BLOB_PART = 512 * 1024
"""Largest piece of a body that travels in parts."""
PAYLOAD_LIMIT = 16 * 1024 * 1024
RESULT_LIMIT = 16 * 1024 * 1024
STEP_LIMIT = 16 * 1024 * 1024
CHECKPOINT_LIMIT = 64 * 1024 * 1024
KEY_LIMIT = 256
"""Characters in the key or name of a step, once mark, wait or checkpoint, and in a tag."""
DEPTH_LIMIT = 500
"""Levels of arrays and objects in a user body. Decoders give up at about 1,000, less what stands
around the body and how deep the caller is: a body that passes here is read everywhere."""
DURATION_LIMIT = 3.2e9
"""Seconds (a hundred years) in anything that becomes a time: no clock or column takes much more."""


Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone: one without cannot be compared with any other."""


class Malformed(HeadwayError):
    """A message could not be decoded; it was refused."""

    code = "malformed"


@overload
def decoder(kind: type[T]) -> msgspec.json.Decoder[T]: ...
@overload
def decoder(kind: Any) -> msgspec.json.Decoder[Any]: ...
def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """A JSON decoder of the type (a Struct, or a tagged union of them)."""
    return msgspec.json.Decoder(kind)


_encoder = msgspec.json.Encoder()
encode = _encoder.encode
encode_into = _encoder.encode_into


def decode(dec: msgspec.json.Decoder[T], body: bytes | memoryview) -> T:
    """Decode, or raise Malformed.

    Bad UTF-8 and deep nesting are not msgspec errors (UnicodeDecodeError, RecursionError): they
    are caught here too.
    """
    try:
        return dec.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"malformed message: {e}"[:500]) from None


_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(c for c in range(256) if c not in b"[]{}")


def too_deep(body: bytes, limit: int = DEPTH_LIMIT) -> bool:
    """True if JSON is nested deeper than `limit` levels. Of what is not JSON it says anything.

    Bodies with few brackets, nearly all, cost two counts; the rest about 1 ms for 100 KiB.
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    left = brackets = _STRINGS.sub(b"", body).translate(None, _NO_BRACKETS)
    for _ in range(8):  # of ordinary bodies nothing is left after a few rounds
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    if not left and limit >= 16:  # a round takes two levels at most
        return False
    depth = 0
    for c in brackets:
        depth += 1 if c in b"[{" else -1
        if depth > limit:
            return True
    return False


def flaw_of_body(body: bytes) -> str:
    """Why a user body that was only skipped, not decoded, may go no further; empty if it may.

    A decoder that skips a body looks at its brackets and quotes alone. Whoever reads it later would
    meet bytes that are no text, or more levels than it can follow.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return "not UTF-8"
    return f"nested deeper than {DEPTH_LIMIT} levels" if too_deep(body) else ""


def clean_text(text: str) -> bool:
    """False if the text holds NUL or a lone surrogate, which no store column can keep."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class BlobRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a large body lies: key `<ns>/<run>/<sha256>` in the blob store, size in bytes."""

    key: str
    size: int
    sha256: str


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as data: type name, message (at most 8 KiB), traceback text (at most 32 KiB)."""

    type: str
    message: str = ""
    traceback: str = ""
