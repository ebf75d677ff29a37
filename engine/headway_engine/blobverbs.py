"""Large bodies of clients: sent in parts or straight to the blob store, and read in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import Refused
from headway.wire import PAYLOAD_LIMIT, BlobRef, decode, decoder
from headway.wire.blobs import BlobGet, BlobPart, BlobPut, BlobUrl, SignedPut
from headway_engine.control import ApiRefused, Asker

if TYPE_CHECKING:
    from headway_engine.blobs import Blobs
    from headway_engine.blobs.uploads import Uploads
    from headway_engine.control import Handler

_BLOB_PUT, _BLOB_GET, _BLOB_URL = decoder(BlobPut), decoder(BlobGet), decoder(BlobUrl)


class BlobVerbs:
    """Bodies of the asker's namespace."""

    def __init__(self, blobs: Blobs, uploads: Uploads) -> None:
        self._blobs, self._uploads = blobs, uploads

    def table(self) -> dict[str, Handler]:
        """Verb to handler."""
        return {
            "blob-put": self._blob_put,
            "blob-get": self._blob_get,
            "blob-url": self._blob_url,
            "blob-done": self._blob_done,
        }

    async def _blob_put(self, asker: Asker, body: bytes) -> BlobRef | dict[str, str]:
        part = decode(_BLOB_PUT, body)
        try:
            ref = await self._uploads.part(
                asker.ns,
                part.run,
                part.upload,
                part.index,
                part.data,
                last=part.last,
                digest=part.sha256,
                limit=PAYLOAD_LIMIT,
            )
        except Refused as e:
            raise ApiRefused(e.code, str(e)) from None
        return ref if ref is not None else {}

    async def _blob_url(self, asker: Asker, body: bytes) -> SignedPut:
        ask = decode(_BLOB_URL, body)
        try:
            return SignedPut(
                *await self._uploads.url(
                    asker.ns, ask.run, ask.size, ask.sha256, limit=PAYLOAD_LIMIT
                )
            )
        except Refused as e:
            raise ApiRefused(e.code, str(e)) from None

    async def _blob_done(self, asker: Asker, body: bytes) -> BlobRef:
        ask = decode(_BLOB_URL, body)
        try:
            return await self._uploads.done(asker.ns, ask.run, ask.size, ask.sha256)
        except Refused as e:
            raise ApiRefused(e.code, str(e)) from None

    async def _blob_get(self, asker: Asker, body: bytes) -> BlobPart:
        ask = decode(_BLOB_GET, body)
        if not ask.key.startswith(f"{asker.ns}/"):
            raise ApiRefused("not_found", "no such blob in this namespace")
        size = await self._blobs.size(ask.key)
        data = await self._blobs.get(ask.key, max(0, ask.offset), ask.length)
        return BlobPart(data, size or 0)
