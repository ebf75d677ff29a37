"""What people and their tools read: one run, pages of runs, their histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire import BlobRef
    from headway.wire.bundles import BundleMark
    from headway.wire.events import Event
    from headway.wire.runs import (
        CheckpointRow,
        Facets,
        FacetsAsk,
        Kin,
        MarkRow,
        Review,
        RunDetail,
        RunsPage,
        RunsQuery,
    )
    from headway.wire.steering import DeadAsk, DeadPage
    from headway_engine.store.forking import ForkSource
    from headway_engine.store.records import Run

__all__ = ["Lists"]


class Lists(Protocol):
    """What people and their tools read: one run, pages of runs, their histories."""

    async def find(self, ns: str, prefix: str) -> list[str]:
        """Run ids that begin so, at most 3."""
        ...

    async def get(self, ns: str, run: str) -> Run | None:
        """The record."""
        ...

    async def detail(self, ns: str, run: str) -> RunDetail | None:
        """Row, payload, result, events, checkpoints, marks."""
        ...

    async def kin(self, ns: str, run: str, failure: str, since: datetime) -> Kin:
        """How many runs have to do with it, each number up to `KIN` and by index.

        `failure`: its class, if it has failed; `since`: alike are those that were made since then.
        """
        ...

    async def events(self, ns: str, run: str, after: int, n: int) -> list[Event]:
        """Events with a number above `after`."""
        ...

    async def state(
        self, ns: str, run: str, number: int
    ) -> tuple[CheckpointRow, bytes, BlobRef | None] | None:
        """One checkpoint with its body; 0 = the last."""
        ...

    async def marks(self, ns: str, run: str) -> list[MarkRow]:
        """Recorded steps, once marks and waits."""
        ...

    async def mark_page(self, ns: str, run: str, after: str, n: int) -> list[BundleMark]:
        """At most `n` marks with a key above `after`, in order of their keys, with values."""
        ...

    async def fork_source(self, ns: str, run: str) -> ForkSource | None:
        """All that a fork reads of the run; the copy itself is part of `enqueue`."""
        ...

    async def runs(self, ns: str, query: RunsQuery) -> RunsPage:
        """A page of the list, in the order of ids; raises BadQuery.

        Its work is bounded: a page may be short, or empty, and still say where it goes on.
        """
        ...

    async def dead(self, ns: str, ask: DeadAsk) -> DeadPage:
        """Failures that nobody has acknowledged, by class; reads those alone, by index."""
        ...

    async def reviews(self, ns: str, runs: Sequence[str]) -> dict[str, Review]:
        """Of these runs those in REVIEW, and what each waits for."""
        ...

    async def facets(self, ns: str, ask: FacetsAsk) -> Facets:
        """The values of some fields and how many runs have each; raises BadQuery.

        Of many runs only the newest are looked at: the answer says so.
        """
        ...

    async def live(self) -> dict[tuple[str, str], int]:
        """Live runs by (namespace, state in lower case), of namespaces with a known queue."""
        ...
