"""Blob stores to test: each kind of place, on the servers of the fixtures."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.blobs.objects import ObjectBlobs
from headway_engine.blobs.s3 import S3Blobs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest

    from headway_engine.blobs import Blobs

BUCKET = "test-blobs"


def blobs_at(place: str, request: pytest.FixtureRequest) -> Blobs:
    """Not opened yet: `memory`, `objects` or `s3`. Call it outside of the loop: servers start."""
    if place == "memory":
        return MemoryBlobs()
    if place == "objects":
        return ObjectBlobs(request.getfixturevalue("connection"), BUCKET)
    server = request.getfixturevalue("s3")
    # One bucket, since each takes several of the small server's volumes.
    return S3Blobs(
        BUCKET,
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        prefix=f"{secrets.token_hex(4)}/",
    )


@asynccontextmanager
async def opened(made: Blobs) -> AsyncGenerator[Blobs]:
    """Opened, and closed in the end; each twice, which must change nothing."""
    await made.open()
    await made.open()
    yield made
    await made.close()
    await made.close()
