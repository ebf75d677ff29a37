"""Replay jobs: the plan, its items, and the one engine that works on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.replays import JobItem, JobRow, Plan, PlanItem, SourcesAsk, SourcesPage
    from headway_engine.jobrules import JobFacts

__all__ = ["Jobs"]


class Jobs(Protocol):
    """Replay jobs: the plan, its items, and the one engine that works on each."""

    async def sources(self, ns: str, ask: SourcesAsk) -> SourcesPage:
        """What a plan has to know of a page of runs; raises BadQuery."""
        ...

    async def job_put(self, ns: str, plan: Plan, sha256: str, actor: str) -> None:
        """Record a job of this plan with the ids of its forks, unless there is one already."""
        ...

    async def jobs(self, ns: str, job: str = "") -> list[tuple[JobRow, Plan]]:
        """Newest first, each with its plan (maybe without items); `job`: this one alone."""
        ...

    async def job_items(self, ns: str, job: str, after: int, n: int) -> list[JobItem]:
        """Items in order, those with a number above `after`."""
        ...

    async def jobs_take(self, seconds: float) -> list[tuple[str, Plan, JobFacts]]:
        """Live jobs that this engine holds, or takes since nobody does, for so many seconds.

        (namespace, plan, facts); forks that ended are booked first.
        """
        ...

    async def job_next(
        self, ns: str, job: str, n: int, upto: int
    ) -> list[tuple[int, str, PlanItem]]:
        """(number, id of the fork, item) of the next `n` that wait, none above `upto`."""
        ...

    async def job_given(self, ns: str, job: str, number: int, reason: str = "") -> None:
        """A waiting item was forked, or refused for a reason."""
        ...

    async def job_moved(self, ns: str, job: str, items: Sequence[tuple[int, str]]) -> None:
        """Waiting items whose runs were moved, or not for a reason: (number, reason); they end."""
        ...

    async def job_paced(self, ns: str, job: str, at: datetime) -> None:
        """The pace is used up until then."""
        ...

    async def job_move(
        self,
        ns: str,
        job: str,
        seen: Sequence[str],
        state: str,
        reason: str = "",
        *,
        approve: bool = False,
    ) -> bool:
        """Change the job's state if it is in one of `seen`, and let go of it."""
        ...
