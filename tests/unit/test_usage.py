"""usage(): what is counted, and what travels."""

from __future__ import annotations

from typing import Any

import pytest

from headway import NotInRun, checkpoint, step, task, testing, usage
from headway.spending import OTHERS, Spending
from headway.testing import MemoryCalls
from headway.wire.frames import Usage
from headway.wire.saves import MODELS, ModelUsage

TOLD: list[list[ModelUsage]] = []


@pytest.fixture(autouse=True)
def frames(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every frame that an attempt in memory sends."""
    found: list[Any] = []
    save = MemoryCalls.save

    def spy(self: MemoryCalls, frame: Any, body: bytes = b"") -> Any:
        found.append(frame)
        return save(self, frame, body)

    monkeypatch.setattr(MemoryCalls, "save", spy)
    return found


@task(id="spends")
async def spends() -> None:
    def ask() -> str:
        usage(tokens_in=10, tokens_out=2, cost_usd=0.5, model="m")
        return "reply"

    await step("one", ask)
    await checkpoint("c", {"n": 1})
    usage(tokens_in=1, model="m")


@task(id="spends-nothing")
async def spends_nothing() -> None:
    await step("one", str)
    await checkpoint("c", {"n": 1})


async def test_totals_go_before_the_next_save_and_with_the_end(frames: list[Any]) -> None:
    await testing.run(spends)
    kinds = [type(f).__name__ for f in frames]
    assert kinds == ["Usage", "Mark", "Checkpoint", "Usage"]
    told = [f.used for f in frames if isinstance(f, Usage)]
    assert told == [[ModelUsage("m", 10, 2, 0.5)], [ModelUsage("m", 11, 2, 0.5)]]


async def test_who_uses_nothing_sends_nothing(frames: list[Any]) -> None:
    await testing.run(spends_nothing)
    assert not [f for f in frames if isinstance(f, Usage)]


def test_outside_of_a_run_it_is_refused() -> None:
    with pytest.raises(NotInRun):
        usage(tokens_in=1)


@pytest.mark.parametrize(
    "bad",
    [{"tokens_in": -1}, {"tokens_out": 2**60}, {"cost_usd": -0.1}, {"cost_usd": float("nan")}],
)
async def test_what_is_no_amount_is_refused(bad: dict[str, Any]) -> None:
    @task(id="spends-badly")
    async def spends_badly() -> str:
        with pytest.raises(ValueError, match=next(iter(bad))):
            usage(**bad)
        return "refused"

    try:
        assert await testing.run(spends_badly) == "refused"
    finally:
        from headway import tasks

        tasks._registry.pop("spends-badly")  # pyright: ignore[reportPrivateUsage]


def test_models_beyond_the_limit_are_summed_under_one_name() -> None:
    spending = Spending()
    for number in range(MODELS + 5):
        spending.add(f"m{number}", 1, 0, 0.0)
    told = spending.told()
    assert len(told) == MODELS
    assert sum(u.tokens_in for u in told) == MODELS + 5
    assert told[-1].model == OTHERS


def test_what_spans_say_counts_only_where_the_task_says_nothing() -> None:
    spending = Spending()
    spending.add("m", 7, 0, 0.0, seen=True)
    assert spending.told() == [ModelUsage("m", 7)]
    assert not spending.new
    spending.add("m", 3, 0, 0.1)
    assert spending.told() == [ModelUsage("m", 3, 0, 0.1)]
