"""Uploads of large bodies straight to S3, by a URL that the engine signs for one body alone.

The URL is a secret for the minutes that it is good for: it stands in no log and no error. Whoever
cannot reach the store's endpoint sends parts through the engine, as where there is no S3; that is
found out once and remembered for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headway.errors import HeadwayError
from headway.wire import BLOB_PART, BlobRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from headway.wire.blobs import SignedPut

log = logging.getLogger("headway.direct")

CONNECT_TIMEOUT = 3.0
"""Seconds: an endpoint that only the engine can reach often answers nothing at all."""
SEND_TIMEOUT = 30.0
"""Seconds without any progress."""
AGAIN_AFTER = 300.0
"""Seconds until a way that did not work is tried again."""


class UploadFailed(HeadwayError):
    """The body was not stored this way; nothing is known of it but that parts still work."""

    code = "upload_failed"


class Direct:
    """One sender's way to the blob store, and whether it works."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._not_before = float("-inf")
        self.sent = 0
        """Bodies that went this way."""

    def worth(self, size: int) -> bool:
        """One part is one request: only what is larger gains. False too after a failure."""
        return size > BLOB_PART and self._clock() >= self._not_before

    async def put(
        self,
        parts: Sequence[bytes],
        sign: Callable[[], Awaitable[SignedPut]],
        check: Callable[[], Awaitable[BlobRef | None]],
    ) -> BlobRef | None:
        """Store a body; None = send it in parts. Repeating it is safe: its key is its hash.

        `sign` asks the engine for the URL (empty: it has none to give), `check` lets it look at
        what was stored and give the reference (None: that is not what was announced).
        """
        signed = await sign()
        if not signed.url:
            self._not_before = self._clock() + AGAIN_AFTER
            return None
        try:
            await asyncio.to_thread(put_signed, signed.url, signed.headers, parts)
        except UploadFailed as e:
            self._not_before = self._clock() + AGAIN_AFTER
            log.warning("large bodies go through the engine for now: %s", e)
            return None
        ref = await check()
        if ref is not None:
            self.sent += 1
        return ref


def put_signed(url: str, headers: Mapping[str, str], parts: Sequence[bytes]) -> None:
    """PUT the parts as one body; blocks. Raises UploadFailed, whose text holds no secret."""
    # Only who has a large body and an S3 pays for this import.
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    try:
        to = urlsplit(url)
        host, port = to.hostname or "", to.port
    except ValueError:
        raise UploadFailed("the blob store's URL cannot be read") from None
    kind = HTTPSConnection if to.scheme == "https" else HTTPConnection
    where = f"{to.scheme}://{host}:{port}" if port else f"{to.scheme}://{host}"
    try:
        connection = kind(host, port, timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
            connection.sock.settimeout(SEND_TIMEOUT)
            connection.request(
                "PUT",
                f"{to.path}?{to.query}",
                body=iter(parts),
                headers={**headers, "Content-Length": str(sum(map(len, parts)))},
            )
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError) as e:
        raise UploadFailed(f"the blob store at {where}: {type(e).__name__}") from None
    if not 200 <= answer.status < 300:
        raise UploadFailed(f"the blob store at {where} answered {answer.status}")
