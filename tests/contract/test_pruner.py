"""The pruner takes the blobs of what was pruned, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.ids import encode
from headway_engine.blobs import BlobsDown, store_blob
from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.happenings import Finished
from headway_engine.pruner import Pruner
from support.factories import NS

if TYPE_CHECKING:
    from headway.wire import BlobRef
    from support.stores import Kit


class Shaky(MemoryBlobs):
    """Can be away."""

    away = False

    async def delete(self, *prefixes: str) -> int:
        """Not while it is away."""
        if self.away:
            raise BlobsDown("away")
        return await super().delete(*prefixes)


async def keys(blobs: MemoryBlobs) -> set[str]:
    return {key async for key in blobs.keys("")}


async def test_blobs_follow_their_run_and_others_stay(kit: Kit) -> None:
    session = await kit.ready()
    made = int(kit.now().timestamp() * 1000)
    blobs = Shaky()
    refs: list[BlobRef] = []
    for number in (1, 2):
        run = await kit.attempt(session, id=encode(made, number))
        refs.append(await store_blob(blobs, NS, run.id, b"result"))
        await blobs.put(f"{NS}/{run.id}/parts/u/0", b"of an upload that was given up")
        if number == 1:
            await kit.move(run.id, Finished(run.epoch, ref=refs[0]))
    pruner = Pruner(kit.store, blobs)
    await kit.advance(31 * 86400)
    while await pruner.once() is not None:
        pass
    assert pruner.removed
    assert len(await keys(blobs)) == 4
    await kit.advance(86401)
    blobs.away = True
    assert await pruner.once() is None
    assert len(await keys(blobs)) == 4
    blobs.away = False
    await kit.advance(301)
    assert await pruner.once() is not None
    assert pruner.purged == 1
    left = await keys(blobs)
    assert len(left) == 2
    assert refs[1].key in left
