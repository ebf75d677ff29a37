"""Timers, the outbox's sweeper and the pruner, for every store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from headway.ids import encode
from headway.states import RunState
from headway.wire import NOTHING, BlobRef
from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.happenings import Cancel, Due, Finished, Overdue, Started
from headway_engine.lifecycle import START_DEADLINE, TIMEOUT_SLACK
from support.factories import NS, a_checkpoint, an_enqueue

if TYPE_CHECKING:
    from support.stores import Kit


@pytest.mark.parametrize("state", [RunState.DELAYED, RunState.RETRYING, RunState.WAITING])
async def test_a_run_is_due_on_time_and_never_early(kit: Kit, state: RunState) -> None:
    session = await kit.ready()
    run = await kit.in_state(state, session)
    due = (await kit.record(run.id)).due_at
    assert due is not None
    assert await kit.store.due(10) == ([], due, kit.now())
    (early,) = await kit.move(run.id, Due())
    assert early.outcome == "refused"
    await kit.advance((due - kit.now()).total_seconds())
    assert await kit.store.due(10) == ([run.id], None, due)
    (now,) = await kit.move(run.id, Due())
    assert now.run is not None
    assert now.run.state is RunState.QUEUED
    assert await kit.store.due(10) == ([], None, due)


async def test_the_earliest_are_due_first(kit: Kit) -> None:
    at = [kit.now() + timedelta(seconds=s) for s in (30, 10, 20)]
    runs = await kit.enqueued(*[an_enqueue(due_at=due) for due in at])
    await kit.advance(25)
    assert await kit.store.due(1) == ([runs[1].id], at[0], kit.now())
    assert (await kit.store.due(9))[0] == [runs[1].id, runs[2].id]


async def test_ttl_and_deadline_end_runs(kit: Kit) -> None:
    session = await kit.ready()
    soon = kit.now() + timedelta(seconds=10)
    ttl, deadline, started = await kit.enqueued(
        an_enqueue(ttl_at=soon), an_enqueue(deadline_at=soon), an_enqueue(ttl_at=soon)
    )
    got = await kit.claimed(started.id, session)
    await kit.move(started.id, Started(got.run.epoch))
    assert await kit.store.overdue(10) == []
    await kit.advance(10)
    found = await kit.store.overdue(10)
    assert sorted(found) == sorted([ttl.id, deadline.id])
    outcomes = await kit.store.commit([(run, Overdue()) for run in found])
    assert {o.run.state for o in outcomes if o.run} == {RunState.EXPIRED}
    assert await kit.store.overdue(10) == []


async def test_a_start_that_takes_too_long_is_given_back(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.advance(START_DEADLINE.total_seconds() - 1)
    await kit.store.tick()
    assert await kit.store.overdue(10) == []
    await kit.advance(1)
    assert await kit.store.overdue(10) == [run.id]
    (back,) = await kit.move(run.id, Overdue())
    assert back.run is not None
    assert (back.run.state, back.run.lost) == (RunState.QUEUED, 1)


async def test_the_engine_ends_an_attempt_that_its_agent_does_not(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready(timeout=100.0))
    await kit.store.save([a_checkpoint(run, 1)])
    await kit.advance(99 + TIMEOUT_SLACK.total_seconds())
    await kit.store.tick()
    assert await kit.store.overdue(10) == []
    await kit.advance(1)
    assert await kit.store.overdue(10) == [run.id]
    (end,) = await kit.move(run.id, Overdue())
    assert end.run is not None
    assert (end.run.state, end.run.epoch) == (RunState.TIMED_OUT, run.epoch + 1)
    assert end.stop is not None


async def test_what_was_not_published_is_found_and_then_forgotten(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_checkpoint(run, 1)])
    (end,) = await kit.move(run.id, Finished(run.epoch))
    assert end.run is not None
    assert await kit.store.unpublished(5) == []
    await kit.advance(6)
    other = await kit.engine("e2")
    (found,) = await other.unpublished(5)
    assert found[:4] == (run.id, NS, "research", "default")
    assert [e.n for e in found[4]] == list(range(1, end.run.n + 1))
    await other.published([(run.id, e.n) for e in found[4]])
    await other.tick()
    assert await kit.store.unpublished(5) == []


async def test_what_was_published_in_part_is_still_found(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.published([(run.id, 1)])
    await kit.store.tick()
    await kit.advance(6)
    ((_, _, _, _, events),) = await kit.store.unpublished(5)
    assert [e.kind for e in events] == ["starting"]


async def test_an_event_that_was_left_out_is_found_although_later_ones_were_published(
    kit: Kit,
) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.move(run.id, Started(run.epoch))
    # Who committed the claim could not tell of it; who heard of the start did.
    await kit.store.published([(run.id, 1), (run.id, 3)])
    await kit.store.tick()
    await kit.advance(6)
    ((_, _, _, _, events),) = await kit.store.unpublished(5)
    assert [e.kind for e in events] == ["starting"]
    await kit.store.published([(run.id, 2)])
    await kit.store.tick()
    assert await kit.store.unpublished(5) == []


async def test_what_one_engine_published_leaves_the_rows_of_another(kit: Kit) -> None:
    (run,) = await kit.enqueued(an_enqueue())  # and its engine dies with the event
    other = await kit.engine("e2")
    await other.commit([(run.id, Cancel("user:me"))])
    await other.published([(run.id, 2)])
    await other.tick()
    await kit.advance(6)
    ((_, _, _, _, events),) = await other.unpublished(5)
    assert [e.n for e in events] == [1]


async def test_ended_runs_are_pruned_after_their_retention(kit: Kit) -> None:
    session = await kit.ready()
    made = int(kit.now().timestamp() * 1000)
    run = await kit.attempt(session, id=encode(made, 1))
    live = await kit.attempt(session, id=encode(made, 2))
    await kit.store.save([a_checkpoint(run, 1)])
    await kit.store.save([SaveUsage(run.id, 1, [ModelUsage("a", 1, 1, 0.5)])])
    await kit.store.set_budget(NS, run.id, 5.0, 0, "user:ann")
    await kit.move(run.id, Finished(run.epoch))
    assert await kit.store.prune() == 0
    await kit.advance(31 * 86400)
    assert await kit.store.prune() >= 1
    assert await kit.store.get(NS, run.id) is None
    assert await kit.store.events(NS, run.id, 0, 10) == []
    assert await kit.store.spent(NS, [run.id]) == {}
    assert await kit.store.budgets(NS, [run.id]) == {}
    assert (await kit.record(live.id)).state is RunState.STARTING


async def test_spent_keys_and_refusals_are_pruned(kit: Kit) -> None:
    await kit.enqueued(an_enqueue(key="k"))
    refused = an_enqueue().run.id
    await kit.store.reject(NS, refused, "unknown_task", "no")
    await kit.advance(8 * 86400)
    assert await kit.store.prune() == 2
    assert (await kit.store.ends(NS, [refused])).others == {refused: "unknown"}


async def test_the_blobs_of_a_pruned_run_go_a_day_later(kit: Kit) -> None:
    session = await kit.ready()
    made = int(kit.now().timestamp() * 1000)
    small = await kit.attempt(session, id=encode(made, 1))
    large = await kit.attempt(session, id=encode(made, 2))
    ref = BlobRef(f"{NS}/{large.id}/{'a' * 64}", 200_000, "a" * 64)
    for run in (small, large):
        await kit.move(run.id, Finished(run.epoch, ref=ref if run is large else None))
    await kit.advance(31 * 86400)
    assert await kit.store.purges(10) == []
    await kit.store.prune()
    assert await kit.store.purges(10) == [], "who has just read its reference can still use it"
    await kit.advance(86400 + 1)
    (purge,) = await kit.store.purges(10)
    assert (purge.ns, purge.run, purge.key) == (NS, large.id, "")
    other = await kit.engine("e2")
    assert await other.purges(10) == [], "one engine removes it"
    await kit.advance(301)
    assert await other.purges(10) == [purge], "unless it died over it"
    await other.purged([purge.id])
    await kit.advance(301)
    assert await kit.store.purges(10) == []


async def test_blobs_of_old_checkpoints_go_unless_they_are_named_again(kit: Kit) -> None:
    session = await kit.ready(keep_checkpoints=1)
    run = await kit.attempt(session)

    def key(number: int) -> str:
        return f"{NS}/{run.id}/{number % 8:064x}"

    for number in range(1, 33):
        save = a_checkpoint(run, number)
        save.ref = BlobRef(key(number), 200_000, key(number)[-64:])
        save.state = NOTHING
        assert (await kit.store.save([save]))[0].outcome == "ok"
    assert await kit.store.purges(100) == []
    await kit.advance(3601)
    found = {p.key for p in await kit.store.purges(100)}
    # The first and the last one stay, and what they name.
    assert found == {key(n) for n in range(8)} - {key(1), key(32)}


async def test_a_blob_that_is_written_again_is_not_removed(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.purge_later(NS, run.id, ["a", "b"])
    assert await kit.store.keep_blob(NS, run.id, "a")
    await kit.advance(86401)
    (purge,) = await kit.store.purges(10)
    assert purge.key == "b"
    assert not await kit.store.keep_blob(NS, run.id, "b"), "it is being removed just now"
    await kit.store.purged([purge.id])
    assert await kit.store.keep_blob(NS, run.id, "b")


async def test_an_old_message_does_not_run_a_removed_run_again(kit: Kit) -> None:
    session = await kit.ready()
    made = int(kit.now().timestamp() * 1000)
    old = an_enqueue(id=encode(made, 1), created_at=kit.now())
    (run,) = await kit.enqueued(old)
    got = await kit.claimed(run.id, session)
    await kit.move(run.id, Finished(got.run.epoch))
    await kit.advance(31 * 86400)
    await kit.store.prune()
    keyed = an_enqueue(id=run.id, created_at=old.run.created_at, key="k")
    for again in (old, keyed):
        ((outcome,), _) = await kit.store.enqueue(NS, [again], {})
        assert (outcome.outcome, outcome.code) == ("rejected", "removed")
    await kit.advance(31 * 86400)
    await kit.store.prune()
    ((outcome,), _) = await kit.store.enqueue(NS, [old], {})
    assert outcome.outcome == "recorded"
