"""Cancel and resume by query, on real engines: counted first, then done by a job of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headway import faults
from headway.ids import new_run_id
from headway.replays.moving import plans
from headway.wire import decode, decoder, encode
from headway.wire.replays import JobAsk, Pace
from headway.wire.steering import BulkAsk, BulkPage
from headway_engine import bulk, jobs
from support.engines import calling, config_for, running_engine
from support.jobs import counted, dies, reaches, started
from support.stacks import stack

if TYPE_CHECKING:
    from headway.replays.moving import Verb
    from support.engines import Caller


async def statuses(caller: Caller) -> dict[str, str]:
    return {r["run"]: r["status"] for r in (await caller.api("runs", {"n": 100}))["runs"]}


async def test_all_that_a_query_means_is_cancelled_and_nothing_else(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 2)
    monkeypatch.setattr(jobs, "CHUNK", 2)
    async with stack(nats, database) as (_, caller, _agent):
        runs = [(await caller.enqueue(tags=("bulk",))).run for _ in range(5)]
        other = (await caller.enqueue(tags=("other",))).run
        found = await counted(caller, "cancel", "tag:bulk since:1h")
        assert found.runs == sorted(runs)
        late = (await caller.enqueue(tags=("bulk",))).run
        (body,) = plans("cancel", found, "tag:bulk", "drill")
        job = await started(caller, body)
        told = await reaches(caller, job, "done")
        assert (told["row"]["succeeded"], told["row"]["name"]) == (5, "cancel tag:bulk")
        assert {(i["state"], i["status"]) for i in told["items"]} == {("ended", "done")}
        assert await statuses(caller) == {
            **dict.fromkeys(runs, "cancelled"), other: "queued", late: "queued",
        }  # fmt: skip
        assert await started(caller, body) == job  # the same plan is the same job
        assert (await counted(caller, "cancel", "tag:bulk")).runs == [late]
        events = (await caller.api("run", {"run": runs[0]}))["events"]
        assert events[-1]["actor"].startswith("user:")
        assert "drill" in events[-1]["data"].values()


async def test_what_waits_for_its_time_is_resumed_and_the_rest_is_refused_with_its_reason(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, _agent):
        waits = (await caller.enqueue(delay=3600.0)).run
        queued = (await caller.enqueue()).run
        found = await counted(caller, "resume", ids=(waits, queued))
        assert found.runs == [waits]
        nobody = new_run_id()
        (body,) = plans("resume", found._replace(runs=[waits, queued, nobody]), "by hand")
        told = await reaches(caller, await started(caller, body), "done")
        items = {i["run"]: (i["state"], i.get("reason", "")) for i in told["items"]}
        assert items[waits] == ("ended", "")
        assert items[queued][0] == "refused"
        assert "no run" in items[nobody][1]
        assert (told["row"]["succeeded"], told["row"]["failed"]) == (1, 2)
        assert await statuses(caller) == {waits: "queued", queued: "queued"}


@pytest.mark.parametrize("verb", ["cancel", "resume"])
async def test_an_engine_that_dies_between_the_move_and_its_booking_is_followed_by_another(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.setattr(jobs, "CHUNK", 3)
    async with stack(nats, database, lease=2.0, beat_every=0.6) as (_, caller, _agent):
        runs = [(await caller.enqueue(delay=3600.0)).run for _ in range(8)]
        (body,) = plans(verb, await counted(caller, verb, "task:noop"), "all")
    faults.arm("engine.jobs.forked=error@2")
    try:
        job = await dies(nats, database, lambda caller: started(caller, body))
    finally:
        faults.arm("")
    config = config_for(nats, database, lease=2.0, beat_every=0.6)
    async with running_engine(config), calling(nats) as caller:
        told = await reaches(caller, job, "done")
        assert (told["row"]["succeeded"], told["row"].get("failed", 0)) == (8, 0)
        status = "cancelled" if verb == "cancel" else "queued"
        assert await statuses(caller) == dict.fromkeys(runs, status)
        for run in runs:  # each was moved once
            kinds = [e["kind"] for e in (await caller.api("run", {"run": run}))["events"]]
            assert kinds.count("cancelled" if verb == "cancel" else "resumed") == 1, kinds


async def test_a_job_that_moves_runs_is_held_and_stopped_like_any_other(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.replays.moving.PACE", Pace(rate=0.5, stop_after_failures=0))
    async with stack(nats, database) as (_, caller, _agent):
        for _ in range(4):
            await caller.enqueue()
        (body,) = plans("cancel", await counted(caller, "cancel", "task:noop"), "all")
        job = await started(caller, body)
        row = await caller.api("job-hold", JobAsk(job))
        assert row["state"] == "held"
        row = await caller.api("job-stop", JobAsk(job))
        assert row["state"] == "stopped"
        left = (await caller.api("job", JobAsk(job)))["row"]["waiting"]
        assert left >= 2
        assert sum(s == "queued" for s in (await statuses(caller)).values()) == left


async def test_an_empty_or_bad_query_is_refused_with_its_place(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _agent):
        for verb, body, column in (
            ("bulk", {"verb": "cancel", "query": " "}, 1),
            ("bulk", {"verb": "resume", "query": "status:faild"}, 8),
            ("runs", {"query": "a nope:1"}, 3),
        ):
            error = (await caller.api_raw(verb, body)).error
            assert error is not None
            assert (error.code, error.column) == ("bad_query", column)
            assert f"column {column}: " in error.message
        both = BulkAsk("cancel", "task:noop", (new_run_id(),))
        error = (await caller.api_raw("bulk", both)).error
        assert error is not None
        assert error.code == "bad_request"
        page = decode(decoder(BulkPage), encode(await caller.api("bulk", BulkAsk("ack", "task:x"))))
        assert page.runs == []
