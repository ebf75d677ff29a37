"""Intake: repeats, idempotency keys, early cancels, refusals (DECISIONS C), for every store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway.states import RunState
from headway.wire import ErrorInfo
from headway.wire.fleet import QueueAsk
from headway_engine.happenings import Cancel, Failed, Finished, Happening
from support.factories import NS, an_enqueue

if TYPE_CHECKING:
    from datetime import datetime

    from headway_engine.store.records import EnqueueOutcome, NewRun
    from support.stores import Kit

DAY = timedelta(days=1)


def keyed(kit: Kit, key: str = "k", at: datetime | None = None, payload: object = None) -> NewRun:
    at = at or kit.now()
    return an_enqueue(payload, key=key, key_until=at + DAY, queued_at=at)


async def put(kit: Kit, *items: NewRun) -> list[EnqueueOutcome]:
    outcomes, _ = await kit.store.enqueue(NS, items, {})
    assert [o.run for o in outcomes] == [i.run.id for i in items]
    return outcomes


async def test_outcomes_come_in_the_order_of_the_items(kit: Kit) -> None:
    items = [an_enqueue() for _ in range(5)]
    items.insert(2, keyed(kit))
    assert [o.outcome for o in await put(kit, *items)] == ["recorded"] * 6
    detail = await kit.store.detail(NS, items[0].run.id)
    assert detail is not None
    assert detail.payload == Raw(b'{"topic":"tides"}')
    assert [(e.n, e.kind, e.target) for e in detail.events] == [(1, "queued", "QUEUED")]


async def test_the_same_id_and_payload_again_is_a_repeat(kit: Kit) -> None:
    item = an_enqueue()
    await put(kit, item)
    (again,) = await put(kit, item)
    assert (again.outcome, again.events) == ("again", [])
    twice = an_enqueue()
    assert [o.outcome for o in await put(kit, twice, twice)] == ["recorded", "again"]


async def test_the_same_id_with_another_payload_is_never_recorded(kit: Kit) -> None:
    item = an_enqueue()
    other = an_enqueue({"topic": "other"}, id=item.run.id)
    assert [(o.outcome, o.code) for o in await put(kit, item, other)] == [
        ("recorded", ""),
        ("rejected", "conflict"),
    ]
    (late,) = await put(kit, other)
    assert (late.outcome, late.code) == ("rejected", "conflict")


async def test_a_live_key_leads_to_its_holder(kit: Kit) -> None:
    first, second, third = keyed(kit), keyed(kit), keyed(kit)
    done = await put(kit, first, second)
    assert [(o.outcome, o.winner) for o in done] == [("recorded", ""), ("duplicate", first.run.id)]
    (late,) = await put(kit, third)
    assert (late.outcome, late.winner) == ("duplicate", first.run.id)
    answer = await kit.store.ends(NS, [second.run.id, third.run.id])
    assert answer.aliases == {second.run.id: first.run.id, third.run.id: first.run.id}
    assert answer.others == {first.run.id: "queued"}


async def test_another_payload_under_a_live_key_is_an_error(kit: Kit) -> None:
    first, other = keyed(kit), keyed(kit, payload={"topic": "other"})
    done = await put(kit, first, other)
    assert [(o.outcome, o.code) for o in done] == [("recorded", ""), ("rejected", "key_conflict")]
    # Who was answered *accepted*, and whoever asks later, must hear it (DECISIONS J3).
    answer = await kit.store.ends(NS, [other.run.id])
    assert answer.others == {other.run.id: "rejected"}
    refused = answer.refused[other.run.id]
    assert (refused.code, first.run.id in refused.reason) == ("key_conflict", True)


async def test_scopes_and_tasks_have_keys_of_their_own(kit: Kit) -> None:
    first, scoped, task = keyed(kit), keyed(kit), keyed(kit)
    scoped.key_scope = first.run.id
    task.run.task = "other"
    assert [o.outcome for o in await put(kit, first, scoped, task)] == ["recorded"] * 3


@pytest.mark.parametrize(
    ("end", "frees"),
    [
        (Failed(1, "stop", ErrorInfo("E"), retry=False), True),
        (Failed(1, "timeout", ErrorInfo("TimeoutError")), True),
        (Finished(1), False),
        (Cancel("user:me"), False),
    ],
    ids=["failed", "timed_out", "succeeded", "cancelled"],
)
async def test_a_run_that_failed_frees_its_key(kit: Kit, end: Happening, frees: bool) -> None:
    session = await kit.ready()
    first = keyed(kit)
    await put(kit, first)
    if not isinstance(end, Cancel):
        await kit.claimed(first.run.id, session)
    await kit.move(first.run.id, end)
    (second,) = await put(kit, keyed(kit))
    assert second.outcome == ("recorded" if frees else "duplicate")
    assert second.ended is not frees


async def test_a_failed_run_holds_its_key_if_the_caller_said_so(kit: Kit) -> None:
    session = await kit.ready()
    first = keyed(kit)
    first.run.keep_key = True
    await put(kit, first)
    run = await kit.claimed(first.run.id, session)
    await kit.move(run.run.id, Failed(1, "stop", ErrorInfo("E"), retry=False))
    (second,) = await put(kit, keyed(kit))
    assert (second.outcome, second.winner) == ("duplicate", first.run.id)


async def test_the_window_counts_from_when_the_enqueue_was_accepted(kit: Kit) -> None:
    start = kit.now()
    first = keyed(kit)
    await put(kit, first)
    await kit.advance(25 * 3600)
    (outage,) = await put(kit, keyed(kit, at=start + timedelta(hours=1)))
    assert outage.outcome == "duplicate"
    (fresh,) = await put(kit, keyed(kit))
    assert fresh.outcome == "recorded"


async def test_a_key_that_was_taken_over_is_not_freed_by_its_old_holder(kit: Kit) -> None:
    session = await kit.ready()
    first = keyed(kit)
    await put(kit, first)
    old = await kit.claimed(first.run.id, session)
    await kit.advance(25 * 3600)
    second = keyed(kit)
    await put(kit, second)
    await kit.move(first.run.id, Failed(old.run.epoch, "stop", ErrorInfo("E"), retry=False))
    (third,) = await put(kit, keyed(kit))
    assert third.winner == second.run.id


async def test_a_cancel_that_came_before_its_enqueue_is_honoured(kit: Kit) -> None:
    item = an_enqueue()
    await kit.store.early_cancel(NS, item.run.id, "user:me", "typo")
    outcomes, given = await kit.store.enqueue(NS, [item, an_enqueue()], {"default": (5, 5)})
    assert [o.outcome for o in outcomes] == ["recorded", "recorded"]
    assert outcomes[0].ended
    assert [e.kind for e in outcomes[0].events] == ["queued", "cancelled"]
    assert item.run.id not in [run for batch in given for run, _ in batch.runs]
    record = await kit.record(item.run.id)
    assert (record.state, record.reason) == (RunState.CANCELLED, "typo")


async def test_a_start_in_the_future_waits_as_delayed(kit: Kit) -> None:
    soon, past = kit.now() + timedelta(seconds=5), kit.now() - timedelta(seconds=5)
    late, early = await kit.enqueued(an_enqueue(due_at=soon), an_enqueue(due_at=past))
    assert (late.state, early.state) == (RunState.DELAYED, RunState.QUEUED)
    assert ((await kit.record(late.id)).due_at, (await kit.record(early.id)).due_at) == (soon, None)


async def test_what_fits_is_dispatched_in_the_same_commit(kit: Kit) -> None:
    session = await kit.ready()
    items = [an_enqueue(priority=p) for p in (0, 5, 1)] + [an_enqueue(shared=True)]
    _, given = await kit.store.enqueue(NS, items, {"default": (2, 1)})
    assert {run for batch in given for run, _ in batch.runs} == {
        items[1].run.id,
        items[2].run.id,
        items[3].run.id,
    }
    answer = await kit.store.claim(NS, "a1", session, "n1", [items[1].run.id], None)
    assert len(answer.claimed) == 1


@pytest.mark.parametrize("ask", [{"paused": True}, {"limit": 3}, {"key_limit": 1}], ids=str)
async def test_a_queue_with_limits_dispatches_nothing_at_intake(
    kit: Kit, ask: dict[str, Any]
) -> None:
    await kit.store.set_queue(NS, QueueAsk("default", **ask), "user:me")
    _, given = await kit.store.enqueue(NS, [an_enqueue()], {"default": (5, 5)})
    assert given == []


async def test_new_runs_do_not_overtake_those_that_wait(kit: Kit) -> None:
    await kit.enqueued(an_enqueue())
    _, given = await kit.store.enqueue(NS, [an_enqueue()], {"default": (5, 5)})
    assert given == []


async def test_a_refusal_can_be_asked_for(kit: Kit) -> None:
    item = an_enqueue()
    await kit.store.reject(NS, item.run.id, "unknown_task", "no task of that name")
    answer = await kit.store.ends(NS, [item.run.id, an_enqueue().run.id])
    assert (answer.ended, answer.aliases) == ([], {})
    assert list(answer.others.values()) == ["rejected", "unknown"]
    assert [(r.run, r.outcome) for r in answer.refused.values()] == [(item.run.id, "rejected")]
    assert all(r.code and r.reason for r in answer.refused.values())


async def test_ends_are_told_with_result_or_error(kit: Kit) -> None:
    session = await kit.ready()
    good, bad = await kit.attempt(session), await kit.attempt(session)
    error = ErrorInfo("ValueError", "no", "trace")
    await kit.move(good.id, Finished(good.epoch, Raw(b'{"a": 1}'), size=8))
    await kit.move(bad.id, Failed(bad.epoch, "stop", error, retry=False))
    answer = await kit.store.ends(NS, [good.id, bad.id])
    assert answer.others == {}
    assert {e.run: (e.status, bytes(e.result), e.error) for e in answer.ended} == {
        good.id: ("succeeded", b'{"a": 1}', None),
        bad.id: ("failed", b"", error),
    }
