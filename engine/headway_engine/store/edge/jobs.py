"""Edge store: replay jobs, in the bucket `headway-settings`.

A job is a head (`job.`), its plan's items as they were given, in parts that fit into messages
(`jobplan.`), and what became of the items, some per key (`jobstep.`). The head is written last, so
a job is there with its whole plan or not at all. Each write is a compare-and-set on what was read.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.bus import WrongLast
from headway.wire import decoder, encode
from headway.wire.replays import JobItem, JobRow, Plan, PlanItem
from headway_engine.jobrules import LIVE, JobFacts, PlanHead, fork_id, head_of, job_id, moves_only
from headway_engine.store import StoreDown
from headway_engine.store.edge.base import ROUNDS
from headway_engine.store.edge.reading import Reading
from headway_engine.store.edge.times import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LISTED = 200
"""Jobs of a list."""
PART = 512 * 1024
"""Bytes of a plan in one message."""
STEPS = 200
"""Items whose state is written together."""
PRUNED = 100
"""Jobs at once."""
GOOD = ("succeeded", "done")
"""Statuses of items that are over as they were meant to be."""


class Job(Struct, omit_defaults=True):
    """The value of `job.<ns>.<job>`."""

    plan: str
    state: str
    items: int
    parts: int
    at: datetime
    until: datetime
    paced_at: datetime
    head: PlanHead
    actor: str = ""
    reason: str = ""
    approved: bool = False
    engine: str = ""
    ended_at: datetime | None = None


class Step(Struct, array_like=True, omit_defaults=True):
    """What became of an item."""

    state: str = "waiting"
    status: str = ""
    reason: str = ""
    ended_at: datetime | None = None


_WAITING = Step()
_JOB, _STEPS = decoder(Job), decoder(list[Step])
_ITEMS = decoder(tuple[PlanItem, ...])


class Jobs(Reading):
    """See the port."""

    # --- what is kept

    def _job(self, ns: str, job: str) -> Job | None:
        return self.settings.value(f"job.{ns}.{job}", _JOB)

    def _plan(self, ns: str, job: str, found: Job) -> tuple[PlanItem, ...]:
        rows = self.settings.rows
        keys = [f"jobplan.{ns}.{job}.{k}" for k in range(found.parts)]
        return _ITEMS.decode(b"".join(rows[key].body for key in keys))

    def _known_steps(self, ns: str, job: str, page: int) -> list[Step]:
        return self.settings.value(f"jobstep.{ns}.{job}.{page}", _STEPS) or []

    def _steps(self, ns: str, job: str, found: Job) -> Iterator[tuple[int, Step]]:
        """(number, what became of it) of each item, in order."""
        for first in range(0, found.items, STEPS):
            known = self._known_steps(ns, job, first // STEPS)
            for k in range(min(STEPS, found.items - first)):
                yield first + k + 1, known[k] if k < len(known) else _WAITING

    async def _set(
        self, ns: str, job: str, change: Callable[[Job], Job | None], *, fresh: bool = True
    ) -> bool:
        """Write what `change` makes of the head; False = it wants nothing, or there is no job."""
        if fresh:
            await self._fresh()
        key = f"job.{ns}.{job}"
        for _ in range(ROUNDS):
            found = self._job(ns, job)
            new = None if found is None else change(msgspec.structs.replace(found))
            if new is None:
                return False
            try:
                await self.settings.put(key, encode(new), self.settings.seq(key))
            except WrongLast:
                continue
            return True
        raise StoreDown(f"job {job} is written to all the time")

    async def _step(self, ns: str, job: str, changes: dict[int, Callable[[Step], Step]]) -> None:
        """Change items, by their numbers."""
        pages: dict[int, dict[int, Callable[[Step], Step]]] = {}
        for number, change in changes.items():
            page, place = divmod(number - 1, STEPS)
            pages.setdefault(page, {})[place] = change
        for page, wanted in pages.items():
            key = f"jobstep.{ns}.{job}.{page}"
            for _ in range(ROUNDS):
                steps = list(self._known_steps(ns, job, page))
                steps += [_WAITING] * (max(wanted) + 1 - len(steps))
                new = [wanted[k](s) if k in wanted else s for k, s in enumerate(steps)]
                if new == steps:
                    break
                try:
                    await self.settings.put(key, encode(new), self.settings.seq(key))
                except WrongLast:
                    continue
                break
            else:
                raise StoreDown(f"job {job} is written to all the time")

    # --- the port

    async def job_put(self, ns: str, plan: Plan, sha256: str, actor: str) -> None:
        """Record a job of this plan, unless there is one."""
        await self._fresh()
        job, now = job_id(sha256), self._now()
        if self._job(ns, job) is not None:
            return
        body = encode(plan.items)
        parts = [body[at : at + PART] for at in range(0, len(body), PART)]
        new = Job(
            sha256, "running", len(plan.items), len(parts), now, now, now, head_of(plan), actor
        )
        # The same plan has the same parts, so what a crash left behind, or somebody else wrote in
        # this moment, is as good as ours.
        for k, part in enumerate(parts):
            await self._put_once(f"jobplan.{ns}.{job}.{k}", part)
        await self._put_once(f"job.{ns}.{job}", encode(new))

    async def _put_once(self, key: str, body: bytes) -> None:
        for _ in range(ROUNDS):
            if key in self.settings.rows:
                return
            try:
                await self.settings.put(key, body, self.settings.seq(key))
            except WrongLast:
                continue
            return
        raise StoreDown(f"{key} is written to all the time")

    async def jobs(self, ns: str, job: str = "") -> list[tuple[JobRow, Plan]]:
        """Newest first, each with its plan's head; `job`: this one alone."""
        await self._fresh()
        names = [job] if job else self._names(ns)
        rows = [
            (self._counted(ns, name, found), found.head)
            for name in names
            if (found := self._job(ns, name)) is not None
        ]
        rows.sort(key=lambda pair: pair[0].job)
        rows.sort(key=lambda pair: pair[0].at, reverse=True)
        return list(rows[:LISTED])

    def _names(self, ns: str) -> list[str]:
        prefix = f"job.{ns}."
        return [key.removeprefix(prefix) for key, _ in self.settings.under(prefix)]

    def _counted(self, ns: str, name: str, job: Job) -> JobRow:
        waiting = running = succeeded = over = 0
        for _, step in self._steps(ns, name, job):
            waiting += step.state == "waiting"
            running += step.state == "started"
            over += step.state in ("ended", "refused")
            succeeded += step.status in GOOD
        return JobRow(
            name, job.plan, job.state, job.items, job.at, job.head.name, job.actor, job.reason,
            job.approved, waiting, running, succeeded, over - succeeded, job.ended_at,
            job.head.mode, not moves_only(job.head),
        )  # fmt: skip

    async def job_items(self, ns: str, job: str, after: int, n: int) -> list[JobItem]:
        """Items in order, those with a number above `after`."""
        await self._fresh()
        found = self._job(ns, job)
        if found is None:
            return []
        plan = self._plan(ns, job, found)
        steps = [(k, s) for k, s in self._steps(ns, job, found) if after < k <= after + n]
        return [
            JobItem(
                number, item.run, self._fork(found, item), step.state, item.checkpoint,
                step.status, step.reason,
            )
            for number, step in steps
            for item in (plan[number - 1],)
        ]  # fmt: skip

    def _fork(self, job: Job, item: PlanItem) -> str:
        return fork_id(job.at, job.plan, item.run, job.head.mode)

    async def jobs_take(self, seconds: float) -> list[tuple[str, Plan, JobFacts]]:
        """(namespace, plan's head, facts) of the jobs that this engine holds from now on."""
        await asyncio.gather(self._lately(), self.settings.lately(self.lately))
        if self.journal.behind:  # what they have made is not all known yet
            return []
        out: list[tuple[str, Plan, JobFacts]] = []
        places = [key.split(".", 2)[1:] for key, _ in self.settings.under("job.")]
        for ns, name in places:
            if not await self._take(ns, name, seconds):
                continue
            await self._book_ends(ns, name)
            job = self._job(ns, name)
            if job is None:
                continue
            pace, steps = job.head.pace, list(self._steps(ns, name, job))
            over = [(s.ended_at or self._now(), k, s.status) for k, s in steps if _is_over(s)]
            over.sort(reverse=True)
            left = sum(not _is_over(s) for _, s in steps[: pace.canary])
            latest = [status for _, _, status in over[: pace.stop_after_failures]]
            row = self._counted(ns, name, job)
            out.append((ns, job.head, JobFacts(row, pace, job.paced_at, latest, left)))
        return out

    async def _take(self, ns: str, name: str, seconds: float) -> bool:
        """Hold the job; False = it needs nobody, or another engine holds it."""
        now, hold = self._now(), timedelta(seconds=seconds)

        def may(job: Job) -> bool:
            if job.engine != self.engine and job.until > now:
                return False
            started = any(s.state == "started" for _, s in self._steps(ns, name, job))
            return job.state in LIVE or (started and job.state != "done")

        def take(job: Job) -> Job | None:
            if not may(job):
                return None
            job.engine, job.until = self.engine, now + hold
            return job

        job = self._job(ns, name)
        if job is None or not may(job):
            return False
        # Held long enough yet: a write for each look would be an fsync for each.
        if job.engine == self.engine and job.until - now > hold / 2:
            return True
        return await self._set(ns, name, take, fresh=False)

    async def _book_ends(self, ns: str, name: str) -> None:
        """Book the ends of forks."""
        job = self._job(ns, name)
        if job is None:
            return
        started = [k for k, s in self._steps(ns, name, job) if s.state == "started"]
        if not started:
            return
        plan = self._plan(ns, name, job)
        ends: dict[int, Callable[[Step], Step]] = {}
        for number in started:
            row = self.db.execute(
                "SELECT lower(state), ended_at FROM runs WHERE id = ? AND ended_at IS NOT NULL",
                (self._fork(job, plan[number - 1]),),
            ).fetchone()
            if row is not None:
                ends[number] = _ended(row[0], moment(row[1]))
        await self._step(ns, name, ends)

    async def job_next(
        self, ns: str, job: str, n: int, upto: int
    ) -> list[tuple[int, str, PlanItem]]:
        """(number, id of the fork, item) of the next that wait."""
        await self._fresh()
        found = self._job(ns, job)
        if found is None:
            return []
        steps = self._steps(ns, job, found)
        waiting = [k for k, s in steps if k <= upto and s.state == "waiting"][:n]
        plan = self._plan(ns, job, found) if waiting else ()
        return [(k, self._fork(found, plan[k - 1]), plan[k - 1]) for k in waiting]

    async def job_given(self, ns: str, job: str, number: int, reason: str = "") -> None:
        """The item was forked, or refused for a reason."""
        await self._fresh()
        at = self._now() if reason else None

        def given(step: Step) -> Step:
            if step.state != "waiting":
                return step
            return Step("refused" if reason else "started", "", reason[:2000], at)

        await self._step(ns, job, {number: given})

    async def job_moved(self, ns: str, job: str, items: Sequence[tuple[int, str]]) -> None:
        """The runs were moved, or not for a reason: these items are over."""
        await self._fresh()
        await self._step(ns, job, {number: _moved(why, self._now()) for number, why in items})

    async def job_paced(self, ns: str, job: str, at: datetime) -> None:
        """The pace is used up until then."""

        def paced(found: Job) -> Job:
            found.paced_at = at
            return found

        await self._set(ns, job, paced)

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
        now = self._now()

        def move(found: Job) -> Job | None:
            if found.state not in seen:
                return None
            found.state, found.reason = state, reason
            found.approved = found.approved or approve
            found.ended_at = now if state in ("done", "stopped") else None
            found.engine, found.until, found.paced_at = "", now, max(found.paced_at, now)
            return found

        return await self._set(ns, job, move)

    # --- beside

    def _forked_by(self, ns: str) -> dict[str, str]:
        """Run to the last job that has forked it."""
        jobs = [(job.at, name, job) for name in self._names(ns) if (job := self._job(ns, name))]
        # The newest last; of two made in one moment the one with the smaller name counts.
        jobs.sort(key=lambda j: j[1], reverse=True)
        jobs.sort(key=lambda j: j[0])
        found: dict[str, str] = {}
        for _, name, job in jobs:
            if job.head.mode != "fork":
                continue  # its runs stayed themselves
            steps = self._steps(ns, name, job)
            done = [k for k, s in steps if s.state in ("started", "ended")]
            plan = self._plan(ns, name, job) if done else ()
            found |= {plan[k - 1].run: name for k in done}
        return found

    async def prune(self) -> int:
        """Jobs past retention too: the head first, so that no job is without its plan."""
        count = await super().prune()
        before = self._now() - self.retention
        gone = [
            key.removeprefix("job.")
            for key, _ in self.settings.under("job.")
            if (job := self.settings.value(key, _JOB)).ended_at and job.ended_at < before
        ]
        for place in gone[:PRUNED]:
            for prefix in (f"job.{place}", f"jobplan.{place}.", f"jobstep.{place}."):
                for key, row in list(self.settings.under(prefix)):
                    with contextlib.suppress(WrongLast):  # another engine was faster
                        await self.settings.drop(key, row.seq)
                    count += 1
        return count


def _is_over(step: Step) -> bool:
    return step.state in ("ended", "refused")


def _moved(reason: str, at: datetime) -> Callable[[Step], Step]:
    def move(step: Step) -> Step:
        if step.state != "waiting":
            return step
        return Step("refused", "", reason[:2000], at) if reason else Step("ended", "done", "", at)

    return move


def _ended(status: str, at: datetime | None) -> Callable[[Step], Step]:
    def end(step: Step) -> Step:
        return Step("ended", status, step.reason, at) if step.state == "started" else step

    return end
