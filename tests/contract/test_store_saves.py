"""Saves: what an acknowledged save means, for every store (DECISIONS A1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway.states import RunState
from headway.wire import ErrorInfo
from headway_engine.happenings import Cancel, Failed, Finished, Lost, Resume, Started
from support.factories import NS, a_checkpoint, a_once, a_step

if TYPE_CHECKING:
    from headway_engine.store.records import SaveDone
    from support.stores import Kit


def outcomes(done: list[SaveDone]) -> list[str]:
    return [d.outcome for d in done]


async def test_three_saves_of_one_run_in_one_batch_are_all_stored(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    done = await kit.store.save([a_checkpoint(run, n) for n in (1, 2, 3)])
    assert outcomes(done) == ["ok"] * 3
    assert (await kit.record(run.id)).ck == 3
    for number in (1, 2, 3):
        found = await kit.store.state(NS, run.id, number)
        assert found is not None
        assert found[1] == b'{"turn":%d}' % number


async def test_a_save_while_starting_implies_started(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    (done,) = await kit.store.save([a_checkpoint(run, 1)])
    assert [(e.kind, e.n) for e in done.events] == [
        ("started", run.n + 1),
        ("checkpoint", run.n + 2),
    ]
    record = await kit.record(run.id)
    assert (record.state, record.started_at) == (RunState.RUNNING, kit.now())
    (already,) = await kit.move(run.id, Started(run.epoch))
    assert already.outcome == "already"


async def test_a_repeated_save_is_ok_and_changes_nothing(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_checkpoint(run, 1), a_checkpoint(run, 2)])
    before = await kit.record(run.id)
    done = await kit.store.save([a_checkpoint(run, 1), a_checkpoint(run, 2)])
    assert outcomes(done) == ["ok", "ok"]
    assert await kit.record(run.id) == before


async def test_the_same_save_twice_in_one_batch_is_stored_once(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    done = await kit.store.save([a_checkpoint(run, 1), a_checkpoint(run, 1), a_checkpoint(run, 2)])
    assert outcomes(done) == ["ok"] * 3
    record = await kit.record(run.id)
    assert (record.ck, record.n) == (2, run.n + 3)


async def test_other_content_under_a_saved_number_is_a_conflict(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_checkpoint(run, 1)])
    done = await kit.store.save([a_checkpoint(run, 1, {"turn": "other"})])
    assert outcomes(done) == ["conflict"]
    both = await kit.store.save([a_checkpoint(run, 2), a_checkpoint(run, 2, {"turn": "other"})])
    assert outcomes(both) == ["ok", "conflict"]


async def test_a_number_that_leaves_one_out_is_a_gap(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    done = await kit.store.save([a_checkpoint(run, 2)])
    assert outcomes(done) == ["gap"]
    assert (await kit.record(run.id)).n == run.n


async def test_a_stale_attempt_is_refused_whatever_it_writes(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_checkpoint(run, 1)])
    await kit.move(run.id, Lost(run.epoch, "gone"))
    new = (await kit.claimed(run.id, session, nonce="n2")).run
    before = await kit.record(run.id)
    done = await kit.store.save(
        [a_checkpoint(run, 2), a_step(run, "s"), a_once(run, "o", "started")]
    )
    assert outcomes(done) == ["stale_epoch"] * 3
    assert await kit.record(run.id) == before
    assert outcomes(await kit.store.save([a_checkpoint(new, 2)])) == ["ok"]


async def test_a_stale_attempt_is_refused_save_by_save_while_the_new_one_runs(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_checkpoint(run, 1)])
    await kit.move(run.id, Lost(run.epoch, "gone"))
    new = (await kit.claimed(run.id, session, nonce="n2")).run
    await kit.store.save([a_checkpoint(new, 2)])
    before = await kit.record(run.id)
    assert before.state is RunState.RUNNING
    for save in (a_checkpoint(run, 3), a_step(run, "s"), a_once(run, "o", "started")):
        assert outcomes(await kit.store.save([save])) == ["stale_epoch"]
    assert await kit.record(run.id) == before
    assert await kit.store.marks(NS, run.id) == []


async def test_a_late_repeat_of_a_pruned_checkpoint_changes_nothing(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready(keep_checkpoints=3))
    for number in range(1, 17):
        await kit.store.save([a_checkpoint(run, number)])
    before = await kit.record(run.id)
    assert outcomes(await kit.store.save([a_checkpoint(run, 5)])) == ["gap"]
    assert await kit.record(run.id) == before


async def test_a_late_retry_does_not_set_the_number_back(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_checkpoint(run, n) for n in (1, 2, 3)])
    assert outcomes(await kit.store.save([a_checkpoint(run, 1)])) == ["ok"]
    assert (await kit.record(run.id)).ck == 3


async def test_a_batch_of_many_runs_answers_each_alone(kit: Kit) -> None:
    session = await kit.ready()
    runs = [await kit.attempt(session) for _ in range(4)]
    await kit.move(runs[1].id, Finished(runs[1].epoch))
    done = await kit.store.save(
        [
            a_checkpoint(runs[0], 1),
            a_checkpoint(runs[1], 1),
            a_checkpoint(runs[2], 3),
            a_step(runs[3], "s"),
        ]
    )
    assert outcomes(done) == ["ok", "stale_epoch", "gap", "ok"]


async def test_a_recorded_step_keeps_its_first_result(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    assert outcomes(await kit.store.save([a_step(run, "s", "first")])) == ["ok"]
    assert outcomes(await kit.store.save([a_step(run, "s", "second")])) == ["ok"]
    await kit.move(run.id, Lost(run.epoch, "gone"))
    again = await kit.claimed(run.id, session, nonce="n2")
    assert [bytes(m.value) for m in again.marks] == [b'"first"']


async def test_a_later_attempt_does_not_change_what_is_recorded(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    first = [a_step(run, "s", "first"), a_once(run, "mail", "started"), a_once(run, "mail", "done")]
    assert outcomes(await kit.store.save(first)) == ["ok"] * 3
    await kit.move(run.id, Lost(run.epoch, "gone"))
    again = (await kit.claimed(run.id, session, nonce="n2")).run
    late = [a_step(again, "s", "second"), a_once(again, "mail", "started")]
    assert outcomes(await kit.store.save(late)) == ["ok", "ok"]
    third = (await kit.store.load_marks(NS, run.id, again.epoch, ""))[0]
    assert [(m.key, m.status, m.epoch, bytes(m.value)) for m in third] == [
        ("mail", "done", run.epoch, b"1"),
        ("s", "done", run.epoch, b'"first"'),
    ]


async def test_a_key_of_another_kind_is_a_conflict(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_step(run, "k")])
    assert outcomes(await kit.store.save([a_once(run, "k", "started")])) == ["conflict"]


async def test_a_once_mark_moves_within_its_epoch_and_done_is_final(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    moves = [a_once(run, "mail", "started", token="t"), a_once(run, "mail", "done")]
    assert outcomes(await kit.store.save(moves)) == ["ok", "ok"]
    late = [a_once(run, "mail", "started"), a_once(run, "mail", "failed")]
    assert outcomes(await kit.store.save(late)) == ["ok", "conflict"]
    (mark,) = await kit.store.marks(NS, run.id)
    assert (mark.status, mark.token) == ("done", "t")
    assert await kit.numbers(run.id) == list(range(1, (await kit.record(run.id)).n + 1))


async def test_an_interrupted_once_mark_is_open_until_a_person_decides(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_once(run, "mail", "started", token="t")])
    await kit.store.save([a_once(run, "mail", "interrupted")])
    (done,) = await kit.move(run.id, Finished(run.epoch))
    assert done.run is not None
    assert (done.run.state, done.run.reason) == (RunState.REVIEW, "once")
    (no,) = await kit.move(run.id, Resume("user:me"))
    assert no.outcome == "refused"
    (yes,) = await kit.move(
        run.id, Resume("user:me", (("mail", "done"),), (("mail", b'"by hand"'),))
    )
    assert yes.outcome == "ok"
    again = await kit.claimed(run.id, session, nonce="n2")
    (mark,) = again.marks
    assert (mark.status, bytes(mark.value), mark.resolved) == ("done", b'"by hand"', "done")
    (end,) = await kit.move(run.id, Finished(again.run.epoch))
    assert end.run is not None
    assert end.run.state is RunState.SUCCEEDED


async def test_a_mark_that_shall_run_again_starts_under_the_new_epoch(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_once(run, "mail", "started", token="t")])
    await kit.move(run.id, Finished(run.epoch), Resume("user:me", (("mail", "rerun"),)))
    again = (await kit.claimed(run.id, session, nonce="n2")).run
    moves = [a_once(again, "mail", "started"), a_once(again, "mail", "done")]
    assert outcomes(await kit.store.save(moves)) == ["ok", "ok"]
    (mark,) = await kit.store.marks(NS, run.id)
    assert (mark.epoch, mark.status, mark.token) == (again.epoch, "done", "t")


async def test_cancelling_takes_checkpoints_and_results_but_starts_nothing(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_once(run, "open", "started")])
    await kit.move(run.id, Cancel("user:me"))
    done = await kit.store.save(
        [
            a_checkpoint(run, 1),
            a_step(run, "s"),
            a_once(run, "open", "done"),
            a_once(run, "new", "started"),
        ]
    )
    assert outcomes(done) == ["ok", "ok", "ok", "cancelling"]
    assert (await kit.record(run.id)).state is RunState.CANCELLING


async def test_an_ended_attempt_takes_no_more_saves(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.move(run.id, Finished(run.epoch))
    done = await kit.store.save([a_checkpoint(run, 1), a_step(run, "s")])
    assert outcomes(done) == ["stale_epoch", "stale_epoch"]


async def test_events_number_without_gaps_through_a_mixed_batch(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    done = await kit.store.save(
        [a_checkpoint(run, 1), a_step(run, "a"), a_step(run, "b"), a_checkpoint(run, 2)]
    )
    assert [e.n for d in done for e in d.events] == list(range(run.n + 1, run.n + 6))
    assert await kit.numbers(run.id) == list(range(1, run.n + 6))


async def test_old_checkpoints_go_beside_the_save(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready(keep_checkpoints=3))
    for number in range(1, 17):
        await kit.store.save([a_checkpoint(run, number, keep=number == 7)])
    detail = await kit.store.detail(NS, run.id)
    assert detail is not None
    assert [c.number for c in detail.checkpoints] == [1, 7, 14, 15, 16]


async def test_a_failed_mark_keeps_its_error(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    error = ErrorInfo("SmtpError", "no route")
    await kit.store.save([a_once(run, "mail", "started", token="t")])
    await kit.store.save([a_once(run, "mail", "failed", error=error)])
    (mark,) = (await kit.record(run.id)).marks
    assert mark == msgspec.structs.replace(mark, key="mail", token="t", status="failed")
    marks, more = await kit.store.load_marks(NS, run.id, run.epoch, "")
    assert ([m.error for m in marks], more) == ([error], False)


async def test_a_short_sleep_keeps_its_due_time_over_attempts(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_step(run, "nap", kind="sleep", status="open", seconds=30.0)])
    due = kit.now().timestamp() + 30
    await kit.advance(10)
    await kit.move(run.id, Lost(run.epoch, "gone"))
    again = await kit.claimed(run.id, session, nonce="n2")
    (mark,) = again.marks
    assert mark.due_at is not None
    assert (mark.status, mark.due_at.timestamp()) == ("open", due)


async def test_an_agent_of_another_namespace_cannot_write_to_a_run(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    foreign = await kit.store.save([a_checkpoint(run, 1), a_step(run, "s")], ["other", "other"])
    assert [d.outcome for d in foreign] == ["stale_epoch", "stale_epoch"]
    assert [(d.ns, d.events) for d in foreign] == [("", []), ("", [])]
    told = await kit.store.commit(
        [
            (run.id, Finished(run.epoch), "other"),
            (run.id, Started(run.epoch), NS),
            (run.id, Failed(run.epoch, "error", ErrorInfo("E", "no")), "other"),
        ]
    )
    assert [(o.outcome, o.run is None) for o in told] == [
        ("unknown", True), ("ok", False), ("unknown", True),
    ]  # fmt: skip
    assert await kit.store.load_marks("other", run.id, run.epoch, "") == ([], False)
    record = await kit.record(run.id)
    assert (record.state, record.ck) == (RunState.RUNNING, 0)


async def test_a_foreign_save_in_the_batch_does_not_disturb_the_runs_own(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    own, later = a_checkpoint(run, 1), a_checkpoint(run, 9)
    answers = await kit.store.save(
        [own, later, own, a_step(run, "s"), a_step(run, "s")],
        ["other", "other", NS, "other", NS],
    )
    assert [d.outcome for d in answers] == ["stale_epoch", "stale_epoch", "ok", "stale_epoch", "ok"]
    assert (await kit.record(run.id)).ck == 1
