"""What plans are made of on a real engine: answers, names that stand for a query, earlier jobs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from headway.client import Client
from headway.errors import NoSuchRun, Refused
from headway.ids import new_run_id
from headway.replays import (
    BadScript,
    Loaded,
    Pace,
    Replay,
    Script,
    Select,
    TooMany,
    jobs,
    make_plan,
    report,
)
from headway.replays.moving import Meant, Verb, plans
from headway.wire import ErrorInfo, rpc
from headway.wire.reports import AttemptFailed, Report
from support.jobs import failed_run
from support.servers import settings_for
from support.stacks import stack
from support.wait import until


def always_waits(a: rpc.Assignment) -> list[Report]:
    """Each attempt fails and is retried in an hour."""
    error = ErrorInfo("ReadTimeout", "30 s")
    return [AttemptFailed(a.run, a.epoch, "error", error, retry=True, retry_in=3600.0)]


def never(*_: object) -> str:
    """A check that nothing passes."""
    return "never"


def scripted(query: str = "status:failed", **select: bool | int | str) -> Script:
    return Script(Select(query, **select), pace=Pace(rate="100/s"))  # pyright: ignore[reportArgumentType]


async def test_plans_say_what_they_are_made_of(nats: str, database: str) -> None:
    asked: list[dict[str, int]] = []

    async def again(keys: dict[str, int]) -> list[str]:
        asked.append(keys)
        return list(keys)

    async with (
        stack(nats, database, lease=300.0) as (_, caller, agent),
        await Client.open(settings_for(nats)) as client,
    ):
        await agent.start()
        first = await failed_run(caller, agent, mark="mail,1")
        # Key by key: the answer is a plan like one that was written down.
        ask = replace(scripted(), replay=Replay(once="ask"))
        with pytest.raises(BadScript, match="needs a person"):
            await make_plan(client, Loaded(ask))
        answered = await make_plan(client, Loaded(ask), again)
        assert (asked, answered.again, answered.plan.clear) == (
            [{"mail,1": 1}], {"mail,1": 1}, ("mail?1",),
        )  # fmt: skip
        wrote = replace(ask, replay=Replay(once="clear:mail?1"))
        assert (await make_plan(client, Loaded(wrote))).name == answered.name
        # Frozen, the name stands for the runs; else for what is looked for.
        frozen, loose = Loaded(scripted()), Loaded(scripted(freeze=False))
        before = [(await make_plan(client, script)).name for script in (frozen, loose)]
        second = await failed_run(caller, agent, mark="mail,1")
        after = [await make_plan(client, script) for script in (frozen, loose)]
        assert before[0] != after[0].name
        assert before[1] == after[1].name
        assert [i.run for i in after[1].plan.items] == sorted([first, second])
        # What a job has forked is said, or left out.
        only = await make_plan(client, Loaded(replace(scripted(), select=Select(ids=(first,)))))
        job = (await jobs.start(client, only.body)).job

        async def forked() -> bool:
            return (await jobs.job(client, job)).items[0].state == "started"

        await until(forked, 20, what="forked", every=0.05)
        told = await make_plan(client, frozen)
        assert (told.before, told.dropped) == ({job: 1}, [])
        skipped = await make_plan(client, Loaded(scripted(forked="skip")))
        assert skipped.dropped == [(first, f"already forked by job {job}")]
        assert skipped.skips() == [(f"already forked by job {job}", [first])]
        with pytest.raises(TooMany, match="more than 1 runs"):
            await make_plan(client, Loaded(scripted(limit=1)))
        gone = Select(ids=(new_run_id(),))
        with pytest.raises(NoSuchRun):
            await make_plan(client, Loaded(replace(scripted(), select=gone)))


async def test_a_plan_that_resumes_is_the_same_until_a_run_of_it_has_moved(
    nats: str, database: str
) -> None:
    async with (
        stack(nats, database, lease=300.0) as (_, caller, agent),
        await Client.open(settings_for(nats)) as client,
    ):
        agent.script = always_waits
        await agent.start()
        run = (await caller.enqueue()).run

        async def waits(attempt: int) -> bool:
            row = (await client.run(run)).row
            return (row.status, row.epoch) == ("retrying", attempt)

        script = Script(Select(ids=(run,)), replay=Replay(mode="resume"), pace=Pace(rate="100/s"))
        names: list[str] = []
        for attempt in (1, 2):
            await until(lambda n=attempt: waits(n), 20, what="retrying", every=0.05)
            planned = await make_plan(client, Loaded(script))
            assert (await make_plan(client, Loaded(script))).name == planned.name
            names.append(planned.name)
            await jobs.start(client, planned.body)

        async def twice() -> bool:
            return (await client.run(run)).row.epoch == 3

        await until(twice, 20, what="resumed twice", every=0.05)
        assert names[0] != names[1]


@pytest.mark.parametrize(("verb", "word"), [("cancel", "cancelled"), ("resume", "queued")])
async def test_a_job_that_moves_runs_is_judged_by_their_moves_alone(
    nats: str, database: str, verb: Verb, word: str
) -> None:
    async with (
        stack(nats, database) as (_, caller, _agent),
        await Client.open(settings_for(nats)) as client,
    ):
        waits = (await caller.enqueue(delay=3600.0)).run
        found = Meant((await client.run(waits)).row.created_at, [waits])
        (body,) = plans(verb, found, "one")
        (both,) = plans(verb, found._replace(runs=[waits, new_run_id()]), "and nobody")
        good, bad = [(await jobs.start(client, plan)).job for plan in (body, both)]
        async for row in jobs.follow(client, good):
            assert (row.mode, row.follow) == (verb, False)
        async for _ in jobs.follow(client, bad):
            pass
        told = await report(client, good)
        assert [(j.verdict, j.reasons, j.was) for j in told.items] == [("ok", [], "")]
        assert (told.checks, told.failed, told.green) == ([], 0, True)
        assert (await client.run(waits)).row.status == word
        told = await report(client, bad)
        assert told.items[1].verdict == "fail"
        assert "no run" in told.items[1].reasons[0]
        assert not told.green
        with pytest.raises(Refused, match="nothing to compare"):
            await report(client, good, never)
