"""Replay jobs in the store: one per plan, one holder at a time, and the numbers that rules need."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headway.ids import new_run_id
from headway.wire.replays import Pace, Plan, PlanItem, Source, SourcesAsk
from headway_engine.happenings import Cancel
from headway_engine.jobrules import LIVE, job_id
from support.factories import NS, an_enqueue

if TYPE_CHECKING:
    from support.stores import Kit

SHA = "0123456789abcdef" * 4
JOB = job_id(SHA)


def a_plan(n: int = 3, **pace: int) -> Plan:
    items = tuple(PlanItem(new_run_id(), k) for k in range(n))
    return Plan(items, "the plan", ("mail-*",), pace=Pace(**({"canary": 2} | pace)))


async def test_a_plan_is_one_job_however_often_it_is_sent(kit: Kit) -> None:
    plan = a_plan()
    await kit.store.job_put(NS, plan, SHA, "user:me")
    first = await kit.store.job_items(NS, JOB, 0, 10)
    await kit.advance(60)
    await kit.store.job_put(NS, plan, SHA, "user:you")
    assert await kit.store.job_items(NS, JOB, 0, 10) == first
    assert await kit.store.job_items(NS, JOB, 2, 10) == first[2:]
    ((row, head),) = await kit.store.jobs(NS)
    assert (row.job, row.items, row.waiting, row.actor, row.name) == (
        JOB, 3, 3, "user:me", "the plan",
    )  # fmt: skip
    assert (head.clear, head.pace.canary) == (("mail-*",), 2)
    assert [i.run for i in first] == [i.run for i in plan.items]
    assert len({i.fork for i in first}) == 3
    assert await kit.store.jobs("other") == []


async def test_one_engine_holds_a_job_until_its_hold_is_over(kit: Kit) -> None:
    await kit.store.job_put(NS, a_plan(), SHA, "user:me")
    other = await kit.engine("e2")
    assert len(await kit.store.jobs_take(10)) == 1
    assert await other.jobs_take(10) == []
    assert len(await kit.store.jobs_take(10)) == 1
    await kit.advance(11)
    assert len(await other.jobs_take(10)) == 1
    assert await kit.store.jobs_take(10) == []


async def test_items_are_booked_and_counted(kit: Kit) -> None:
    await kit.ready()
    await kit.store.job_put(NS, a_plan(canary=2), SHA, "user:me")
    one, two = await kit.store.job_next(NS, JOB, 10, 2)
    assert [(n, i.checkpoint) for n, _, i in (one, two)] == [(1, 0), (2, 1)]
    await kit.enqueued(an_enqueue(id=one[1]))
    await kit.store.job_given(NS, JOB, 1)
    await kit.store.job_given(NS, JOB, 2, "there is no such run")
    await kit.store.job_given(NS, JOB, 2)  # late: it stays refused
    ((_, _, facts),) = await kit.store.jobs_take(10)
    row = facts.row
    assert (row.waiting, row.running, row.succeeded, row.failed) == (1, 1, 0, 1)
    assert (facts.canary_open, facts.latest) == (1, [""])
    await kit.advance(5)
    await kit.move(one[1], Cancel("user:me"))
    ((_, _, facts),) = await kit.store.jobs_take(10)
    row = facts.row
    assert (row.running, row.failed, facts.canary_open) == (0, 2, 0)
    assert facts.latest == ["cancelled", ""]
    items = await kit.store.job_items(NS, JOB, 0, 10)
    assert [(i.state, i.status) for i in items] == [
        ("ended", "cancelled"), ("refused", ""), ("waiting", ""),
    ]  # fmt: skip
    assert items[1].reason == "there is no such run"


async def test_a_job_moves_only_from_a_state_that_was_seen(kit: Kit) -> None:
    await kit.store.job_put(NS, a_plan(), SHA, "user:me")
    assert await kit.store.job_move(NS, JOB, LIVE, "held", "by me")
    assert not await kit.store.job_move(NS, JOB, LIVE, "done")
    assert await kit.store.jobs_take(10) == []
    await kit.advance(30)
    assert await kit.store.job_move(NS, JOB, ("held",), "running", approve=True)
    other = await kit.engine("e2")
    ((_, _, facts),) = await other.jobs_take(10)
    assert (facts.row.approved, facts.row.reason) == (True, "")
    # The time that it was held gives no burst.
    assert kit.now() - facts.paced_at <= timedelta(seconds=1)
    assert await kit.store.job_move(NS, JOB, LIVE, "stopped", "enough")
    ((row, _),) = await kit.store.jobs(NS, JOB)
    assert (row.state, row.reason, row.ended_at) == ("stopped", "enough", kit.now())


async def test_a_job_goes_with_the_retention_of_what_it_made(kit: Kit) -> None:
    await kit.store.job_put(NS, a_plan(), SHA, "user:me")
    other = "f" * 64
    await kit.store.job_put(NS, a_plan(), other, "user:me")
    await kit.store.job_move(NS, JOB, LIVE, "stopped")
    await kit.advance(29 * 86400)
    while await kit.store.prune():
        pass
    assert len(await kit.store.jobs(NS)) == 2
    await kit.advance(2 * 86400)
    while await kit.store.prune():
        pass
    assert [row.job for row, _ in await kit.store.jobs(NS)] == [job_id(other)]
    assert await kit.store.job_items(NS, JOB, 0, 10) == []


async def test_a_stopped_job_is_held_while_its_forks_run(kit: Kit) -> None:
    await kit.ready()
    await kit.store.job_put(NS, a_plan(), SHA, "user:me")
    ((_, fork, _),) = await kit.store.job_next(NS, JOB, 1, 3)
    await kit.enqueued(an_enqueue(id=fork))
    await kit.store.job_given(NS, JOB, 1)
    await kit.store.job_move(NS, JOB, LIVE, "stopped")
    ((_, _, facts),) = await kit.store.jobs_take(10)
    assert (facts.row.state, facts.row.running) == ("stopped", 1)
    await kit.move(fork, Cancel("user:me"))
    ((_, _, facts),) = await kit.store.jobs_take(10)
    assert facts.row.running == 0
    assert await kit.store.jobs_take(10) == []


async def test_a_plan_reads_of_many_runs_what_a_fork_would_choose(kit: Kit) -> None:
    await kit.ready()
    one, two = sorted(r.id for r in await kit.enqueued(an_enqueue(), an_enqueue()))
    await kit.move(one, Cancel("user:me"))
    page = await kit.store.sources(NS, SourcesAsk("status:cancelled", start="last"))
    assert page.rows == [Source(one, "cancelled")]
    page = await kit.store.sources(NS, SourcesAsk(ids=(one, two), start="before-error"))
    assert [(r.run, r.status) for r in page.rows] == [(two, "queued"), (one, "cancelled")]
    assert page.rows[0].since == (await kit.store.events(NS, two, 0, 100))[-1].at
    page = await kit.store.sources(NS, SourcesAsk("task:*", n=1))
    assert ([r.run for r in page.rows], page.next) == ([two], two)
    page = await kit.store.sources(NS, SourcesAsk("task:*", after=page.next, n=1))
    assert ([r.run for r in page.rows], page.next) == ([one], "")
    plan = Plan((PlanItem(one),), "p")
    await kit.store.job_put(NS, plan, SHA, "user:me")
    await kit.store.job_given(NS, JOB, 1)
    page = await kit.store.sources(NS, SourcesAsk(ids=(one,)))
    assert page.rows[0].job == JOB
    assert (await kit.store.sources("other", SourcesAsk(ids=(one,)))).rows == []
