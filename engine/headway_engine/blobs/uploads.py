"""Large bodies: in parts (`blob_put` of agents, `blob-put` of clients), or by a signed URL.

Parts may reach different engines, so they lie in the blob store itself until the last one comes;
any engine puts them together. Repeating a part, or the last one, is safe. Parts of an upload that
was given up lie under `<ns>/<run>/parts/` and go with the run.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from headway.errors import Refused
from headway.wire import BLOB_PART, BlobRef
from headway_engine.blobs import DirectBlobs, NoBlob, blob_key

if TYPE_CHECKING:
    from headway_engine.blobs import Blobs

_DIGEST = re.compile(r"\A[0-9a-f]{64}\Z")
_UPLOAD = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")


class Uploads:
    """Takes parts, gives a reference for the whole."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def url(
        self, ns: str, run: str, size: int, digest: str, *, limit: int
    ) -> tuple[str, dict[str, str]]:
        """(URL, headers) of a PUT of this body alone; empty = send parts.

        Raises Refused (over `limit` bytes, no sha256) and BlobsDown.
        """
        if not 0 <= size <= limit:
            raise Refused(f"{size:,} bytes, at most {limit:,}", "too_large")
        if _DIGEST.match(digest) is None:
            raise Refused("sha256: 64 hex digits", "bad_request")
        if not isinstance(self._blobs, DirectBlobs):
            return "", {}
        return await self._blobs.upload_url(blob_key(ns, run, digest), size, digest)

    async def done(self, ns: str, run: str, size: int, digest: str) -> BlobRef:
        """The reference of a body that was put by its URL: no row may name it before this.

        Raises Refused if it is not there, or is another one (then it is removed), and BlobsDown.
        """
        key = blob_key(ns, run, digest)
        if _DIGEST.match(digest) is None or not isinstance(self._blobs, DirectBlobs):
            raise Refused("nothing was to be put here: send parts", "bad_request")
        found = await self._blobs.size(key)
        if found is None:
            raise Refused("nothing was put there: send parts", "gap")
        if await self._blobs.digest(key) != digest:
            await self._blobs.remove([key])
            raise Refused("what was put there has another sha256: send parts", "conflict")
        return BlobRef(key, found, digest)

    async def part(
        self,
        ns: str,
        run: str,
        upload: str,
        index: int,
        data: bytes,
        *,
        last: bool,
        digest: str,
        limit: int,
    ) -> BlobRef | None:
        """One part, numbered from 0; the last one's answer is the reference of the whole.

        Raises Refused (bad numbers, over `limit` bytes, another hash, a part is missing) and
        BlobsDown. `digest`: sha256 hex of the whole, checked if given.
        """
        if _UPLOAD.match(upload) is None:
            raise Refused("upload: 1 to 64 letters, digits, `_` or `-`", "bad_request")
        if len(data) > BLOB_PART:
            raise Refused(f"a part holds at most {BLOB_PART:,} bytes", "too_large")
        if (
            not 0 <= index <= limit // BLOB_PART + 1
            or index * BLOB_PART + len(data) > limit + BLOB_PART
        ):
            raise Refused(f"more than {limit:,} bytes", "too_large")
        folder = f"{ns}/{run}/parts/{upload}/"
        if not last:
            await self._blobs.put(f"{folder}{index}", data)
            return None
        parts = [data]
        if index:
            try:
                parts = [await self._blobs.get(f"{folder}{i}") for i in range(index)]
            except NoBlob as e:
                # A repeat after the parts were put together: the whole is there already.
                whole = blob_key(ns, run, digest)
                size = await self._blobs.size(whole) if digest else None
                if size is not None:
                    return BlobRef(whole, size, digest)
                number = e.key.rsplit("/", 1)[-1]
                raise Refused(f"part {number} is missing: send all parts again", "gap") from None
            parts.append(data)
        body = b"".join(parts)
        if len(body) > limit:
            raise Refused(f"{len(body):,} bytes, at most {limit:,}", "too_large")
        found = sha256(body).hexdigest()
        if digest and digest != found:
            raise Refused("the parts have another sha256 than the whole", "conflict")
        key = blob_key(ns, run, found)
        await self._blobs.put(key, body)
        if index:
            await self._blobs.remove([f"{folder}{i}" for i in range(index)])
        return BlobRef(key, len(body), found)
