"""Bodies too large to travel inline: into blobs and out of them, straight to S3 if that works."""

from __future__ import annotations

import logging
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from headway.asking import Asking
from headway.direct import Direct
from headway.errors import HeadwayError, Refused, TooLarge
from headway.wire import BLOB_PART, PAYLOAD_LIMIT, BlobRef
from headway.wire.blobs import BlobGet, BlobPart, BlobPut, BlobUrl, SignedPut

if TYPE_CHECKING:
    from headway import bus, config

log = logging.getLogger("headway.client")


class Bodies(Asking):
    """Large payloads, states and results of one client; see `Client`, which has the rest."""

    def __init__(self, connection: bus.Connection, settings: config.Settings) -> None:
        super().__init__(connection, settings)
        self.direct = Direct()
        """Large payloads straight to S3, where that works."""

    async def upload(self, run: str, body: bytes, what: str = "the body") -> BlobRef:
        """Put a large body into blobs, under this (new) run's id. Raises TooLarge, NotReachable."""
        if len(body) > PAYLOAD_LIMIT:
            raise TooLarge(what, len(body), PAYLOAD_LIMIT)
        digest = sha256(body).hexdigest()
        if (ref := await self._put_directly(run, body, digest)) is not None:
            return ref
        upload = secrets.token_hex(8)
        count = max(1, -(-len(body) // BLOB_PART))
        answer = b"null"
        for index in range(count):
            part = BlobPut(
                run=run,
                upload=upload,
                index=index,
                last=index == count - 1,
                data=body[index * BLOB_PART : (index + 1) * BLOB_PART],
                sha256=digest if index == count - 1 else "",
            )
            answer = await self.api("blob-put", part, Raw)
        return msgspec.json.decode(answer, type=BlobRef)

    async def _put_directly(self, run: str, body: bytes, digest: str) -> BlobRef | None:
        """Straight to S3 where that is offered and works; None = send parts."""
        if not self.direct.worth(len(body)):
            return None
        ask = BlobUrl(run, len(body), digest)

        async def sign() -> SignedPut:
            try:
                return await self.api("blob-url", ask, SignedPut)
            except Refused as e:
                if e.code != "not_served":  # an older engine
                    raise
                return SignedPut()

        async def check() -> BlobRef | None:
            try:
                return await self.api("blob-done", ask, BlobRef)
            except Refused as e:
                log.warning("a payload that was uploaded directly is not taken: %s", e)
                return None

        parts = [body[i : i + BLOB_PART] for i in range(0, len(body), BLOB_PART)]
        return await self.direct.put(parts, sign, check)

    async def fetch_blob(self, ref: BlobRef) -> bytes:
        """A body that was too large to travel inline; checked against its hash."""
        body = bytearray()
        while len(body) < ref.size:
            ask = BlobGet(key=ref.key, offset=len(body))
            part = await self.api("blob-get", ask, BlobPart)
            if not part.data:
                break
            body += part.data
        if sha256(body).hexdigest() != ref.sha256:
            raise HeadwayError(f"blob {ref.key} is damaged: its hash differs; see `headway doctor`")
        return bytes(body)
