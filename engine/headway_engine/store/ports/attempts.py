"""What an attempt saves and reports, the transitions that follow, and their events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.events import Event
    from headway.wire.rpc import MarkRecord
    from headway.wire.saves import AnySave
    from headway_engine.happenings import Told
    from headway_engine.store.records import Outcome, SaveDone

__all__ = ["Attempts"]


class Attempts(Protocol):
    """What an attempt saves and reports, the transitions that follow, and their events."""

    async def load_marks(
        self, ns: str, run: str, epoch: int, after: str
    ) -> tuple[list[MarkRecord], bool]:
        """A page of marks in key order, and whether there are more; none of another namespace."""
        ...

    async def save(self, saves: Sequence[AnySave], ns: Sequence[str] = ()) -> list[SaveDone]:
        """Checkpoints and marks, one conditional statement per kind and batch (DECISIONS A1).

        `ns`: per save the namespace that its sender speaks for (empty: the caller vouches for all);
        a run of another one is as if it did not exist.

        Outcomes: ok (also for a repeat), stale_epoch, conflict (same number or key, other
        content), gap, cancelling (a started mark while CANCELLING), rejected.

        What an attempt has used is recorded beside them, whatever became of it since: the greatest
        total per attempt and model counts.
        """
        ...

    async def commit(self, moves: Sequence[Told]) -> list[Outcome]:
        """Load, decide, write: each run's transition whole or not at all, in order per run.

        One round of I/O per batch; repeated on a lost race. Events, end, marks, key release and
        outbox row are in the same commit. Outcomes besides decide's own: `unknown` (no such run,
        or none of the namespace that the move names), `rejected` (the store cannot take it).
        """
        ...

    async def published(self, events: Sequence[tuple[str, int]]) -> None:
        """RUNS has acknowledged these events of earlier commits: (run, n) each, none left out.

        Their outbox rows go with this engine's next batch, or tick.
        """
        ...

    async def unpublished(self, older_than: float) -> list[tuple[str, str, str, str, list[Event]]]:
        """What no engine has published for so many seconds: (run, ns, task, queue, events)."""
        ...
