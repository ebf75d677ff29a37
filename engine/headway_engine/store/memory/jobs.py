"""Memory store: replay jobs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.wire.replays import JobItem, JobRow, Plan, PlanItem
from headway_engine.jobrules import LIVE, JobFacts, fork_id, job_id, moves_only
from headway_engine.store.memory.tables import Base

if TYPE_CHECKING:
    from collections.abc import Sequence


class Item(Struct):
    """A row of an item."""

    told: JobItem
    plan: PlanItem
    ended_at: datetime | None = None


class Job(Struct):
    """A row of a job."""

    row: JobRow
    plan: Plan
    items: list[Item]
    paced_at: datetime
    until: datetime
    engine: str = ""


class Jobs(Base):
    """See the port."""

    async def job_put(self, ns: str, plan: Plan, sha256: str, actor: str) -> None:
        """Record a job of this plan, unless there is one."""
        self._check()
        now, job = self._now(), job_id(sha256)
        if (ns, job) in self.tables.jobs:
            return
        forks = [fork_id(now, sha256, i.run, plan.mode) for i in plan.items]
        items = [
            Item(JobItem(k, i.run, fork, "waiting", i.checkpoint), i)
            for k, (i, fork) in enumerate(zip(plan.items, forks, strict=True), 1)
        ]
        row = JobRow(
            job, sha256, "running", len(items), now, plan.name, actor, mode=plan.mode,
            follow=not moves_only(plan),
        )  # fmt: skip
        self.tables.jobs[ns, job] = Job(row, plan, items, now, now)

    async def jobs(self, ns: str, job: str = "") -> list[tuple[JobRow, Plan]]:
        """Newest first, each with its plan; `job`: this one alone."""
        self._check()
        found = [j for (n, name), j in self.tables.jobs.items() if n == ns and job in ("", name)]
        rows = [(_counted(j), j.plan) for j in found]
        rows.sort(key=lambda pair: pair[0].job)
        return sorted(rows, key=lambda pair: pair[0].at, reverse=True)

    async def job_items(self, ns: str, job: str, after: int, n: int) -> list[JobItem]:
        """Items in order, those with a number above `after`."""
        self._check()
        found: Job | None = self.tables.jobs.get((ns, job))
        items = [] if found is None else found.items[after : after + n]
        return [msgspec.structs.replace(i.told) for i in items]

    async def jobs_take(self, seconds: float) -> list[tuple[str, Plan, JobFacts]]:
        """(namespace, plan, facts) of the jobs that this engine holds from now on."""
        self._check()
        found: list[tuple[str, Plan, JobFacts]] = []
        now = self._now()
        for (ns, _), job in sorted(self.tables.jobs.items()):
            if job.engine != self.engine and job.until > now:
                continue
            running = any(i.told.state == "started" for i in job.items)
            if job.row.state not in LIVE and not (running and job.row.state != "done"):
                continue
            job.engine, job.until = self.engine, now + timedelta(seconds=seconds)
            self._settle(job)
            over = [i for i in job.items if i.told.state in ("ended", "refused")]
            over.sort(key=lambda i: (i.ended_at or now, i.told.number), reverse=True)
            pace = job.plan.pace
            left = sum(i.told.state in ("waiting", "started") for i in job.items[: pace.canary])
            latest = [i.told.status for i in over[: pace.stop_after_failures]]
            facts = JobFacts(_counted(job), pace, job.paced_at, latest, left)
            found.append((ns, job.plan, facts))
        return found

    def _settle(self, job: Job) -> None:
        for item in job.items:
            run = self.tables.runs.get(item.told.fork)
            if item.told.state == "started" and run is not None and run.run.ended_at is not None:
                item.told.state, item.told.status = "ended", run.run.state.status
                item.ended_at = run.run.ended_at

    async def job_next(
        self, ns: str, job: str, n: int, upto: int
    ) -> list[tuple[int, str, PlanItem]]:
        """(number, id of the fork, item) of the next that wait."""
        self._check()
        waiting = [i for i in self.tables.jobs[ns, job].items[:upto] if i.told.state == "waiting"]
        return [(i.told.number, i.told.fork, i.plan) for i in waiting[:n]]

    async def job_given(self, ns: str, job: str, number: int, reason: str = "") -> None:
        """The item was forked, or refused for a reason."""
        self._check()
        item = self.tables.jobs[ns, job].items[number - 1]
        if item.told.state == "waiting":
            item.told.state, item.told.reason = ("refused" if reason else "started"), reason
            item.ended_at = self._now() if reason else None

    async def job_moved(self, ns: str, job: str, items: Sequence[tuple[int, str]]) -> None:
        """The runs were moved, or not for a reason."""
        self._check()
        for number, why in items:
            item = self.tables.jobs[ns, job].items[number - 1]
            if item.told.state == "waiting":
                item.told.state, item.told.reason = ("refused" if why else "ended"), why
                item.told.status = "" if why else "done"
                item.ended_at = self._now()

    async def job_paced(self, ns: str, job: str, at: datetime) -> None:
        """The pace is used up until then."""
        self._check()
        self.tables.jobs[ns, job].paced_at = at

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
        """Change the job's state if it is in one of `seen`."""
        self._check()
        found: Job | None = self.tables.jobs.get((ns, job))
        if found is None or found.row.state not in seen:
            return False
        row, now = found.row, self._now()
        row.state, row.reason, row.approved = state, reason, row.approved or approve
        row.ended_at = now if state in ("done", "stopped") else None
        found.engine, found.until, found.paced_at = "", now, max(found.paced_at, now)
        return True


def _counted(job: Job) -> JobRow:
    states = [(i.told.state, i.told.status) for i in job.items]
    succeeded = sum(status in ("succeeded", "done") for _, status in states)
    over = sum(state in ("ended", "refused") for state, _ in states)
    return msgspec.structs.replace(
        job.row,
        waiting=sum(state == "waiting" for state, _ in states),
        running=sum(state == "started" for state, _ in states),
        succeeded=succeeded,
        failed=over - succeeded,
    )
