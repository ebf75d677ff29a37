"""I17 against the blob store: every reference leads to a body with its size and hash."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from headway_engine.blobs import NoBlob
from headway_engine.orphans import OWNERS, place_of
from headway_ops.verify.bodies import Place, blobs_of
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway_engine.blobs import Blobs
    from headway_ops.verify.facts import History
    from headway_ops.verify.report import Report

AT_ONCE = 8
"""Bodies read at once: a live system reads them too."""
PART = 4 * 1024 * 1024
BATCH = 1000


class Known(Protocol):
    """What is asked of the store about runs that bodies belong to."""

    async def some(self, ids: Sequence[str]) -> tuple[Any, list[History]]:
        """These runs as they are now, those that are there, behind the store's time."""
        ...

    async def unnamed(self, places: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these (namespace, run) the ones that nothing in the store speaks of."""
        ...


class Objects:
    """The bodies of runs in the blob store. All methods raise BlobsDown."""

    def __init__(self, blobs: Blobs, known: Known, report: Report) -> None:
        self._blobs, self._known, self._report = blobs, known, report
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def of(self, page: Sequence[History]) -> None:
        """All bodies of these runs; what is gone is looked up once more in the store."""
        places = [place for h in page for place in blobs_of(h)]
        if not places:
            return
        self._report.count("I17", len(places))
        found = await asyncio.gather(*(self._wrong(p) for p in places))
        wrong = [(p, what) for p, what in zip(places, found, strict=True) if what]
        if not wrong:
            return
        # Retention, or a save under the same name, may have been faster than we.
        _, again = await self._known.some(sorted({p.body.run for p, _ in wrong}))
        still = {p.body for h in again for p in blobs_of(h)}
        for place, what in wrong:
            if place.body in still:
                self._report.add(
                    Violation("I17", place.body.run, f"{place.body.what}: {what}", place.n,
                              place.epoch)
                )  # fmt: skip

    async def _wrong(self, place: Place) -> str:
        body = place.body
        async with self._turns:
            size = await self._blobs.size(body.key)
            if size is None:
                return f"blob {body.key} is gone"
            if size != body.size:
                return f"blob {body.key} has {size} bytes, saved were {body.size}"
            digest = sha256()
            try:
                for at in range(0, size, PART):
                    digest.update(await self._blobs.get(body.key, at, PART))
            except NoBlob:
                return f"blob {body.key} has lost a part"
            if digest.hexdigest() != body.sha256:
                return f"blob {body.key} has the hash {digest.hexdigest()[:12]}"
        return ""

    async def unnamed(self, before: datetime) -> None:
        """Objects older than this that nothing in the store speaks of."""
        owners = [key async for key in self._blobs.keys(OWNERS)]
        if len(owners) > 1:
            self._report.note("I17", "several databases share the bucket: objects that no row"
                              " names are not looked for")  # fmt: skip
            return
        batch: list[str] = []
        async for key in self._blobs.keys("", before):
            batch.append(key)
            if len(batch) >= BATCH:
                await self._look(batch)
                batch = []
        if batch:
            await self._look(batch)

    async def _look(self, keys: list[str]) -> None:
        places = {key: place for key in keys if (place := place_of(key)) is not None}
        self._report.count("I17", len(places))
        if not places:
            return
        lost = await self._known.unnamed(sorted(set(places.values())))
        for key, place in places.items():
            if place in lost:
                self._report.add(Violation("I17", place[1], f"no run speaks of blob {key}"))
