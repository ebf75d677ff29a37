"""Bodies in the blob store that no row names any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway_engine.store.records import Purge

__all__ = ["Blobs"]


class Blobs(Protocol):
    """Bodies in the blob store that no row names any more."""

    async def purges(self, limit: int) -> list[Purge]:
        """Blobs to remove now; no other engine gets them for five minutes.

        Those of a pruned run come a day after its rows went, those of pruned checkpoints an hour.
        A blob that a row still names is not among them. Answer with `purged`.
        """
        ...

    async def purged(self, ids: Sequence[int]) -> None:
        """These were removed."""
        ...

    async def keep_blob(self, ns: str, run: str, key: str) -> bool:
        """This blob is about to be written (again): forget that it was to be removed.

        False = an engine is removing it at this moment: ask again.
        """
        ...

    async def purge_later(self, ns: str, run: str, keys: Sequence[str]) -> None:
        """Remove these in a day, unless a row names them by then."""
        ...

    async def unnamed(self, runs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these (ns, run), those of which no row speaks and none is expected.

        No run, no outcome of an enqueue, no early cancel, no purge to come. Removed runs are among
        them once their blobs were purged.
        """
        ...
