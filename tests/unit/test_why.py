from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headway.ids import new_run_id
from headway.states import RunState
from headway_engine.store.records import AgentState, QueueState, Run
from headway_engine.why import Facts, explain

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S = RunState


def run_in(state: RunState, **fields: Any) -> Run:
    return Run(new_run_id(), "ns", "noop", "default", state, NOW, **fields)


def agent(**fields: Any) -> AgentState:
    given: dict[str, Any] = {
        "agent": "a1",
        "ns": "ns",
        "session": 1,
        "lease_until": NOW,
        "alive": True,
        "queues": ("default",),
        "slots": 4,
        "shared_slots": 0,
    }
    return AgentState(**(given | fields))


def why(run: Run, *agents: AgentState, queue: QueueState | None = None, **facts: Any) -> str:
    return explain(run, Facts(NOW, queue, agents, **facts))


@pytest.mark.parametrize(
    ("agents", "queue", "run", "says"),
    [
        ((), None, {}, "No live agent serves queue default (no agent is alive)"),
        ((agent(queues=("gpu",)),), None, {}, "live agents serve: gpu"),
        ((agent(alive=False),), None, {}, "no agent is alive"),
        ((agent(),), QueueState("ns", "default", paused=True), {}, "Queue default is paused"),
        ((agent(),), QueueState("ns", "default", limit=4, open=4), {}, "4 of 4 run"),
        (
            (agent(),),
            QueueState("ns", "default", key_limit=1),
            {"limit_key": "acme"},
            "at most 1 at once for key 'acme'",
        ),
        ((agent(degraded="no disk"),), None, {}, "degraded; a1: no disk"),
        ((agent(),), None, {"shared": True}, "has shared slots"),
        ((agent(open=4),), QueueState("ns", "default", queued=9), {}, "All 4 slots of queue"),
        ((agent(),), QueueState("ns", "default"), {}, "about to start"),
    ],
)
def test_a_queued_run_says_what_it_waits_for(
    agents: tuple[AgentState, ...], queue: QueueState | None, run: dict[str, Any], says: str
) -> None:
    assert says in why(run_in(S.QUEUED, **run), *agents, queue=queue)


def test_a_retrying_run_says_when_and_after_what() -> None:
    run = run_in(S.RETRYING, failures=1, due_at=NOW + timedelta(seconds=8))
    text = why(run, last_error="ValueError: no")
    assert "Attempt 1 of 3 failed after ValueError: no" in text
    assert "in 8.0 s (2026-01-01 12:00:08 UTC)" in text


def test_a_review_says_what_to_do() -> None:
    run = run_in(S.REVIEW, reason="once", unconfirmed=(3,))
    text = why(run, attempt_marks=("pay",))
    assert "once: pay" in text
    assert "done" in text
    assert "not confirmed dead" in text
    assert "version 7" in why(run_in(S.REVIEW, reason="version", version="7"))
    assert "migrate" in why(run_in(S.REVIEW, reason="state"))


def test_a_queue_whose_agents_drain_says_how_to_take_one_back() -> None:
    text = why(run_in(S.QUEUED), agent(drain="drain"))
    assert "headway agents drain a1 --undo" in text
    assert "drain" not in why(run_in(S.QUEUED), agent(drain="drain"), agent(agent="a2"))


def test_a_running_run_on_a_dead_agent_says_that_it_comes_back() -> None:
    run = run_in(S.RUNNING, agent="a1", attempt_at=NOW)
    assert "lease has ended" in why(run, agent(alive=False))
    assert "runs on agent a1" in why(run, agent())


@pytest.mark.parametrize("state", list(S))
def test_every_state_has_a_sentence(state: RunState) -> None:
    text = why(run_in(state))
    assert text.endswith(".")


def test_a_queue_that_nobody_knows_is_named_with_what_was_meant() -> None:
    said = why(
        run_in(
            S.QUEUED,
        ),
        named_queues=frozenset({"defualt", "gpu"}),
    )
    assert "No task, agent or setting knows queue default (did you mean 'defualt'?)" in said
    served = why(run_in(S.QUEUED), agent(), named_queues=frozenset({"gpu"}))
    assert "knows queue" not in served
