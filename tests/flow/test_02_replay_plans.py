"""What plans are made of on a real engine: answers, names that stand for a query, earlier jobs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from headway.client import Client
from headway.errors import NoSuchRun
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
)
from support.jobs import failed_run
from support.servers import settings_for
from support.stacks import stack
from support.wait import until


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
        assert skipped.dropped == [(first, f"job {job} has forked it already")]
        with pytest.raises(TooMany, match="more than 1 runs"):
            await make_plan(client, Loaded(scripted(limit=1)))
        gone = Select(ids=(new_run_id(),))
        with pytest.raises(NoSuchRun):
            await make_plan(client, Loaded(replace(scripted(), select=gone)))
