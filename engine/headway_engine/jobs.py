"""Jobs: plans of many runs carried out at their pace, by whichever engine holds the job.

A plan forks runs, or changes them: resume, cancel, acknowledge, tag.

A job is held for one lease at a time; after a crash another engine takes it then. Items have their
forks' ids before they are made, so what a dead engine had begun is found, not made twice.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headway import faults, subjects
from headway.errors import Refused
from headway.replays.plans import name_of, read
from headway.tags import Retag
from headway.wire import PAYLOAD_LIMIT, decode, decoder, encode
from headway.wire.replays import (
    ForkAsk,
    JobAsk,
    JobDetail,
    JobRow,
    JobsPage,
    PlanStart,
    SourcesAsk,
    SourcesPage,
)
from headway_engine.blobs import NoBlob
from headway_engine.control import ApiRefused, Asker
from headway_engine.forks import check_ask
from headway_engine.happenings import Acknowledge, Cancel, Resume, Tag
from headway_engine.jobrules import LIVE, OPEN, decide, fork_id, job_id, moves_only, paced
from headway_engine.service import Ticker
from headway_engine.verbs import check_text

if TYPE_CHECKING:
    from headway.wire.replays import Plan
    from headway_engine.blobs import Blobs
    from headway_engine.commits import Commits
    from headway_engine.control import Handler
    from headway_engine.forks import Forks
    from headway_engine.happenings import Happening
    from headway_engine.jobrules import JobFacts
    from headway_engine.post import Post
    from headway_engine.store import Store
    from headway_engine.store.records import Outcome

log = logging.getLogger("headway.engine")

PASS_EVERY = 0.25
IDLE = 1.0
"""Seconds between two looks while there is no job."""
CHUNK = 200
"""Runs that are moved in one commit."""
LOOK_BACK = 50
"""Events of a run among which its being resumed by a job is looked for."""

PAGE_BYTES = 512 * 1024
"""About how many bytes a page of an answer holds."""

_START, _ASK, _SOURCES = decoder(PlanStart), decoder(JobAsk), decoder(SourcesAsk)


class Jobs(Ticker):
    """Carries out the jobs that this engine holds."""

    name = "jobs"

    def __init__(
        self, store: Store, forks: Forks, commits: Commits, post: Post, hold: float = 15.0
    ) -> None:
        """`hold`: seconds for which this engine holds a job without looking at it."""
        super().__init__(IDLE)
        self._hold = hold
        self._store, self._forks, self._post = store, forks, post
        self._commits = commits
        self.started = 0

    async def once(self) -> float | None:
        """One look at each job."""
        held = await self._store.jobs_take(self._hold)
        for ns, plan, facts in held:
            await self._step(ns, plan, facts)
        return PASS_EVERY if held else None

    async def _step(self, ns: str, plan: Plan, facts: JobFacts) -> None:
        now, job = await self._store.now(), facts.row.job
        decision = decide(facts, now)
        if decision.state:
            if await self._store.job_move(ns, job, LIVE, decision.state, decision.reason):
                log.info("job %s: state=%s why=%s", job, decision.state, decision.reason or "-")
        elif decision.start:
            items = await self._store.job_next(ns, job, decision.start, decision.upto)
            # Before they are made: a crash in between makes the job slower, never faster.
            await self._store.job_paced(ns, job, paced(facts, len(items), now))
            if plan.mode != "fork":
                await self._move(ns, plan, facts.row, [(n, item.run) for n, _, item in items])
                items = []
            for number, fork, item in items:
                start = f"#{item.checkpoint}" if item.checkpoint else "start"
                ask = ForkAsk(
                    item.run, fork, start, state=item.state, payload=item.payload,
                    clear=plan.clear, version=plan.image, queue=plan.queue, tags=plan.tags,
                )  # fmt: skip
                await self._store.job_given(ns, job, number, await self._make(ns, ask, facts.row))
                self.started += 1
        await self.beat(ns, job)

    async def _make(self, ns: str, ask: ForkAsk, row: JobRow) -> str:
        """Fork; why not, if it is refused. StoreDown and BlobsDown end the pass: it is repeated."""
        if faults.armed:
            await faults.point("engine.jobs.forking")
        try:
            await self._forks.fork(ns, ask, row.actor, row.job)
        except Refused as e:
            return str(e)
        if faults.armed:
            await faults.point("engine.jobs.forked")
        return ""

    async def _move(self, ns: str, plan: Plan, row: JobRow, items: list[tuple[int, str]]) -> None:
        """Resume, cancel, acknowledge or tag these runs, and book what became of each.

        A crash in between moves the same runs again, which does nothing: one that was cancelled,
        acknowledged or tagged is so already, one that goes on cannot be resumed, and its own event
        tells that it was this job that did it.
        """
        happening = _happening(plan, row.actor)
        for at in range(0, len(items), CHUNK):
            chunk = items[at : at + CHUNK]
            runs = tuple(run for _, run in chunk)
            found = await self._store.sources(ns, SourcesAsk(ids=runs, start="start"))
            known = {source.run for source in found.rows}
            if faults.armed:
                await faults.point("engine.jobs.forking")
            here = [run for run in runs if run in known]
            outcomes = await self._commits.move_many([(run, happening) for run in here])
            if faults.armed:
                await faults.point("engine.jobs.forked")
            why = {run: f"no run {run} in namespace {ns}" for run in runs if run not in known}
            for run, outcome in zip(here, outcomes, strict=True):
                why[run] = await self._refusal(ns, run, outcome, plan, row)
            if moves_only(plan):
                booked = [(number, why[run]) for number, run in chunk]
                await self._store.job_moved(ns, row.job, booked)
            else:
                for number, run in chunk:
                    await self._store.job_given(ns, row.job, number, why[run])
            self.started += len(chunk)

    async def _refusal(self, ns: str, run: str, outcome: Outcome, plan: Plan, row: JobRow) -> str:
        """Why the run was not moved; empty if it was, now or by this job before."""
        if outcome.outcome == "ok" or (outcome.outcome == "already" and plan.mode != "resume"):
            return ""
        record = await self._store.get(ns, run)
        if record is None:
            return f"no run {run} in namespace {ns}"
        if plan.mode == "resume":
            since = max(0, record.n - LOOK_BACK)
            events = await self._store.events(ns, run, since, 2 * LOOK_BACK)
            mine = (e.kind == "resumed" and e.actor == row.actor and e.at >= row.at for e in events)
            if any(mine):
                return ""
        return outcome.message or f"the run is {record.state.status}"

    async def beat(self, ns: str, job: str) -> None:
        """Tell those who follow it how it stands."""
        for row, _ in await self._store.jobs(ns, job):
            self._post.put(subjects.beat_job(ns, job), encode(row))


class JobVerbs:
    """What is asked about jobs."""

    def __init__(self, store: Store, blobs: Blobs, jobs: Jobs) -> None:
        self._store, self._blobs, self._jobs = store, blobs, jobs

    def table(self) -> dict[str, Handler]:
        """Verb to handler."""
        return {
            "jobs": self._list,
            "plan-rows": self._sources,
            "job": self._one,
            "plan-start": self._start,
            "job-approve": self._approve,
            "job-hold": self._hold,
            "job-stop": self._stop,
        }

    async def _list(self, asker: Asker, body: bytes) -> JobsPage:
        return JobsPage([row for row, _ in await self._store.jobs(asker.ns)])

    async def _sources(self, asker: Asker, body: bytes) -> SourcesPage:
        ask = decode(_SOURCES, body)
        if bool(ask.query.strip()) == bool(ask.ids):
            raise ApiRefused("bad_request", "a query, or ids: one of them")
        page = await self._store.sources(asker.ns, ask)
        # Keys may be long: a page always fits a message.
        size = 0
        for i, row in enumerate(page.rows):
            size += 200 + 2 * sum(map(len, row.once)) + sum(2 * len(fn) + 12 for fn in row.again)
            size += 2 * sum(map(len, row.lacks))
            if size > PAGE_BYTES and i:
                page.rows, page.next = page.rows[:i], page.rows[i - 1].run
                break
        return page

    async def _one(self, asker: Asker, body: bytes) -> JobDetail:
        ask = decode(_ASK, body)
        row, plan = await self._known(asker, ask)
        items = await self._store.job_items(asker.ns, ask.job, ask.after, ask.n) if ask.n else []
        return JobDetail(row, items, plan.pace, plan.checks, plan.max_failed)

    async def _known(self, asker: Asker, ask: JobAsk) -> tuple[JobRow, Plan]:
        found = await self._store.jobs(asker.ns, ask.job)
        if not found:
            raise ApiRefused("not_found", f"no job {ask.job} in namespace {asker.ns}")
        return found[0]

    async def _start(self, asker: Asker, body: bytes) -> JobRow:
        ask = decode(_START, body)
        raw = await self._plan(asker, ask)
        if name_of(raw) != ask.sha256:
            raise ApiRefused("bad_request", "the plan differs from its sha256")
        plan = read(raw)
        now = await self._store.now()
        check_text(plan.reason, "reason")
        if plan.reason and plan.mode != "cancel":
            raise ApiRefused("bad_request", "reason: only with mode cancel")
        if plan.mode != "fork":
            _check_moves(plan)
        elif plan.untag:
            raise ApiRefused("bad_request", "untag: only with mode tag")
        for item in plan.items if plan.mode == "fork" else ():
            fork = fork_id(now, ask.sha256, item.run)
            try:
                check_ask(
                    ForkAsk(
                        item.run, fork, state=item.state, payload=item.payload, clear=plan.clear,
                        version=plan.image, tags=plan.tags,
                    )
                )  # fmt: skip
            except Refused as e:
                raise ApiRefused(e.code, f"run {item.run}: {e}") from None
            for edit in (item.state, item.payload):
                if edit is not None and edit.ref is not None:
                    raise ApiRefused("bad_request", f"run {item.run}: a plan holds its edits")
        await self._store.job_put(asker.ns, plan, ask.sha256, asker.actor)
        self._jobs.wake()
        return (await self._known(asker, JobAsk(job_id(ask.sha256))))[0]

    async def _plan(self, asker: Asker, ask: PlanStart) -> bytes:
        ref = ask.ref
        if ref is None:
            return bytes(ask.plan)
        if ref.key != f"{asker.ns}/{ask.run}/{ref.sha256}" or not 0 < ref.size <= PAYLOAD_LIMIT:
            raise ApiRefused("bad_request", "ref: not a plan that was uploaded under this run id")
        try:
            return await self._blobs.get(ref.key)
        except NoBlob as e:
            raise ApiRefused("bad_request", f"ref: {e}") from None

    async def _approve(self, asker: Asker, body: bytes) -> JobRow:
        return await self._move(asker, body, "running", approve=True)

    async def _hold(self, asker: Asker, body: bytes) -> JobRow:
        return await self._move(asker, body, "held")

    async def _stop(self, asker: Asker, body: bytes) -> JobRow:
        return await self._move(asker, body, "stopped")

    async def _move(
        self, asker: Asker, body: bytes, state: str, *, approve: bool = False
    ) -> JobRow:
        ask = decode(_ASK, body)
        reason = "" if approve else f"by {asker.actor}"
        moved = await self._store.job_move(asker.ns, ask.job, OPEN, state, reason, approve=approve)
        row, _ = await self._known(asker, ask)
        if not moved and row.state != state:
            raise ApiRefused("conflict", f"the job is {row.state}")
        await self._jobs.beat(asker.ns, ask.job)
        self._jobs.wake()
        return row


def _happening(plan: Plan, actor: str) -> Happening:
    match plan.mode:
        case "cancel":
            return Cancel(actor, plan.reason)
        case "ack":
            return Acknowledge(actor)
        case "tag":
            return Tag(actor, plan.tags, plan.untag)
        case _:
            return Resume(actor)


def _check_moves(plan: Plan) -> None:
    """A run that is moved is not edited; raises ApiRefused."""
    edits = any(i.state is not None or i.payload is not None or i.checkpoint for i in plan.items)
    tags = plan.mode != "tag" and (plan.tags or plan.untag)
    if edits or plan.clear or plan.image or plan.queue or tags:
        raise ApiRefused("bad_request", f"a plan to {plan.mode} runs changes nothing else of them")
    if plan.mode == "tag" and (flaw := Retag(plan.tags, plan.untag).flaw):
        raise ApiRefused("bad_request", f"tags: {flaw}")
