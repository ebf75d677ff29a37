"""What runs have used, for every store: totals count once, whoever tells them and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headway.wire.runs import UsageAsk
from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.happenings import Finished, Lost, Started
from support.factories import NS, a_checkpoint

if TYPE_CHECKING:
    from support.stores import Kit


def told(run: str, epoch: int, *used: ModelUsage) -> SaveUsage:
    return SaveUsage(run, epoch, list(used))


async def test_totals_of_attempts_and_models_add_up_and_repeats_do_not(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    first = told(run.id, 1, ModelUsage("a", 10, 1, 0.5), ModelUsage("b", 5, 5, 0.25))
    done = await kit.store.save([a_checkpoint(run, 1), first, first, a_checkpoint(run, 2)])
    assert [d.outcome for d in done] == ["ok"] * 4
    assert (await kit.record(run.id)).ck == 2
    # Late, and smaller: it was on the way when the larger one was told.
    await kit.store.save([told(run.id, 1, ModelUsage("a", 20, 2, 1.0))])
    await kit.store.save([first])
    assert await kit.store.spent(NS, [run.id]) == {run.id: (25, 7, 1.25)}


async def test_an_attempt_that_was_lost_has_spent_it_all_the_same(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.move(run.id, Started(1), Lost(1, "gone"))
    again = (await kit.claimed(run.id, session)).run
    assert again.epoch > 1
    late = told(run.id, 1, ModelUsage("a", 1, 1, 1.0))
    now = told(run.id, again.epoch, ModelUsage("a", 2, 2, 2.0))
    assert [d.outcome for d in await kit.store.save([late, now])] == ["ok", "ok"]
    await kit.move(run.id, Finished(again.epoch))
    (ended,) = await kit.store.save([told(run.id, again.epoch, ModelUsage("a", 3, 2, 2.0))])
    assert ended.outcome == "ok"
    assert await kit.store.spent(NS, [run.id]) == {run.id: (4, 3, 3.0)}


@pytest.mark.parametrize("case", ["no such run", "no such attempt", "another namespace"])
async def test_what_was_no_attempt_of_the_teller_s_counts_nowhere(kit: Kit, case: str) -> None:
    run = await kit.attempt(await kit.ready())
    use = ModelUsage("a", 1, 1, 1.0)
    stranger = told("01JZ0000000000000000000000", 1, use)
    save = stranger if case == "no such run" else told(run.id, 2 if "attempt" in case else 1, use)
    ns = "elsewhere" if case == "another namespace" else NS
    (done,) = await kit.store.save([save], [ns])
    assert done.outcome == "stale_epoch"
    assert await kit.store.spent(NS, [run.id]) == {}
    assert await kit.store.usage(NS, UsageAsk()) == []


async def test_sums_are_by_task_model_run_and_day_within_a_window(kit: Kit) -> None:
    one = await kit.attempt(await kit.ready())
    two = await kit.attempt(await kit.ready())
    await kit.store.save([
        told(one.id, 1, ModelUsage("big", 100, 10, 2.0), ModelUsage("small", 10, 1, 0.5)),
        told(two.id, 1, ModelUsage("small", 20, 2, 1.0)),
    ])  # fmt: skip
    (task,) = await kit.store.usage(NS, UsageAsk())
    assert (task.key, task.runs, task.attempts) == (one.task, 2, 2)
    assert (task.tokens_in, task.tokens_out, task.cost_usd) == (130, 13, 3.5)
    models = await kit.store.usage(NS, UsageAsk(by="model"))
    assert [(m.key, m.runs, m.cost_usd) for m in models] == [("big", 1, 2.0), ("small", 2, 1.5)]
    assert [r.key for r in await kit.store.usage(NS, UsageAsk(by="run"))] == [one.id, two.id]
    (day,) = await kit.store.usage(NS, UsageAsk(by="day"))
    assert day.key == f"{kit.now():%Y-%m-%d}"
    assert [m.key for m in await kit.store.usage(NS, UsageAsk(by="run", n=1))] == [one.id]
    assert await kit.store.usage(NS, UsageAsk(until=kit.now())) == []
    assert len(await kit.store.usage(NS, UsageAsk(since=kit.now(), model="big"))) == 1
    assert await kit.store.usage(NS, UsageAsk(task="another")) == []
    assert await kit.store.usage("elsewhere", UsageAsk()) == []
