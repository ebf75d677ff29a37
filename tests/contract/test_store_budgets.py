"""What persons give to runs, for every store: the last word of each kind counts, and goes along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire.budget import Budget
from headway.wire.fleet import TaskSpec
from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.claims import budgets_of, fill_budgets
from support.factories import NS, an_enqueue

if TYPE_CHECKING:
    from support.stores import Kit


async def test_the_last_word_of_each_kind_counts(kit: Kit) -> None:
    run, other = await kit.enqueued(an_enqueue(), an_enqueue())
    assert await kit.store.budgets(NS, [run.id]) == {}
    await kit.store.set_budget(NS, run.id, 5.0, 0, "user:ann")
    await kit.store.set_budget(NS, run.id, 0.0, 900, "user:ann")
    await kit.store.set_budget(NS, run.id, 7.5, 0, "user:bob")
    assert await kit.store.budgets(NS, [run.id, other.id]) == {run.id: (7.5, 900)}


async def test_another_namespace_gives_and_sees_nothing(kit: Kit) -> None:
    (run,) = await kit.enqueued(an_enqueue())
    await kit.store.set_budget("elsewhere", run.id, 5.0, 0, "user:eve")
    await kit.store.set_budget(NS, "01JZ0000000000000000000000", 5.0, 0, "user:eve")
    assert await kit.store.budgets(NS, [run.id]) == {}
    await kit.store.set_budget(NS, run.id, 5.0, 0, "user:ann")
    assert await kit.store.budgets("elsewhere", [run.id]) == {}


async def test_an_attempt_hears_what_earlier_ones_used_and_what_was_given(kit: Kit) -> None:
    session = await kit.ready(budget_usd=0.5, budget_tokens=100)
    (run,) = await kit.enqueued(an_enqueue())
    claimed = await kit.claimed(run.id, session)
    await kit.store.save([SaveUsage(run.id, 1, [ModelUsage("a", 3, 4, 0.25)])])
    await kit.store.set_budget(NS, run.id, 5.0, 0, "user:ann")
    await fill_budgets(kit.store, NS, [claimed])
    assert claimed.budget == Budget(5.0, 100, 0.25, 7)


async def test_a_fork_has_the_task_s_budget_anew(kit: Kit) -> None:
    run, fork = await kit.enqueued(an_enqueue(), an_enqueue())
    await kit.store.set_budget(NS, run.id, 5.0, 0, "user:ann")
    spec = TaskSpec("research", budget_usd=0.5)
    found = await budgets_of(kit.store, NS, {fork.id: spec})
    assert found == {fork.id: Budget(0.5)}
