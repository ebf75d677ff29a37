"""Tags change through the api of a real engine: of one run, of many by a job, and who did it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import subjects
from headway.client import Client
from headway.errors import NoSuchRun, Refused
from headway.history import history
from headway.ids import new_run_id
from headway.replays.moving import plans
from headway.replays.plans import canonical
from headway.tags import Retag
from headway.wire import decode
from headway.wire.events import RUN_EVENTS
from headway.wire.replays import Plan, PlanItem
from headway.wire.reports import Finished
from headway.wire.saves import SaveCheckpoint
from headway_engine import bulk, jobs
from support.jobs import counted, reaches, started
from support.servers import settings_for
from support.stacks import assigned, stack
from support.wait import until

if TYPE_CHECKING:
    from support.engines import Caller


async def tags(caller: Caller, query: str = "") -> dict[str, set[str]]:
    page = await caller.api("runs", {"n": 100, "query": query})
    return {r["run"]: set(r.get("tags", ())) for r in page["runs"]}


async def told(caller: Caller, run: str) -> list[dict[str, Any]]:
    """What observers read in RUNS of the tags of a run."""
    found = [
        decode(RUN_EVENTS, m.data).events
        async for m in history(caller.nc, subjects.RUNS, subjects.run_event("default", run))
    ]
    return [{"by": e.actor, **e.data} for events in found for e in events if e.kind == "tagged"]


async def test_a_run_is_tagged_while_it_runs_and_after_its_end(nats: str, database: str) -> None:
    async with (
        stack(nats, database) as (_, caller, agent),
        await Client.open(settings_for(nats)) as client,
    ):
        await agent.start()
        run = (await caller.enqueue(tags=("a",))).run
        attempt = await assigned(agent, run)
        done = await client.tag(run, add=["late", "b"], remove="a")
        assert (done.outcome, done.status) == ("ok", "starting")
        state = b'{"n":1}'
        digest = sha256(state).hexdigest()
        save = SaveCheckpoint(run, 1, 1, "one", digest, len(state), state=Raw(state))
        assert [o.outcome for o in await agent.save(save)] == ["ok"]
        assert (await client.tag(run, ("b", "late"))).outcome == "already"
        await agent.report(Finished(run, attempt.epoch, Raw(b"1"), size=1))
        assert (await caller.end(run)).status == "succeeded"
        done = await client.handle(run).tag("golden")
        assert (done.outcome, done.status) == ("ok", "succeeded")
        assert await tags(caller, "tag:golden status:succeeded") == {run: {"late", "b", "golden"}}
        assert await tags(caller, "tag:a") == {}
        both = [
            {"by": "user:tester", "tags": ["late", "b"], "added": ["late", "b"], "removed": ["a"]},
            {"by": "user:tester", "tags": ["late", "b", "golden"], "added": ["golden"]},
        ]

        async def heard() -> bool:
            return await told(caller, run) == both

        await until(heard, what="both words in RUNS")


async def test_what_is_no_tag_or_no_run_of_this_namespace_is_refused(
    nats: str, database: str
) -> None:
    async with (
        stack(nats, database) as (_, caller, _agent),
        await Client.open(settings_for(nats)) as client,
    ):
        run = (await caller.enqueue(tags=tuple(f"t{k}" for k in range(32)))).run
        for add, remove, words in (
            ((), (), "no tag to add"),
            (("x",), ("x",), "one of them"),
            (("x", " "), (), "' ' is no tag"),
            (("x\x00",), (), "is no tag"),
            (("x" * 257,), (), "256"),
            (tuple(f"u{k}" for k in range(33)), (), "32"),
        ):
            with pytest.raises(Refused, match=words):
                await client.tag(run, add, remove)
        done = await client.tag(run, "x")
        assert (done.outcome, "at most 32" in done.message) == ("refused", True)
        assert (await client.tag(run, "x", "t0")).outcome == "ok"
        for unknown, ns in ((new_run_id(), "default"), (run, "other")):
            error = (await caller.api_raw("tag", {"run": unknown, "add": ["x"]}, ns=ns)).error
            assert error is not None
            assert error.code == "not_found"
        with pytest.raises(NoSuchRun):
            await client.tag(new_run_id(), "x")


async def test_all_that_a_query_means_is_tagged_by_a_job_whatever_its_state(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 2)
    monkeypatch.setattr(jobs, "CHUNK", 2)
    change = Retag(("golden",), ("raw",))
    async with stack(nats, database) as (_, caller, _agent):
        runs = [(await caller.enqueue(tags=("set", "raw"))).run for _ in range(3)]
        full = (await caller.enqueue(tags=("set", *(f"t{k}" for k in range(31))))).run
        other = (await caller.enqueue(tags=("raw",))).run
        await caller.api("cancel", {"run": runs[0]})
        found = await counted(caller, "tag", "tag:set")
        assert found.runs == sorted([*runs, full])
        (body,) = plans("tag", found, "tag:set", tags=change)
        job = await started(caller, body)
        detail = await reaches(caller, job, "done")
        row = detail["row"]
        assert (row["name"], row["succeeded"], row["failed"]) == (
            "tag +golden -raw tag:set", 3, 1,
        )  # fmt: skip
        (refused,) = [i for i in detail["items"] if i["state"] == "refused"]
        assert (refused["run"], "at most 32" in refused["reason"]) == (full, True)
        assert await tags(caller, "tag:golden") == {run: {"set", "golden"} for run in runs}
        assert (await tags(caller, "tag:raw")).keys() == {other}

        async def heard() -> bool:
            return [e["by"] for e in await told(caller, runs[1])] == ["user:tester"]

        await until(heard, what="the word in RUNS")
        # Sent again it is the same job; meant again, nothing is left to do and nothing is refused.
        assert await started(caller, body) == job
        (body,) = plans("tag", await counted(caller, "tag", "tag:golden"), "again", tags=change)
        assert (await reaches(caller, await started(caller, body), "done"))["row"]["succeeded"] == 3
        assert len(await told(caller, runs[1])) == 1


async def test_a_plan_that_tags_does_nothing_else(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _agent):
        items = (PlanItem((await caller.enqueue()).run),)
        for plan, words in (
            (Plan(items, mode="tag"), "no tag to add"),
            (Plan(items, mode="tag", tags=("x",), untag=("x",)), "one of them"),
            (Plan(items, mode="tag", tags=("x",), queue="default"), "nothing else"),
            (Plan(items, mode="cancel", untag=("x",)), "nothing else"),
            (Plan(items, mode="fork", untag=("x",)), "only with mode tag"),
        ):
            with pytest.raises(AssertionError, match=words):
                await started(caller, canonical(plan))
