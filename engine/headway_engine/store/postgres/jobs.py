"""Replay jobs and their items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway.wire import encode
from headway.wire.replays import JobItem, JobRow, Plan, PlanItem
from headway_engine.jobrules import JobFacts, PlanHead, fork_id, head_of, job_id, moves_only
from headway_engine.store.postgres import statements
from headway_engine.store.postgres.base import Part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_SQL = statements.load("jobs")
_ITEM = msgspec.json.Decoder(PlanItem)


_HEAD = msgspec.json.Decoder(PlanHead)


class Jobs(Part):
    """See the port."""

    async def job_put(self, ns: str, plan: Plan, sha256: str, actor: str) -> None:
        """Record a job of this plan, unless there is one."""
        now = await self.now()
        await self.db.fetch(
            _SQL["put"],
            ns,
            job_id(sha256),
            sha256,
            now,
            actor,
            encode(head_of(plan)),
            [i.checkpoint for i in plan.items],
            [i.run for i in plan.items],
            [fork_id(now, sha256, i.run, plan.mode) for i in plan.items],
            [encode(i) for i in plan.items],
        )

    async def jobs(self, ns: str, job: str = "") -> list[tuple[JobRow, Plan]]:
        """Newest first, each with its plan's head; `job`: this one alone."""
        out: list[tuple[JobRow, Plan]] = []
        for r in await self.db.fetch(_SQL["rows"], ns, job):
            head = _HEAD.decode(r["body"])
            row = JobRow(
                r["job"], r["plan"], r["state"], r["items"], r["at"], head.name, r["actor"],
                r["reason"], r["approved"], r["waiting"], r["running"], r["succeeded"],
                r["failed"], r["ended_at"], head.mode, not moves_only(head),
            )  # fmt: skip
            out.append((row, head))
        return out

    async def job_items(self, ns: str, job: str, after: int, n: int) -> list[JobItem]:
        """Items in order, those with a number above `after`."""
        return [JobItem(*row) for row in await self.db.fetch(_SQL["items"], ns, job, after, n)]

    async def jobs_take(self, seconds: float) -> list[tuple[str, Plan, JobFacts]]:
        """(namespace, plan's head, facts) of the jobs that this engine holds from now on."""
        found: list[tuple[str, Plan, JobFacts]] = []
        for ns, job, paced_at in await self.db.fetch(_SQL["take"], self.engine, seconds):
            await self.db.fetch(_SQL["settle"], ns, job)
            ((row, head),) = await self.jobs(ns, job)
            pace = head.pace
            latest = await self.db.fetch(_SQL["latest"], ns, job, pace.stop_after_failures)
            left = await self.db.fetch(_SQL["open"], ns, job, pace.canary)
            statuses = [r["status"] for r in latest]
            found.append((ns, head, JobFacts(row, pace, paced_at, statuses, left[0]["n"])))
        return found

    async def job_next(
        self, ns: str, job: str, n: int, upto: int
    ) -> list[tuple[int, str, PlanItem]]:
        """(number, id of the fork, item) of the next that wait."""
        return [
            (r["number"], r["fork"], _ITEM.decode(r["body"]))
            for r in await self.db.fetch(_SQL["next"], ns, job, n, upto)
        ]

    async def job_given(self, ns: str, job: str, number: int, reason: str = "") -> None:
        """The item was forked, or refused for a reason."""
        await self.db.fetch(_SQL["given"], ns, job, number, reason[:2000])

    async def job_moved(self, ns: str, job: str, items: Sequence[tuple[int, str]]) -> None:
        """The runs were moved, or not for a reason."""
        numbers, reasons = [number for number, _ in items], [why[:2000] for _, why in items]
        await self.db.fetch(_SQL["moved"], ns, job, numbers, reasons)

    async def job_paced(self, ns: str, job: str, at: datetime) -> None:
        """The pace is used up until then."""
        await self.db.fetch(_SQL["paced"], ns, job, at)

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
        return bool(await self.db.fetch(_SQL["move"], ns, job, list(seen), state, reason, approve))
