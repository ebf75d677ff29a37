"""Large bytes through the engine: what clients send and get on `hw.api`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from headway.wire.fields import RunId


class BlobPut(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`blob-put`: one part of a client's large payload; the last part's answer is the BlobRef."""

    run: RunId
    upload: Annotated[str, Meta(max_length=64)]
    index: int
    last: bool
    data: bytes
    sha256: str = ""


class BlobUrl(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`blob-url`: where to put a client's large payload; `blob-done`: its BlobRef, once checked."""

    run: RunId
    size: Annotated[int, Meta(ge=0)]
    sha256: str


class SignedPut(Struct, omit_defaults=True):
    """The answer of `blob-url`: PUT the body there with these headers. No URL = send parts."""

    url: str = ""
    headers: dict[str, str] = {}


class BlobGet(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`blob-get`: a range of a blob of this namespace; the answer is `{"data": base64}`."""

    key: str
    offset: int = 0
    length: Annotated[int, Meta(ge=1, le=512 * 1024)] = 512 * 1024


class BlobPart(Struct, omit_defaults=True):
    """A piece of a blob."""

    data: bytes
    size: int = 0
    """Of the whole blob."""
