"""New runs come in: each is recorded once, refused with a reason, or known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.runs import ResultsAnswer
    from headway_engine.store.records import Dispatch, EnqueueOutcome, NewRun

__all__ = ["Intake"]


class Intake(Protocol):
    """New runs come in: each is recorded once, refused with a reason, or known already."""

    async def enqueue(
        self,
        ns: str,
        batch: Sequence[NewRun],
        room: dict[str, tuple[int, int]],
    ) -> tuple[list[EnqueueOutcome], list[Dispatch]]:
        """Record new runs, in one transaction, one outcome per item in order (DECISIONS C).

        The same id and payload again = `again`; the same id with another payload, or a live key
        with another payload = `rejected` (code `conflict`). A key's holder = `duplicate`. An early
        cancel of the id is honoured. `room`: per queue, how many runs (run-isolated, shared) may
        be dispatched at once within this very commit, if the queue has no limits, is not paused
        and has no older runs waiting; these come back as Dispatch, the rest waits for `dispatch`.
        """
        ...

    async def reject(self, ns: str, run: str, code: str, reason: str) -> None:
        """Keep the refusal of an enqueue for 7 days, so that `result()` can raise it."""
        ...

    async def early_cancel(self, ns: str, run: str, actor: str, reason: str) -> None:
        """A cancel of an id that is not known yet: intake honours it (DECISIONS C4)."""
        ...

    async def late_cancels(self, limit: int) -> list[tuple[str, str, str, str]]:
        """Early cancels whose run is recorded and live: (ns, run, actor, reason).

        The enqueue was under way when its cancel came, and did not see it. Such a run is not given
        to an agent; whoever reads this cancels it.
        """
        ...

    async def ends(self, ns: str, runs: Sequence[str]) -> ResultsAnswer:
        """Which of these have ended, and what is known of the others."""
        ...
