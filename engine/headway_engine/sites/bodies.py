"""At a hub: large bodies of a site's runs, read over the link from the site, which keeps them.

The hub has no copy: without a link, or when the site has removed the run, there is nothing to read,
and that is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire import decode, decoder
from headway.wire.blobs import BlobGet, BlobPart
from headway_engine.blobs import BlobsDown, NoBlob
from headway_engine.control import ApiRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_engine.blobs import Blobs
    from headway_engine.control import Asker

_GET = decoder(BlobGet)


class Bodies:
    """Answers `blob-get` for a run of a site."""

    def __init__(
        self, at: Callable[[str], Blobs], how_old: Callable[[str], Awaitable[str]]
    ) -> None:
        """`at`: the blob store of a site; `how_old`: in words, what is known of it."""
        self._at, self._how_old = at, how_old

    async def part(self, asker: Asker, body: bytes, site: str) -> BlobPart:
        """A range of one body. Raises ApiRefused."""
        ask = decode(_GET, body)
        if not ask.key.startswith(f"{asker.ns}/"):
            raise ApiRefused("not_found", "no such blob in this namespace")
        blobs = self._at(site)
        try:
            size = await blobs.size(ask.key)
            if size is None:
                raise NoBlob(ask.key)
            data = await blobs.get(ask.key, max(0, ask.offset), ask.length)
        except NoBlob:
            raise ApiRefused(
                "gone",
                f"this body was kept at site {site}, and the site has it no more: it has removed"
                " the run, or keeps large bodies elsewhere (S3)",
            ) from None
        except BlobsDown:
            raise ApiRefused(
                "refused",
                f"this body is kept at site {site}, and it cannot be read over the link now"
                f" ({await self._how_old(site)})",
            ) from None
        return BlobPart(data, size)
