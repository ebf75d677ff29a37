"""One suite for all places where blobs can lie."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from headway.bus import jsapi
from headway.errors import Refused
from headway.ids import new_run_id
from headway.wire import BLOB_PART
from headway_engine.blobs import Blobs, BlobsDown, NoBlob, store_blob
from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.blobs.objects import CHUNK, ObjectBlobs
from headway_engine.blobs.s3 import S3Blobs
from headway_engine.blobs.uploads import Uploads
from support.blobplaces import blobs_at, opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.bus import Connection

MIB = 1024 * 1024


@pytest.fixture(params=["memory", "objects", "s3"])
def made(request: pytest.FixtureRequest) -> Blobs:
    """One of each; servers are started outside of the loop."""
    return blobs_at(request.param, request)


@pytest_asyncio.fixture
async def blobs(made: Blobs) -> AsyncGenerator[Blobs]:
    """Opened."""
    async with opened(made) as blobs:
        yield blobs


async def keys(blobs: Blobs, prefix: str = "") -> set[str]:
    return {key async for key in blobs.keys(prefix)}


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * MIB + 17])
async def test_what_was_put_is_got_back_exactly(blobs: Blobs, size: int) -> None:
    body = secrets.token_bytes(size)
    await blobs.put("ns/run/a", body)
    assert await blobs.get("ns/run/a") == body
    assert await blobs.size("ns/run/a") == size


async def test_ranges_join_to_the_whole(blobs: Blobs) -> None:
    body = secrets.token_bytes(2 * MIB + 5)
    await blobs.put("ns/run/a", body)
    step = 300_001
    parts = [await blobs.get("ns/run/a", at, step) for at in range(0, len(body), step)]
    assert b"".join(parts) == body
    assert await blobs.get("ns/run/a", 5) == body[5:]
    assert await blobs.get("ns/run/a", len(body) - 1, 10) == body[-1:]
    assert await blobs.get("ns/run/a", len(body), 10) == b""
    assert await blobs.get("ns/run/a", len(body) + 7, 10) == b""


async def test_an_absent_blob_is_a_typed_error(blobs: Blobs) -> None:
    with pytest.raises(NoBlob, match="ns/run/absent"):
        await blobs.get("ns/run/absent")
    assert await blobs.size("ns/run/absent") is None


async def test_putting_again_is_safe(blobs: Blobs) -> None:
    for _ in range(2):
        await blobs.put("ns/run/a", b"same" * 1000)
    assert await blobs.get("ns/run/a") == b"same" * 1000
    assert await keys(blobs) == {"ns/run/a"}


async def test_a_run_is_purged_by_its_prefix_alone(blobs: Blobs) -> None:
    for key in ("ns/one/a", "ns/one/b", "ns/two/a", "other/one/a"):
        await blobs.put(key, b"x")
    assert await keys(blobs, "ns/") == {"ns/one/a", "ns/one/b", "ns/two/a"}
    assert await blobs.delete("ns/one/") == 2
    assert await blobs.delete("ns/one/") == 0
    assert await keys(blobs) == {"ns/two/a", "other/one/a"}
    with pytest.raises(NoBlob):
        await blobs.get("ns/one/a")
    await blobs.put("ns/three/a", b"x")
    assert await blobs.delete("ns/two/", "ns/three/", "ns/four/") == 2
    assert await keys(blobs) == {"other/one/a"}
    assert await blobs.delete() == 0


async def test_single_blobs_are_removed_by_their_keys(blobs: Blobs) -> None:
    for key in ("ns/run/a", "ns/run/ab", "ns/run/b"):
        await blobs.put(key, b"x")
    await blobs.remove(["ns/run/a", "ns/run/b", "ns/run/absent"])
    assert await keys(blobs) == {"ns/run/ab"}
    await blobs.remove([])


async def test_a_blob_lies_under_its_hash(blobs: Blobs) -> None:
    ref = await store_blob(blobs, "ns", "run", b"body")
    assert ref.key == f"ns/run/{hashlib.sha256(b'body').hexdigest()}"
    assert (ref.size, await blobs.get(ref.key)) == (4, b"body")


async def test_parts_become_one_blob_whoever_takes_them(blobs: Blobs) -> None:
    run, body = new_run_id(), secrets.token_bytes(2 * BLOB_PART + 9)
    digest = hashlib.sha256(body).hexdigest()
    # Each part reaches another engine.
    uploads = [Uploads(blobs) for _ in range(3)]
    parts = [body[i : i + BLOB_PART] for i in range(0, len(body), BLOB_PART)]
    ref = None
    for _ in range(2):  # a lost answer: all parts again
        for i, (u, part) in enumerate(zip(uploads, parts, strict=True)):
            ref = await u.part("ns", run, "u1", i, part, last=i == 2, digest=digest, limit=4 * MIB)
        assert ref is not None
        assert (ref.key, ref.size) == (f"ns/{run}/{digest}", len(body))
    again = await uploads[0].part(
        "ns", run, "u1", 2, parts[2], last=True, digest=digest, limit=4 * MIB
    )
    assert again == ref
    assert await blobs.get(f"ns/{run}/{digest}") == body
    assert await keys(blobs) == {f"ns/{run}/{digest}"}


async def test_bad_uploads_are_refused() -> None:
    uploads, run = Uploads(MemoryBlobs()), new_run_id()

    async def refused(index: int, data: bytes, digest: str = "", name: str = "u") -> str:
        with pytest.raises(Refused) as caught:
            await uploads.part("ns", run, name, index, data, last=True, digest=digest, limit=MIB)
        return caught.value.code

    assert await refused(0, b"x" * (BLOB_PART + 1)) == "too_large"
    assert await refused(9, b"x") == "too_large"
    assert await refused(-1, b"x") == "too_large"
    assert await refused(1, b"x") == "gap"
    assert await refused(0, b"x", digest="00") == "conflict"
    assert await refused(0, b"x", name="../u") == "bad_request"


async def test_objects_of_another_client_are_read_too(connection: Connection) -> None:
    blobs = ObjectBlobs(connection, "test-blobs")
    await blobs.open()
    bucket = await connection.jetstream().object_store("test-blobs")
    body = secrets.token_bytes(700_000)
    await bucket.put("ns/run/foreign", body)
    assert await blobs.get("ns/run/foreign", 10, 400_000) == body[10:400_010]
    # And the other way round: the layout is the standard's.
    await blobs.put("ns/run/ours", body)
    assert (await bucket.get("ns/run/ours")).data == body


async def test_replaced_chunks_do_not_pile_up(connection: Connection) -> None:
    blobs = ObjectBlobs(connection, "test-blobs")
    await blobs.open()
    for _ in range(3):
        await blobs.put("ns/run/a", b"x" * (CHUNK + 1))
    state = (await jsapi(connection, "STREAM.INFO.OBJ_test-blobs"))["state"]
    assert state["messages"] == 3
    await blobs.delete("ns/run/")
    state = (await jsapi(connection, "STREAM.INFO.OBJ_test-blobs"))["state"]
    assert state["messages"] == 0


async def test_an_s3_that_is_away_is_a_typed_error_without_secrets() -> None:
    blobs = S3Blobs(
        "b", endpoint="http://127.0.0.1:1", access_key="AKIASECRET", secret_key="verysecret"
    )
    with pytest.raises(BlobsDown) as caught:
        await blobs.open()
    await blobs.close()
    assert "secret" not in str(caught.value).lower()
