"""Replay jobs on real engines: canary, stop, and engines that die in the middle of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import Raw

from headway import faults, subjects
from headway.ids import new_run_id
from headway.replays.plans import canonical, name_of
from headway.wire import ErrorInfo, rpc
from headway.wire.enqueue import EnqueueItem
from headway.wire.replays import BodyEdit, JobAsk, Pace, Plan, PlanItem, PlanStart
from headway.wire.reports import AttemptFailed, Finished, Report
from headway_ops.verify import Ask, verify
from support.engines import Caller, calling, config_for, running_engine
from support.jobs import dies, reaches, started
from support.stacks import agent_on, stack
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable


def failing(*broken: str) -> Callable[[rpc.Assignment], list[Report]]:
    """Originals fail; forks succeed unless they are of one of these."""

    def script(a: rpc.Assignment) -> list[Report]:
        if bytes(a.payload) == b'{"x":1}' or a.root in broken:
            error = ErrorInfo("ValueError", "no")
            return [AttemptFailed(a.run, a.epoch, "stop", error, retry=False)]
        return [Finished(a.run, a.epoch, Raw(b"1"), size=1)]

    return script


async def failed_runs(caller: Caller, n: int) -> list[str]:
    runs = [new_run_id() for _ in range(n)]
    await caller.send(*(EnqueueItem(r, "noop", Raw(b'{"x":1}')) for r in runs))
    for run in runs:
        await caller.end(run)
    return runs


def fixed(runs: list[str], **pace: Any) -> Plan:
    """Fork them all with a payload that works."""
    items = tuple(PlanItem(r, payload=BodyEdit(patch=Raw(b'{"x":2}'))) for r in runs)
    return Plan(items, "fix", pace=Pace(**({"rate": 100} | pace)))


async def test_a_canary_waits_and_its_approval_starts_the_rest(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.script = failing()
        await agent.start()
        runs = await failed_runs(caller, 6)
        beats: list[dict[str, Any]] = []

        async def beat(msg: Any) -> None:
            beats.append(msgspec.json.decode(msg.data))

        await caller.nc.subscribe(subjects.beat_job("default"), cb=beat)
        plan = fixed(runs, canary=2)
        job = await started(caller, canonical(plan))
        told = await reaches(caller, job, "canary")
        assert [i["state"] for i in told["items"]] == ["ended", "ended", *["waiting"] * 4]
        assert await started(caller, canonical(plan)) == job  # sending it again starts nothing
        await caller.api("job-approve", JobAsk(job))
        told = await reaches(caller, job, "done")
        assert (told["row"]["succeeded"], told["row"].get("failed", 0)) == (6, 0)
        assert {b["job"] for b in beats} == {job}
        assert beats[-1]["state"] == "done"
        detail = await caller.api("run", {"run": told["items"][0]["fork"]})
        assert detail["row"]["origin"] == runs[0]
        assert detail["events"][0]["data"]["job"] == job
        made = (await caller.api("runs", {"query": f"job:{job}"}))["runs"]
        assert {r["run"] for r in made} == {i["fork"] for i in told["items"]}
        assert {r["job"] for r in made} == {job}
        page = await caller.api("jobs")
        assert [j["job"] for j in page["jobs"]] == [job]


async def test_failures_in_a_row_stop_it_and_what_cannot_be_forked_counts(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        agent.script = failing()
        runs = await failed_runs(caller, 5)
        agent.script = failing(*runs)
        plan = fixed([new_run_id(), *runs], stop_after_failures=3, max_in_flight=1)
        job = await started(caller, canonical(plan))
        told = await reaches(caller, job, "stopped")
        assert told["row"]["reason"] == "3 failures in a row"
        assert "no run" in told["items"][0]["reason"]
        assert told["items"][-1]["state"] == "waiting"
        answer = await caller.api_raw("job-approve", JobAsk(job))
        assert answer.error is not None
        assert answer.error.code == "conflict"


async def test_held_and_stopped_jobs_start_nothing(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.script = failing()
        await agent.start()
        runs = await failed_runs(caller, 3)
        job = await started(caller, canonical(fixed(runs, rate=0.5)))
        row = await caller.api("job-hold", JobAsk(job))
        assert (row["state"], row["reason"]) == ("held", "by user:tester")
        row = await caller.api("job-stop", JobAsk(job))
        assert row["state"] == "stopped"
        row = await caller.api("job-stop", JobAsk(job))
        assert row["waiting"] >= 2
        bad = PlanStart("0" * 64, Raw(b"{}"))
        answer = await caller.api_raw("plan-start", bad)
        assert answer.error is not None
        assert "sha256" in answer.error.message


@pytest.mark.parametrize(
    "point",
    [
        "engine.jobs.forked=error@3",
        pytest.param("engine.jobs.forking=error@3", marks=pytest.mark.nightly),
    ],
)
async def test_an_engine_that_dies_in_a_job_is_followed_by_another(
    nats: str, database: str, point: str
) -> None:
    async with stack(nats, database, lease=2.0, beat_every=0.6) as (_, caller, agent):
        agent.script = failing()
        await agent.start()
        runs = await failed_runs(caller, 6)
    plan = fixed(runs)
    async with agent_on(nats) as agent:
        agent.script = failing()
        faults.arm(point)
        try:
            job = await dies(nats, database, lambda caller: started(caller, canonical(plan)))
        finally:
            faults.arm("")
        async with (
            running_engine(config_for(nats, database, lease=2.0, beat_every=0.6)),
            running_engine(config_for(nats, database, lease=2.0, beat_every=0.6)),
            calling(nats) as caller,
        ):
            await agent.start()
            told = await reaches(caller, job, "done", agent=agent)
            assert told["row"]["succeeded"] == 6
            page = await caller.api("runs", {"n": 100})
            assert len(page["runs"]) == 12
    report = await verify(Ask(database))
    assert not report.violations, report.violations


def waits_then_ends(a: rpc.Assignment) -> list[Report]:
    """The first attempt fails and is retried in an hour, the second one succeeds."""
    if a.epoch == 1:
        error = ErrorInfo("ReadTimeout", "30 s")
        return [AttemptFailed(a.run, a.epoch, "error", error, retry=True, retry_in=3600.0)]
    return [Finished(a.run, a.epoch, Raw(b"1"), size=1)]


async def retrying_runs(caller: Caller, n: int) -> list[str]:
    runs = [new_run_id() for _ in range(n)]
    await caller.send(*(EnqueueItem(r, "noop", Raw(b'{"x":1}')) for r in runs))

    async def all_wait() -> bool:
        page = await caller.api("runs", {"query": "status:retrying"})
        return len(page["runs"]) == n

    await until(all_wait, 20, what="retrying", every=0.05)
    return runs


@pytest.mark.parametrize(
    "point",
    [
        "",
        pytest.param("engine.jobs.forked=error@2", marks=pytest.mark.nightly),
    ],
)
async def test_a_plan_resumes_what_waits_and_never_says_it_did_not(
    nats: str, database: str, point: str
) -> None:
    told: dict[str, Any] = {}
    async with stack(nats, database, lease=2.0, beat_every=0.6) as (_, caller, agent):
        agent.script = waits_then_ends
        await agent.start()
        runs = await retrying_runs(caller, 3)
        gone = new_run_id()
        items = tuple(PlanItem(r) for r in (*runs, gone))
        plan = Plan(items, "go on", pace=Pace(rate=100), mode="resume")
        edited = Plan((PlanItem(runs[0], 1),), mode="resume")
        answer = await caller.api_raw("plan-start", PlanStart(name_of(canonical(edited)),
                                                              Raw(canonical(edited))))  # fmt: skip
        assert answer.error is not None
        assert "changes nothing else" in answer.error.message
        if not point:
            job = await started(caller, canonical(plan))
            told = await reaches(caller, job, "done", agent=agent)
    if point:
        async with agent_on(nats) as agent:
            agent.script = waits_then_ends
            faults.arm(point)
            try:
                job = await dies(nats, database, lambda caller: started(caller, canonical(plan)))
            finally:
                faults.arm("")
            async with (
                running_engine(config_for(nats, database, lease=2.0, beat_every=0.6)),
                calling(nats) as caller,
            ):
                await agent.start()
                told = await reaches(caller, job, "done", agent=agent)
    assert [(i["fork"], i["status"]) for i in told["items"][:3]] == [(r, "succeeded") for r in runs]
    assert f"no run {gone}" in told["items"][3]["reason"]
