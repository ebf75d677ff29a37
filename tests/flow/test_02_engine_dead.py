"""Dead letters and reviews through the api of a real engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.wire import ErrorInfo
from headway.wire.fleet import TaskSpec
from headway.wire.reports import AttemptFailed
from headway_engine import bulk
from support.jobs import counted, moved
from support.stacks import assigned, stack

if TYPE_CHECKING:
    import pytest

    from support.engines import Caller
    from support.scripted_agent import ScriptedAgent

NOOP = TaskSpec(task="noop", max_attempts=1)


async def failed(caller: Caller, agent: ScriptedAgent, error: str) -> str:
    """A run that has failed."""
    run = (await caller.enqueue()).run
    given = await assigned(agent, run)
    info = ErrorInfo(error, "no")
    await agent.report(AttemptFailed(run, given.epoch, "stop", info, retry=False))
    return run


async def dead(caller: Caller, **ask: Any) -> dict[str, int]:
    """Count by class."""
    page = await caller.api("dead", ask)
    return {c["failure"]: c["count"] for c in page["classes"]}


async def test_dead_letters_are_listed_by_class_and_acknowledged_one_by_one_and_by_query(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 2)
    async with stack(nats, database, NOOP) as (_, caller, agent):
        await agent.start()
        oom = await failed(caller, agent, "OOM")
        for _ in range(3):
            await failed(caller, agent, "RateLimit")
        assert await dead(caller) == {"RateLimit": 3, "OOM": 1}

        done = await caller.api("ack", {"run": oom})
        assert (done["outcome"], done["status"]) == ("ok", "failed")
        assert (await caller.api("ack", {"run": oom}))["outcome"] == "already"
        assert await dead(caller) == {"RateLimit": 3}

        found = await counted(caller, "ack", "failure:RateLimit")
        assert len(found.runs) == 3
        assert await dead(caller) == {"RateLimit": 3}
        assert await moved(caller, "ack", "failure:RateLimit") == 3
        assert await dead(caller) == {}

        assert (await caller.api("ack", {"run": oom, "undo": True}))["outcome"] == "ok"
        assert await dead(caller, by="error") == {"OOM": 1}
        events = (await caller.api("run", {"run": oom}))["events"]
        assert [(e["kind"], e["actor"]) for e in events[-2:]] == [
            ("acknowledged", "user:tester"), ("unacknowledged", "user:tester"),
        ]  # fmt: skip


async def test_only_a_failure_of_this_namespace_can_be_acknowledged(
    nats: str, database: str
) -> None:
    async with stack(nats, database, NOOP) as (_, caller, agent):
        waits = (await caller.enqueue()).run
        refused = await caller.api("ack", {"run": waits})
        assert refused["outcome"] == "refused"
        assert "the run is queued" in refused["message"]
        await agent.start()
        run = await failed(caller, agent, "OOM")
        error = (await caller.api_raw("ack", {"run": run}, ns="other")).error
        assert error is not None
        assert error.code == "not_found"


async def test_a_review_is_listed_with_what_it_waits_for(nats: str, database: str) -> None:
    async with stack(nats, database, NOOP) as (_, caller, agent):
        await agent.start()
        run = (await caller.enqueue()).run
        given = await assigned(agent, run)
        error = ErrorInfo("StateMismatch", "the saved state is no Notes")
        await agent.report(AttemptFailed(run, given.epoch, "state", error))
        (row,) = (await caller.api("runs", {"query": "status:review"}))["runs"]
        assert row["review"]["why"] == error.message
        assert (await caller.api("run", {"run": run}))["row"]["review"] == row["review"]


async def test_a_resume_that_is_repeated_is_recognised(nats: str, database: str) -> None:
    async with stack(nats, database, NOOP) as (_, caller, agent):
        await agent.start()
        run = (await caller.enqueue(delay=3600.0)).run
        ask = {"run": run, "request": "one"}
        assert (await caller.api("resume", ask))["outcome"] == "ok"
        await assigned(agent, run)
        assert (await caller.api("resume", ask))["outcome"] == "already"
        other = await caller.api("resume", {"run": run, "request": "two"})
        assert other["outcome"] == "refused"
