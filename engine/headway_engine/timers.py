"""Makes runs runnable when their delay, backoff or wait is over; ends those that are overdue.

The store says what is due on its own clock, so nothing is ever early (P6). Between two looks the
service sleeps exactly until the next due time; a commit that schedules something earlier wakes it,
and a look each second finds what other engines scheduled.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from headway import faults
from headway_engine.happenings import Cancel, Due, Overdue
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway_engine.commits import Commits
    from headway_engine.store import Store
    from headway_engine.store.records import Outcome

BATCH = 1000
LONGEST = 1.0
"""Seconds between looks: what another engine scheduled is seen by then."""
_DUE, _OVERDUE = Due(), Overdue()


class DueTimer(Ticker):
    """DELAYED, RETRYING and WAITING runs whose time has come go back to their queues."""

    name = "timers"

    def __init__(self, store: Store, commits: Commits) -> None:
        super().__init__(LONGEST)
        self._store, self._commits = store, commits
        self._next: datetime | None = None
        self.moved = 0

    def told(self, outcomes: Iterable[Outcome]) -> None:
        """Commits: one that schedules something before the next look wakes the service."""
        for outcome in outcomes:
            run = outcome.run
            if run is not None and outcome.events:
                self.scheduled(run.due_at)

    def scheduled(self, due_at: datetime | None) -> None:
        """Something is due then."""
        if due_at is not None and (self._next is None or due_at < self._next):
            self._next = due_at
            self.wake()

    async def once(self) -> float | None:
        """Move what is due; returns the seconds until the next is."""
        self._next = None
        runs, next_due, now = await self._store.due(BATCH)
        if runs:
            if faults.armed:
                await faults.point("engine.timers.found")
            outcomes = await self._commits.move_many([(run, _DUE) for run in runs])
            self.moved += sum(1 for o in outcomes if o.outcome == "ok")
            # More may be due by now, and what could not be moved must not make this loop spin.
            return 0.0 if any(o.outcome == "ok" for o in outcomes) else 0.05
        # Another engine's schedule is not told to this one, hence never longer than a second.
        horizon = now + timedelta(seconds=LONGEST)
        if next_due is None or next_due > horizon:
            self._next = horizon if self._next is None else min(self._next, horizon)
            return LONGEST
        self._next = next_due
        # A hair later than due: the store's clock has the last word, an early look is wasted.
        return max(0.0005, (next_due - now).total_seconds())


class OverdueTimer(Ticker):
    """TTL, deadline, start deadline, the backstop behind the agents' own timeouts.

    And the cancels that crossed their run's enqueue: intake did not see them yet, the cancel did
    not see the run.
    """

    name = "overdue"

    def __init__(self, store: Store, commits: Commits) -> None:
        super().__init__(1.0)
        self._store, self._commits = store, commits

    async def once(self) -> float | None:
        """End what is overdue, and what was cancelled."""
        cancels = await self._store.late_cancels(BATCH)
        if cancels:
            await self._commits.move_many(
                [(run, Cancel(actor, reason), ns) for ns, run, actor, reason in cancels]
            )
        runs = await self._store.overdue(BATCH)
        if not runs:
            return None
        outcomes = await self._commits.move_many([(run, _OVERDUE) for run in runs])
        ended = any(o.outcome == "ok" for o in outcomes)
        return 0.0 if ended and len(runs) >= BATCH else None
