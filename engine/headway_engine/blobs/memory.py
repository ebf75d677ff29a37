"""Blobs in a dict: for tests, and the reference of the contract suite."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway_engine.blobs import NoBlob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class MemoryBlobs:
    """Gone with the process."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}
        self._written: dict[str, datetime] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do; the bodies stay, so that it can be opened again."""

    async def put(self, key: str, body: bytes) -> None:
        """Keep a copy."""
        self._bodies[key] = bytes(body)
        self._written[key] = datetime.now(UTC)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """A slice of the body."""
        try:
            body = self._bodies[key]
        except KeyError:
            raise NoBlob(key) from None
        return body[offset:] if length is None else body[offset : offset + length]

    async def size(self, key: str) -> int | None:
        """Length of the body."""
        body = self._bodies.get(key)
        return None if body is None else len(body)

    async def delete(self, *prefixes: str) -> int:
        """Forget those."""
        gone = [key for key in self._bodies if key.startswith(prefixes)]
        await self.remove(gone)
        return len(gone)

    async def remove(self, keys: Sequence[str]) -> None:
        """Forget these."""
        for key in keys:
            self._bodies.pop(key, None)

    async def keys(self, prefix: str, before: datetime | None = None) -> AsyncIterator[str]:
        """Keys that begin so."""
        for key in list(self._bodies):
            if key.startswith(prefix) and (before is None or self._written[key] < before):
                yield key
