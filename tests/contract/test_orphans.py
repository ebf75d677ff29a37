"""Blobs of enqueues that were never recorded go after a day; what anything speaks of stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from msgspec import Raw

from headway import subjects
from headway.bus import publish_acked
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.enqueue import EnqueueBatch
from headway_engine.blobs import Blobs, store_blob
from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.orphans import AGE, OWNERS, SKEW, Orphans, place_of
from headway_engine.streams import ensure_streams, oldest
from support.blobplaces import blobs_at, opened
from support.factories import NS, an_enqueue
from support.stores import EdgeKit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.bus import Connection
    from support.stores import Kit

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["objects", "s3"])
def made(request: pytest.FixtureRequest) -> Blobs:
    """Both real places."""
    return blobs_at(request.param, request)


@pytest_asyncio.fixture
async def blobs(made: Blobs) -> AsyncGenerator[Blobs]:
    """Opened."""
    async with opened(made) as blobs:
        yield blobs


async def keys(blobs: Blobs) -> set[str]:
    return {key async for key in blobs.keys("") if not key.startswith(OWNERS)}


async def nothing_waits() -> datetime | None:
    return None


def after(age: timedelta) -> datetime:
    """The time when what was written now is so old."""
    return datetime.now(UTC) + age


async def test_an_upload_without_its_enqueue_goes_after_a_day_and_not_before(
    kit: Kit, blobs: Blobs
) -> None:
    lost, named = new_run_id(), an_enqueue()
    await store_blob(blobs, NS, lost, b"payload")
    await blobs.put(f"{NS}/{lost}/parts/u1/0", b"half an upload")
    kept = await store_blob(blobs, NS, named.run.id, b"payload")
    await kit.enqueued(named)
    foreign = "somebody/elses/file"
    await blobs.put(foreign, b"in a bucket that is shared")
    young = Orphans(kit.store, blobs, lambda: after(AGE - MINUTE), nothing_waits, "db1")
    await young.once()
    assert len(await keys(blobs)) == 4
    old = Orphans(kit.store, blobs, lambda: after(AGE + MINUTE), nothing_waits, "db1")
    await old.once()
    assert await keys(blobs) == {kept.key, foreign}
    assert old.removed == 2


async def test_outcomes_waiting_cancels_and_purges_keep_blobs(kit: Kit) -> None:
    blobs = MemoryBlobs()
    refused, cancelled, lent, lost = (new_run_id() for _ in range(4))
    for run in (refused, cancelled, lent, lost):
        await store_blob(blobs, NS, run, b"payload")
    until = kit.now() + AGE
    first, again = (an_enqueue(key="k", key_until=until, queued_at=kit.now()) for _ in range(2))
    await kit.enqueued(first)
    outcomes, _ = await kit.store.enqueue(NS, [again], {})
    assert outcomes[0].outcome == "duplicate"
    await store_blob(blobs, NS, again.run.id, b"payload")
    await kit.store.reject(NS, refused, "bad_payload", "no")
    await kit.store.early_cancel(NS, cancelled, "user:me", "")
    await kit.store.purge_later(NS, lent, [f"{NS}/{lent}/x"])
    await Orphans(kit.store, blobs, lambda: after(AGE + MINUTE), nothing_waits, "db1").once()
    left = {place[1] for key in await keys(blobs) if (place := place_of(key)) is not None}
    assert left == {again.run.id, refused, cancelled, lent}


async def test_an_enqueue_that_waits_for_the_store_keeps_its_blob_however_long(
    kit: Kit, connection: Connection
) -> None:
    blobs = MemoryBlobs()
    if not isinstance(kit, EdgeKit):  # whose streams are there, on the same server
        await ensure_streams(connection)
    run = new_run_id()
    await store_blob(blobs, NS, run, b"payload")
    body = encode(EnqueueBatch([Raw(b"{}")], "c", ""))
    await publish_acked(connection, subjects.ingest("default"), body)

    async def waits() -> datetime | None:
        return await oldest(connection, subjects.INGEST)

    arrived = await waits()
    assert arrived is not None
    orphans = Orphans(kit.store, blobs, lambda: after(timedelta(days=9)), waits, "db1")
    await orphans.once()
    assert len(await keys(blobs)) == 1
    await connection.jetstream().purge_stream(subjects.INGEST)
    assert await waits() is None
    await orphans.once()
    assert await keys(blobs) == set()
    assert timedelta(hours=1) < SKEW < AGE


async def test_a_bucket_that_another_database_uses_is_never_swept(kit: Kit) -> None:
    blobs = MemoryBlobs()
    await store_blob(blobs, NS, new_run_id(), b"a run of the other database")
    theirs = Orphans(kit.store, blobs, lambda: after(timedelta(0)), nothing_waits, "db2")
    await theirs.once()
    ours = Orphans(kit.store, blobs, lambda: after(AGE + MINUTE), nothing_waits, "db1")
    await ours.once()
    assert len(await keys(blobs)) == 1
    await blobs.delete(f"{OWNERS}db2")
    await ours.once()
    assert await keys(blobs) == set()


@pytest.mark.parametrize("key", ["a", "a/b/c", f"a/{'0' * 26}", "x/y/01/z", f"/{'0' * 26}/x"])
def test_what_is_no_blob_of_a_run_is_left_alone(key: str) -> None:
    assert place_of(key) is None
