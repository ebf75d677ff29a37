"""Budgets: where a run stops, what it keeps, who may let it go on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headway import BadPolicy, OverBudget, checkpoint, once, resume, step, task, testing, usage
from headway.budgets import over, told
from headway.states import RunState
from headway.wire import ErrorInfo
from headway.wire.budget import Budget
from headway_engine.happenings import Failed, Resume, Started
from headway_engine.lifecycle import decide
from support.factories import a_run

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DONE: list[str] = []


@pytest.fixture(autouse=True)
def _clean() -> None:
    DONE.clear()


def test_exactly_the_budget_is_no_excess_and_both_kinds_count() -> None:
    both = Budget(0.5, 100)
    assert over(both, 0.5, 100) == ""
    assert over(both, 0.1 + 0.2 + 0.2, 0) == ""
    assert over(both, 0.51, 7) == "$0.5100 of $0.5000"
    assert over(both, 0.51, 101) == "$0.5100 of $0.5000 and 101 of 100 tokens"
    assert over(Budget(), 1e9, 2**53) == ""
    assert told(Budget(1.0, 0, 0.14)) == "$0.1400 of $1.0000"


@pytest.mark.parametrize(
    "policy", [{"budget_usd": -1}, {"budget_tokens": -1}, {"budget_usd": True}]
)
def test_what_is_no_budget_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(BadPolicy):
        task(id="no-budget", **policy)(lambda: None)


def pay(usd: float = 0.25) -> str:
    DONE.append("paid")
    usage(cost_usd=usd, tokens_in=10, model="m")
    return "reply"


@task(id="burns", budget_usd=0.5)
async def burns() -> None:
    n = await resume(0, type=int)
    while True:
        await step(f"ask-{n}", pay)
        n += 1
        await checkpoint(f"n-{n}", n)
        DONE.append(f"saved {n}")


async def test_it_stops_after_the_checkpoint_that_saved_what_went_beyond() -> None:
    with pytest.raises(OverBudget, match=r"\$0\.7500 of \$0\.5000"):
        await testing.run(burns)
    assert DONE == ["paid", "saved 1", "paid", "saved 2", "paid"]


@task(id="burns-steps", budget_tokens=15)
async def burns_steps() -> None:
    for i in range(9):
        await step(f"ask-{i}", pay)


@task(id="burns-once", budget_tokens=5)
async def burns_once() -> None:
    await step("ask", pay)
    await once("mail", DONE.append, "mailed")


@task(id="burns-calls", budget_usd=0.3)
def burns_calls() -> None:
    for _ in range(9):
        pay()


@task(id="burns-caught", budget_usd=0.3)
async def burns_caught() -> None:
    for i in range(9):
        try:
            await step(f"ask-{i}", pay)
        except Exception:  # what people write around a model
            DONE.append("caught")


@pytest.mark.parametrize(
    ("what", "done"),
    [
        (burns_steps, ["paid"] * 2),
        (burns_once, ["paid"]),
        (burns_calls, ["paid"] * 3),
        (burns_caught, ["paid"] * 2),
    ],
    ids=lambda x: getattr(x, "id", None),
)
async def test_the_next_verb_stops_it_and_nothing_more_is_paid(what: Any, done: list[str]) -> None:
    with pytest.raises(OverBudget):
        await testing.run(what)
    assert done == DONE


@task(id="frugal", budget_usd=0.5, budget_tokens=100)
async def frugal() -> str:
    await step("ask", pay, 0.5)
    await checkpoint("c", 1)
    return "done"


async def test_who_keeps_to_it_notices_nothing() -> None:
    assert await testing.run(frugal) == "done"
    await testing.crash_after_every_checkpoint(frugal)


@task(id="parent-in-budget", budget_usd=0.3)
async def parent_in_budget() -> str:
    await frugal.call()
    return await frugal.call()


async def test_children_have_their_own() -> None:
    assert await testing.run(parent_in_budget) == "done"


# --- the lifecycle


def in_review() -> Any:
    run = a_run(state=RunState.STARTING, epoch=1, agent="a")
    run = decide(run, Started(1), NOW).run
    assert run is not None
    error = ErrorInfo("OverBudget", "used $0.6000 of $0.5000")
    return decide(run, Failed(1, "budget", error, retry=False), NOW)


def test_it_waits_for_a_person_and_uses_no_retry() -> None:
    t = in_review()
    assert (t.run.state, t.run.reason, t.run.failures) == (RunState.REVIEW, "budget", 0)
    assert t.events[-1].data["why"] == "used $0.6000 of $0.5000"


def test_only_a_higher_budget_lets_it_go_on() -> None:
    run = in_review().run
    refused = decide(run, Resume("user:ann"), NOW)
    assert (refused.outcome, "--budget" in refused.message) == ("refused", True)
    t = decide(run, Resume("user:ann", budget_usd=5.0), NOW)
    assert t.run is not None
    assert (t.run.state, t.run.reason) == (RunState.QUEUED, "")
    assert t.events[-1].data == {"budget_usd": 5.0}


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.RETRYING, RunState.REVIEW])
def test_a_budget_is_given_to_nobody_else(state: RunState) -> None:
    run = a_run(state=state, epoch=1, reason="lost" if state is RunState.REVIEW else "")
    assert decide(run, Resume("user:ann", budget_tokens=5), NOW).outcome == "refused"
