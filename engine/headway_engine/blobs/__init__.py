"""The blobs port: large bodies by content hash, key `<ns>/<run>/<sha256>` (DECISIONS H2).

A blob is written before the row that names it, so a crash between leaves an orphan, never a broken
reference; deduplication is inside a run only, so that a run can be purged by its prefix. All
methods are safe to repeat and raise `BlobsDown` when the place cannot be reached.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from headway.errors import HeadwayError
from headway.wire import BlobRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

__all__ = ["Blobs", "BlobsDown", "DirectBlobs", "NoBlob", "blob_key", "store_blob"]


class BlobsDown(HeadwayError):
    """The blob store cannot be reached or refuses; nothing was decided, ask again."""

    code = "blobs_down"


class NoBlob(HeadwayError):
    """No blob has this key: it was purged with its run, or never written."""

    code = "no_blob"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"no blob {key[:200]!r}: it was purged with its run, or never written")


class Blobs(Protocol):
    """Where large bodies lie."""

    async def open(self) -> None:
        """Connect, and make the bucket if it is not there; raises BlobsDown."""
        ...

    async def close(self) -> None:
        """Give connections back; idempotent."""
        ...

    async def put(self, key: str, body: bytes) -> None:
        """Durable when it returns. The same key again replaces it (it has the same content)."""
        ...

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The body, or a range of it; past the end = what there is. Raises NoBlob."""
        ...

    async def size(self, key: str) -> int | None:
        """Size in bytes; None = no such blob."""
        ...

    async def delete(self, *prefixes: str) -> int:
        """Remove all blobs whose key begins with one of these; how many there were.

        May read the key of every blob: give many prefixes at once.
        """
        ...

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove the blobs with exactly these keys; those that are not there are no error."""
        ...

    def keys(self, prefix: str, before: datetime | None = None) -> AsyncIterator[str]:
        """Keys that begin so, in no order; `before`: only what was last written before then."""
        ...


@runtime_checkable
class DirectBlobs(Protocol):
    """A place to which others can be let in, for one body each: S3."""

    async def upload_url(self, key: str, size: int, digest: str) -> tuple[str, dict[str, str]]:
        """(URL, headers) of a PUT that stores nothing but this body; empty URL = not wanted.

        Good for a few minutes. `digest`: sha256 hex. Raises BlobsDown.
        """
        ...

    async def digest(self, key: str) -> str | None:
        """The sha256 (hex) of what lies there; None = nothing does. Raises BlobsDown."""
        ...


def blob_key(ns: str, run: str, digest: str) -> str:
    """The key of a body with this sha256 (hex) in this run."""
    return f"{ns}/{run}/{digest}"


async def store_blob(blobs: Blobs, ns: str, run: str, body: bytes) -> BlobRef:
    """Write a body under its hash and return its reference; raises BlobsDown."""
    digest = sha256(body).hexdigest()
    key = blob_key(ns, run, digest)
    await blobs.put(key, body)
    return BlobRef(key, len(body), digest)
