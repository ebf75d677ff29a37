"""Claims and dispatch: who may start what (DECISIONS B2, D, G2), for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from headway.states import RunState
from headway.wire.fleet import QueueAsk
from headway.wire.rpc import Beat
from headway_engine.happenings import Cancel, GivenBack, Lost
from support.factories import NS, a_checkpoint, a_deployment, a_step, an_agent, an_enqueue
from support.stores import LEASE

if TYPE_CHECKING:
    from headway_engine.store import ClaimAnswer
    from support.stores import Kit


async def claim(kit: Kit, session: int, *runs: str, nonce: str = "n1") -> ClaimAnswer:
    return await kit.store.claim(NS, "a1", session, nonce, runs, None)


async def dispatched(kit: Kit, room: int = 100, shared: int = 100) -> list[str]:
    batch = await kit.store.dispatch(NS, "default", room, shared)
    return [] if batch is None else [run for run, _ in batch.runs]


async def test_a_claim_raises_the_epoch_and_brings_what_the_attempt_needs(kit: Kit) -> None:
    session = await kit.ready(timeout=7.0)
    (run,) = await kit.enqueued(an_enqueue(tags=("a", "b")))
    await dispatched(kit)
    (got,) = (await claim(kit, session, run.id)).claimed
    assert (got.run.state, got.run.epoch, got.run.version) == (RunState.STARTING, 1, "v1")
    assert (got.payload, got.run.tags) == (Raw(b'{"topic":"tides"}'), ("a", "b"))
    assert (got.spec.timeout, got.run.timeout, got.version.modules) == (7.0, 7.0, ("app",))
    assert [e.kind for e in got.events] == ["starting"]
    assert await kit.record(run.id) == got.run


async def test_the_next_attempt_starts_with_the_last_checkpoint(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_checkpoint(run, 1), a_checkpoint(run, 2, schema="h")])
    await kit.move(run.id, Lost(run.epoch, "gone"))
    got = await kit.claimed(run.id, session, nonce="n2")
    assert (got.checkpoint, got.checkpoint_name, got.schema) == (2, "turn-2", "h")
    assert got.state == Raw(b'{"turn":2}')
    assert got.events[0].data["checkpoint"] == 2  # what it was given can be looked up later
    assert got.run.epoch == run.epoch + 2


async def test_the_same_nonce_gets_the_same_answer(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await dispatched(kit)
    first, second = await claim(kit, session, run.id), await claim(kit, session, run.id)
    assert first.claimed[0].run == second.claimed[0].run
    assert second.claimed[0].events == []
    other = await claim(kit, session, run.id, nonce="n2")
    assert (other.claimed, other.refused) == ([], [(run.id, "the run is starting")])


async def test_a_run_that_was_not_dispatched_is_refused(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    answer = await claim(kit, session, run.id, "01M83NR000000000000000000A")
    assert [why for _, why in answer.refused] == [
        "it was not dispatched, or the dispatch is over",
        "no such run",
    ]


async def test_a_paused_queue_refuses_and_the_run_loses_its_dispatch(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    assert await dispatched(kit) == [run.id]
    await kit.store.set_queue(NS, QueueAsk("default", paused=True), "user:me")
    assert [w for _, w in (await claim(kit, session, run.id)).refused] == [
        "queue default is paused"
    ]
    assert await dispatched(kit) == []
    await kit.store.set_queue(NS, QueueAsk("default", paused=False), "user:me")
    assert await dispatched(kit) == [run.id]
    assert (await claim(kit, session, run.id)).refused == []


async def test_a_limit_that_was_lowered_holds_at_the_claim(kit: Kit) -> None:
    session = await kit.ready()
    runs = await kit.enqueued(*[an_enqueue() for _ in range(3)])
    await dispatched(kit)
    await kit.store.set_queue(NS, QueueAsk("default", limit=2), "user:me")
    answer = await claim(kit, session, *[r.id for r in runs])
    assert (len(answer.claimed), len(answer.refused)) == (2, 1)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_cancel_that_crossed_the_enqueue_lets_no_attempt_begin(
    kit: Kit, count: int
) -> None:
    session = await kit.ready()
    given = [an_enqueue() for _ in range(count)]
    _, dispatches = await kit.store.enqueue(NS, given, {"default": (count, 0)})
    assert len(dispatches) == 1
    runs = [new.run for new in given]
    # Neither saw the other: the cancel is acknowledged for an unknown run, which is there now.
    await kit.store.early_cancel(NS, runs[0].id, "user:me", "no need")
    answer = await claim(kit, session, *[run.id for run in runs])
    assert [c.run.id for c in answer.claimed] == [run.id for run in runs[1:]]
    assert answer.refused == [(runs[0].id, "it was cancelled before it was recorded")]
    crossed = (NS, runs[0].id, "user:me", "no need")
    assert await kit.store.late_cancels(10) == [crossed]
    await kit.move(runs[0].id, Cancel("user:me", "no need"))
    assert await kit.store.late_cancels(10) == []


async def test_an_ended_session_claims_nothing(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await dispatched(kit)
    assert (await claim(kit, session + 1, run.id)).session_over
    answer = await claim(kit, session - 1, run.id)
    assert (answer.session_over, answer.claimed) == (True, [])
    assert (await kit.record(run.id)).state is RunState.QUEUED


async def test_an_overdue_lease_claims_nothing_until_a_beat_renews_it(kit: Kit) -> None:
    # After an outage every lease is overdue; a claim that comes before the first beat must not
    # make the agent end what it runs (DECISIONS B1).
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await dispatched(kit)
    await kit.advance(60)
    for ask in ([run.id], [an_enqueue().run.id], []):
        answer = await claim(kit, session, *ask)
        assert (answer.overdue, answer.session_over, answer.claimed) == (True, False, [])
    live = (await kit.store.beat(NS, Beat("a1", session, ""), LEASE)).live
    assert live
    assert [c.run.id for c in (await claim(kit, session, run.id)).claimed] == [run.id]


async def test_a_version_is_pinned_at_the_first_claim(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.deploy(NS, a_deployment("v2"))
    await kit.move(run.id, GivenBack(run.epoch, "no container", "agent"))
    again = await kit.claimed(run.id, session, nonce="n2")
    assert (again.run.version, again.version.version) == ("v1", "v1")
    fresh = await kit.attempt(session)
    assert fresh.version == "v2"


async def test_a_version_that_nobody_knows_goes_to_review(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue(version="v9"))
    await dispatched(kit)
    answer = await claim(kit, session, run.id)
    assert answer.claimed == []
    assert [o.run.reason for o in answer.outcomes if o.run] == ["version"]
    assert (await kit.record(run.id)).state is RunState.REVIEW


async def test_an_agent_without_the_image_is_refused(kit: Kit) -> None:
    session = await kit.ready()
    deployment = a_deployment("v2")
    deployment.image = "sha256:2"
    await kit.store.deploy(NS, deployment)
    (run,) = await kit.enqueued(an_enqueue())
    for images, claimed in ((frozenset[str](), 0), (frozenset({"sha256:2"}), 1)):
        await dispatched(kit)
        answer = await kit.store.claim(NS, "a1", session, "n1", [run.id], images)
        assert len(answer.claimed) == claimed


async def test_marks_come_in_pages(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    keys = [f"k{i:03}" for i in range(450)]
    await kit.store.save([a_step(run, key) for key in keys])
    await kit.move(run.id, Lost(run.epoch, "gone"))
    got = await kit.claimed(run.id, session, nonce="n2")
    found, more = [m.key for m in got.marks], got.marks_more
    while more:
        page, more = await kit.store.load_marks(NS, run.id, got.run.epoch, found[-1])
        found += [m.key for m in page]
    assert found == keys
    assert await kit.store.load_marks(NS, run.id, run.epoch, "") == ([], False)


async def test_large_marks_make_small_pages(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_step(run, f"k{i}", "x" * 100_000) for i in range(6)])
    marks, more = await kit.store.load_marks(NS, run.id, run.epoch, "")
    assert (len(marks), more) == (3, True)


# --- dispatch


async def test_priority_goes_before_age(kit: Kit) -> None:
    old, new, high = await kit.enqueued(an_enqueue(), an_enqueue(), an_enqueue(priority=9))
    order = [await dispatched(kit, room=1) for _ in range(3)]
    assert order == [[high.id], *([i] for i in sorted((old.id, new.id)))]


async def test_a_run_that_goes_on_is_before_new_ones(kit: Kit) -> None:
    session = await kit.ready()
    (early,) = await kit.enqueued(an_enqueue(id="01M83NR000000000000000000A"))
    going = await kit.in_state(RunState.RUNNING, session, id="01M83NR000000000000000000B")
    await kit.move(going.id, Lost(going.epoch, "gone"))
    (late,) = await kit.enqueued(an_enqueue(id="01M83NR000000000000000000C"))
    await kit.store.set_queue(NS, QueueAsk("default", paused=True), "user:me")
    await claim(kit, session, early.id, nonce="n3")  # it was dispatched before: gives it back
    await kit.store.set_queue(NS, QueueAsk("default", paused=False), "user:me")
    order = [await dispatched(kit, room=1) for _ in range(3)]
    assert order == [[going.id], [early.id], [late.id]]


async def test_a_limit_counts_open_and_dispatched_runs(kit: Kit) -> None:
    session = await kit.ready()
    await kit.store.set_queue(NS, QueueAsk("default", limit=2), "user:me")
    await kit.attempt(session)
    runs = await kit.enqueued(an_enqueue(), an_enqueue())
    assert len(await dispatched(kit)) == 1
    assert await dispatched(kit) == []
    (row,) = await kit.store.queue_rows(NS)
    assert (row.queued, row.dispatched, row.open) == (1, 1, 1)
    assert {r.id for r in runs} >= set(await dispatched(kit))


async def test_a_blocked_key_does_not_hold_up_others(kit: Kit) -> None:
    await kit.store.set_queue(NS, QueueAsk("default", key_limit=2), "user:me")
    await kit.enqueued(*[an_enqueue(limit_key="big", priority=5) for _ in range(6)])
    small = await kit.enqueued(*[an_enqueue(limit_key=k) for k in ("x", "y", "")])
    found = await dispatched(kit, room=10)
    assert len(found) == 5
    assert {r.id for r in small} <= set(found)
    assert await dispatched(kit, room=10) == []


async def test_rooms_are_per_kind(kit: Kit) -> None:
    await kit.enqueued(*[an_enqueue(shared=s) for s in (True, True, False, False)])
    batch = await kit.store.dispatch(NS, "default", 1, 2)
    assert batch is not None
    assert sorted(shared for _, shared in batch.runs) == [False, True, True]
    again = await kit.store.dispatch(NS, "default", 0, 5)
    assert again is not None
    assert again.runs == []


async def test_nothing_to_dispatch_is_another_word_than_a_queue_that_is_closed(kit: Kit) -> None:
    nothing = await kit.store.dispatch(NS, "default", 5, 5)
    assert nothing is not None
    assert nothing.runs == []
    await kit.store.set_queue(NS, QueueAsk("default", paused=True), "user:me")
    assert await kit.store.dispatch(NS, "default", 5, 5) is None


async def test_a_dispatch_is_published_again_only_when_it_is_gone(kit: Kit) -> None:
    runs = await kit.enqueued(an_enqueue(), an_enqueue())
    batch = await kit.store.dispatch(NS, "default", 5, 5)
    assert batch is not None
    await kit.store.dispatched([(batch.id, 10)], "stream-1")
    await kit.advance(31)
    queue = (NS, "default")
    assert await kit.store.undispatched({queue: 9}, "stream-1") == []
    (redo,) = await kit.store.undispatched({queue: 10}, "stream-1")
    assert {run for run, _ in redo.runs} == {r.id for r in runs}
    assert await kit.store.undispatched({queue: 10}, "stream-1") == []
    await kit.store.dispatched([(redo.id, 20)], "stream-1")
    # The stream ends before it: the server forgot it.
    await kit.advance(31)
    assert await kit.store.undispatched({queue: 10}, "stream-1", written=20) == []
    (redo,) = await kit.store.undispatched({queue: 10}, "stream-1", written=19)
    await kit.store.dispatched([(redo.id, 20)], "stream-1")
    # In a stream that is no more: at once.
    assert len(await kit.store.undispatched({queue: 10}, "stream-2")) == 1


async def test_a_dispatch_that_never_reached_work_is_found(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await dispatched(kit)
    assert await kit.store.undispatched({}, "s") == []
    await kit.advance(5)
    assert await kit.store.undispatched({}, "s", 10.0) == []
    (redo,) = await kit.store.undispatched({}, "s", 3.0)
    await kit.advance(31)
    (redo,) = await kit.store.undispatched({}, "s")
    assert redo.runs == [(run.id, False)]
    await kit.store.register(NS, an_agent(), 15.0)
    session += 1
    await claim(kit, session, run.id)
    await kit.advance(31)
    assert await kit.store.undispatched({}, "s") == []


async def test_queue_states_count_what_stands_where(kit: Kit) -> None:
    session = await kit.ready()
    await kit.attempt(session)
    await kit.enqueued(an_enqueue(), an_enqueue(shared=True))
    await dispatched(kit)
    await kit.enqueued(an_enqueue(), an_enqueue(queue="other", created_at=kit.now()))
    found = {q.queue: q for q in await kit.store.queues()}
    q = found["default"]
    assert (q.queued, q.dispatched, q.dispatched_shared, q.open) == (1, 1, 1, 1)
    assert found["other"].queued == 1


@pytest.mark.parametrize("room", [1, 3])
async def test_dispatch_gives_no_run_twice(kit: Kit, room: int) -> None:
    runs = await kit.enqueued(*[an_enqueue() for _ in range(7)])
    found: list[str] = []
    while some := await dispatched(kit, room=room):
        found += some
    assert sorted(found) == sorted(r.id for r in runs)


async def test_a_claim_says_how_long_the_run_waited_in_its_queue(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await kit.advance(5.0)
    await dispatched(kit)
    (got,) = (await claim(kit, session, run.id)).claimed
    assert got.waited == pytest.approx(5.0, abs=2.0)
    (again,) = (await claim(kit, session, run.id)).claimed
    assert again.waited is None  # a repeat is not another wait
    await kit.advance(60.0)
    session = await kit.ready()
    await kit.move(run.id, Lost(got.run.epoch, "gone"))
    await kit.advance(3.0)
    await dispatched(kit)
    (back,) = (await claim(kit, session, run.id, nonce="n2")).claimed
    assert back.waited == pytest.approx(3.0, abs=2.0)
