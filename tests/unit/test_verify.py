"""The checker's rules on histories made by hand: each one holds, and each one is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headway import states
from headway.wire.events import LogChunk
from headway_ops.verify import INVARIANTS, Report, Violation
from headway_ops.verify import path as path_of
from headway_ops.verify.acks import Ack, Saved, Stored
from headway_ops.verify.acks import check as acked
from headway_ops.verify.bodies import check as bodies
from headway_ops.verify.containers import judge
from headway_ops.verify.effects import Effect
from headway_ops.verify.effects import check as effects
from headway_ops.verify.epochs import check as epochs
from headway_ops.verify.facts import Body, Holder, Live, Mark, Run
from headway_ops.verify.logs import Lines
from headway_ops.verify.queues import Count, Opening
from headway_ops.verify.retries import check as retries
from headway_ops.verify.standing import check as standing
from support.histories import OTHER, RUN, T0, Story, at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headway_ops.verify.facts import History


def ran() -> Story:
    """One attempt with two checkpoints and a once block."""
    return Story().claimed().started().saved().once("started").once("done").saved().succeeded()


def judged(h: History) -> list[Violation]:
    report = Report()
    found = list(path_of.check(h, report))
    for check in (epochs, retries, bodies):
        found += check(h, report)
    return found


def places(found: Iterable[Violation]) -> list[tuple[str, int]]:
    return [(v.invariant, v.n) for v in found]


def test_a_whole_life_breaks_nothing() -> None:
    story = Story().claimed().started().saved().lost(confirmed_dead=True)
    story.claimed().started(container="c", resumed_from=1).failed().note("queued", "QUEUED")
    story.claimed().started().once("started").note("review", "REVIEW")
    story.epoch += 1
    story.note("resolved", key="pay", decision="done").note("resumed", "QUEUED")
    story.marks = [Mark("pay", "once", "done", 5, None, "tok", "done")]
    story.claimed().started().saved().succeeded()
    assert judged(story.history()) == []


def test_the_table_of_moves_is_the_engines() -> None:
    ours = {k or None: v for k, v in path_of.MOVES.items()}
    theirs = {k and k.value: {s.value for s in v} for k, v in states.MOVES.items()}
    assert ours == theirs


def test_every_invariant_has_a_promise() -> None:
    assert set(INVARIANTS) == {f"I{i}" for i in range(1, 24) if i != 21} | {"I9b"}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_a_missing_event_is_named_and_nothing_else(n: int) -> None:
    story = ran()
    last = len(story.events)
    assert places(judged(story.without(n).history(n=last))) == [("I4", n)]


DAMAGE: list[tuple[Callable[[Story], Story], tuple[str, int]]] = [
    (lambda s: s.edit(3, source="QUEUED"), ("I4", 3)),
    (lambda s: s.edit(8, target="EXPIRED"), ("I4", 8)),
    (lambda s: s.note("succeeded", "SUCCEEDED"), ("I3", 9)),
    (lambda s: s.note("step", key="x"), ("I3", 9)),
    (lambda s: s.edit(2, epoch=7), ("I5", 2)),
    (lambda s: s.edit(4, epoch=7), ("I5", 4)),
    (lambda s: s.edit(8, epoch=0), ("I5", 8)),
    (lambda s: s.edit(7, data={"number": 3}), ("I8", 7)),
    (lambda s: s.edit(2, data={"attempt": 1, "checkpoint": 4}), ("I8", 2)),
    (lambda s: s.edit(3, data={"container": "c", "resumed_from": 1}), ("I8", 3)),
    (lambda s: s.edit(2, data={"attempt": 2}), ("I13", 2)),
]


@pytest.mark.parametrize(("damage", "where"), DAMAGE)
def test_a_changed_event_is_named(damage: Callable[[Story], Story], where: tuple[str, int]) -> None:
    story = ran()
    found = judged(damage(story).history(state="SUCCEEDED", ended_at=T0, result=True))
    assert where in places(found)
    assert {v.n for v in found if v.invariant in ("I3", "I4", "I5", "I13")} <= {where[1]}


def test_a_run_that_is_not_where_its_events_lead() -> None:
    assert places(judged(ran().history(state="FAILED"))) == [("I4", 8)]
    assert places(judged(ran().history(ended_at=None))) == [("I3", 8)]
    assert places(judged(ran().history(result=False))) == [("I3", 8)]


def test_after_its_end_a_run_is_only_acknowledged_and_tagged() -> None:
    failed = Story().claimed().note("failed", "FAILED")
    seen = failed.note("acknowledged").note("unacknowledged").note("tagged").note("acknowledged")
    assert judged(seen.history(state="FAILED", ended_at=T0)) == []
    late = seen.note("step")
    assert places(judged(late.history(state="FAILED", ended_at=T0))) == [("I3", 8)]


def test_epochs_must_grow_over_claims() -> None:
    story = Story().claimed().note("given_back", "QUEUED")
    story.epoch = 0
    story.claimed().started().succeeded()
    assert places(judged(story.history())) == [("I5", 4)]


def test_saves_of_another_epoch_than_the_runs() -> None:
    story = ran()
    story.checkpoints[0] = story.checkpoints[0]._replace(run_epoch=2)
    assert places(judged(story.history())) == [("I6", 4)]
    story = ran()
    story.checkpoints[0] = story.checkpoints[0]._replace(epoch=2, run_epoch=2)
    assert places(judged(story.history())) == [("I6", 4)]
    story = ran()
    story.marks[0] = story.marks[0]._replace(epoch=3, run_epoch=3)
    assert places(judged(story.history())) == [("I6", 6)]


def test_checkpoints_stay_unless_retention_took_them() -> None:
    story = ran()
    del story.checkpoints[1]
    assert places(judged(story.history())) == [("I7", 7)]
    story = Story().claimed().started()
    for _ in range(6):
        story.saved()
    story.succeeded()
    del story.checkpoints[1:3]
    assert judged(story.history(keep_ck=3)) == []
    del story.checkpoints[0]
    assert places(judged(story.history(keep_ck=3))) == [("I7", 4)]


def test_a_state_has_the_hash_and_size_that_it_was_saved_with() -> None:
    story = ran()
    story.checkpoints[1] = story.checkpoints[1]._replace(found="other")
    assert places(judged(story.history())) == [("I17", 7)]
    story.checkpoints[1] = story.checkpoints[1]._replace(found="sha-2", found_size=3)
    assert places(judged(story.history())) == [("I17", 7)]
    body = Body(RUN, "checkpoint 2", "k", 2, "else")
    story.checkpoints[1] = story.checkpoints[1]._replace(found_size=2, ref=body)
    assert places(judged(story.history())) == [("I17", 7)]


def test_an_open_once_mark_on_a_run_that_succeeded() -> None:
    story = ran()
    story.marks[0] = story.marks[0]._replace(status="started")
    assert places(judged(story.history())) == [("I10", 6)]
    for status, resolved in (("failed", ""), ("started", "rerun")):
        story.marks[0] = story.marks[0]._replace(status=status, resolved=resolved)
        assert judged(story.history()) == []


@pytest.mark.parametrize(("override", "exited"), [(False, False), (True, False), (False, True)])
def test_a_decision_waits_for_the_end_of_older_attempts(override: bool, exited: bool) -> None:
    story = Story().claimed().started().once("started").lost()
    story.claimed().started().note("review", "REVIEW")
    if exited:
        story.note("exited", epoch=1)
    n = len(story.events) + 1
    story.note("resolved", key="pay", decision="rerun", override=override)
    expected = [] if override or exited else [("I9b", n)]
    assert places(judged(story.history())) == expected


def test_the_last_of_too_many_losses_must_be_seen_too() -> None:
    story = Story().claimed().started().once("started").note("lost").note("review", "REVIEW")
    story.epoch += 1
    story.note("resolved", key="pay", decision="rerun")
    assert places(judged(story.history())) == [("I9b", 7)]


def test_a_key_has_one_run_in_its_window() -> None:
    h = ran().history(key="k")
    h.holder = Holder(OTHER, at(-5), at(100))
    assert places(judged(h)) == [("I11", 1)]
    for holder in (Holder(RUN, at(-5), at(100)), Holder(OTHER, at(1), at(9)),
                   Holder(OTHER, at(-9), at(-1))):  # fmt: skip
        h.holder = holder
        assert judged(h) == []


def test_retries_follow_the_policy() -> None:
    def retried(delay: float, **data: Any) -> list[tuple[str, int]]:
        story = Story().claimed().started().failed(delay, **data).note("queued", "QUEUED")
        story.edit(5, at=at(10_000))
        return places(judged(story.history()))

    assert retried(1.05) == []
    assert retried(2.0) == [("I13", 4)]
    assert retried(0.2) == [("I13", 4)]
    assert retried(500.0, asked=True) == []
    assert retried(-1.0, asked=True) == [("I13", 4)]


def test_attempts_have_a_bound_and_no_jumps() -> None:
    story = Story().claimed().started().failed().note("queued", "QUEUED")
    story.claimed().started().failed(2.0).note("queued", "QUEUED").claimed().started()
    story.edit(9, at=at(60))
    assert judged(story.history()) == []
    story.edit(4, data=story.events[3].data | {"attempt": 3})
    assert ("I13", 4) in places(judged(story.history()))
    assert ("I13", story.events[-1].n) in places(judged(story.history(failures=7)))


def test_nothing_is_early() -> None:
    story = Story().claimed().started().failed().note("queued", "QUEUED")
    assert judged(story.history()) == []
    story.edit(5, at=at(3.5))
    assert places(judged(story.history())) == [("I12", 5)]


def test_no_claim_after_a_cancel() -> None:
    story = Story().claimed().started().note("cancelling", "CANCELLING")
    story.note("cancelled", "CANCELLED").note("starting", epoch=2, attempt=1)
    assert ("I14", 6) in places(judged(story.history(epoch=2)))


STUCK: list[tuple[dict[str, Any], Live | None, bool, str]] = [
    ({"state": "QUEUED"}, Live(), False, ""),
    ({"state": "QUEUED"}, Live(), True, "I2"),
    ({"state": "QUEUED"}, Live(paused=True), True, ""),
    ({"state": "QUEUED", "dispatch": 4}, Live(dispatched=False), False, "I18"),
    ({"state": "QUEUED", "ttl_at": at(-100)}, Live(), False, "I2"),
    ({"state": "QUEUED", "ttl_at": at(-10)}, Live(), False, ""),
    ({"state": "RUNNING", "deadline_at": at(-100)}, Live(lease_until=at(9)), False, "I2"),
    ({"state": "RUNNING", "attempt_at": at(-50), "timeout_s": 9.0}, Live(lease_until=at(9)),
     False, ""),
    ({"state": "RUNNING", "attempt_at": at(-90), "timeout_s": 9.0}, Live(lease_until=at(9)),
     False, "I2"),
    ({"state": "RUNNING"}, Live(lease_until=at(-60)), False, ""),
    ({"state": "RUNNING"}, Live(lease_until=at(-600)), False, "I2"),
    ({"state": "RUNNING"}, Live(), False, "I2"),
    ({"state": "STARTING", "claimed_at": at(-50)}, Live(lease_until=at(9)), False, ""),
    ({"state": "STARTING", "claimed_at": at(-70)}, Live(lease_until=at(9)), False, "I2"),
    ({"state": "STARTING"}, Live(lease_until=at(9)), True, "I2"),
    ({"state": "CANCELLING"}, Live(lease_until=at(9)), True, "I2"),
    ({"state": "REVIEW"}, Live(), True, ""),
    ({"state": "WAITING"}, Live(), True, ""),
    ({"state": "RETRYING", "due_at": at(60)}, Live(), True, ""),
    ({"state": "RETRYING", "due_at": at(-20)}, Live(), True, ""),
    ({"state": "RETRYING", "due_at": at(-60)}, Live(), False, "I12"),
    ({"state": "RETRYING"}, Live(), False, "I12"),
    ({"state": "SUCCEEDED"}, None, True, ""),
]  # fmt: skip


@pytest.mark.parametrize(("run", "live", "settled", "broken"), STUCK)
def test_where_a_run_may_stand(
    run: dict[str, Any], live: Live | None, settled: bool, broken: str
) -> None:
    h = Story().history(**run)
    h.live = live
    found = list(standing(h, Report(), T0, settled=settled))
    assert [v.invariant for v in found] == ([broken] if broken else [])


def an_ack(op: str, **fields: Any) -> Ack:
    return Ack(op, RUN, **fields)


SUCCEEDED = Run(RUN, "default", "t", "q", "SUCCEEDED", T0, ck=9, keep_ck=2)
ROW = Stored(SUCCEEDED, "hash", "res")
GONE = Stored()
ACKS: list[tuple[Ack, Stored, Saved | None, str]] = [
    (an_ack("enqueue", word="recorded", payload="hash"), ROW, None, ""),
    (an_ack("enqueue", word="recorded", payload="other"), ROW, None, "I1"),
    (an_ack("enqueue", word="recorded"), GONE, None, "I1"),
    (an_ack("enqueue", word="recorded"), Stored(pruned=True), None, ""),
    (an_ack("enqueue", word="accepted"), GONE, None, "I1"),
    (an_ack("enqueue", word="accepted"), Stored(waits=True), None, ""),
    (an_ack("enqueue", word="accepted"), Stored(winner=OTHER), None, ""),
    (an_ack("enqueue", word="recorded"), Stored(waits=True), None, "I1"),
    (an_ack("enqueue", word="duplicate", winner=OTHER, payload="other"), ROW, None, "I11"),
    (an_ack("enqueue", word="duplicate", winner=OTHER), GONE, None, "I1"),
    (an_ack("result", status="succeeded", sha256="res"), ROW, None, ""),
    (an_ack("result", status="succeeded", sha256="other"), ROW, None, "I3"),
    (an_ack("result", status="failed"), ROW, None, "I3"),
    (an_ack("result", status="failed"), GONE, None, "I3"),
    (an_ack("checkpoint", number=9, sha256="s"), ROW, Saved("s", 1), ""),
    (an_ack("checkpoint", number=9, sha256="s"), ROW, Saved("t", 1), "I7"),
    (an_ack("checkpoint", number=9, sha256="s"), ROW, None, "I7"),
    (an_ack("checkpoint", number=4, sha256="s"), ROW, None, ""),
    (an_ack("checkpoint", number=4, sha256="s"), GONE, None, "I7"),
    (an_ack("mark", key="k", kind="once", sha256="s"), ROW, Saved("s", 1, "done"), ""),
    (an_ack("mark", key="k", kind="once", sha256="s"), ROW, Saved("s", 1, "started"), "I7"),
    (an_ack("mark", key="k", kind="step", sha256="s"), ROW, Saved("t", 1, "done"), "I7"),
    (an_ack("mark", key="k", kind="step", sha256="s"), ROW, None, "I7"),
]  # fmt: skip


@pytest.mark.parametrize(("ack", "stored", "saved", "broken"), ACKS)
def test_what_was_acknowledged(ack: Ack, stored: Stored, saved: Saved | None, broken: str) -> None:
    found = list(acked(ack, stored, saved, Report()))
    assert [v.invariant for v in found] == ([broken] if broken else [])


def effects_of(story: Story, *done: Effect) -> list[tuple[str, int, int]]:
    found = effects(story.history(), {"pay": list(done)}, Report())
    return [(v.invariant, v.n, v.epoch) for v in found]


def test_an_effect_never_follows_its_done_mark() -> None:
    story = ran()
    first = Effect(RUN, "pay", "tok", 1, policy="raise")
    assert effects_of(story, first) == []
    assert effects_of(story, first, first) == [("I9", 2, 1)]
    assert effects_of(story, Effect(RUN, "pay", "else", 1)) == [("I9", 0, 1)]
    assert effects_of(story, Effect(RUN, "pay", "tok", 9)) == [("I9", 0, 9)]
    story = Story().claimed().started().once("started").once("done").lost().claimed().started()
    assert effects_of(story, first, Effect(RUN, "pay", "tok", 3)) == [("I9", 7, 3)]


def test_a_second_effect_needs_the_policys_word() -> None:
    story = Story().claimed().started().once("started").lost().claimed().started().once("started")
    story.once("done")
    twice = [Effect(RUN, "pay", "tok", 1), Effect(RUN, "pay", "tok", 3)]
    assert effects_of(story, *twice) == []
    strict = [Effect(RUN, "pay", "tok", e, data={"policy": "raise"}) for e in (1, 3)]
    assert effects_of(story, *strict) == [("I9", 0, 3)]
    story = Story().claimed().started().once("started").note("review", "REVIEW")
    story.epoch += 1
    story.note("resolved", key="pay", decision="rerun").note("resumed", "QUEUED")
    story.claimed().started().once("started").once("done").succeeded()
    assert effects_of(story, *strict) == []
    assert effects_of(story, strict[0]) == []


def test_a_replay_does_not_repeat_what_was_done() -> None:
    story = Story().claimed().started().succeeded()
    story.marks = [Mark("pay", "once", "done", 0, None, "tok")]
    assert effects_of(story) == []
    assert effects_of(story, Effect(RUN, "pay", "tok", 1)) == [("I9", 2, 1)]


def test_a_queue_keeps_its_limits() -> None:
    def opened(run: str, key: str = "") -> Opening:
        return Opening(run, 2, "QUEUED", "STARTING", key)

    def closed(run: str) -> Opening:
        return Opening(run, 3, "RUNNING", "SUCCEEDED")

    def over(limit: int, by_key: int, *events: Opening) -> list[str]:
        count = Count("q", limit, by_key)
        return [v.run for e in events for v in count.pass_by(e)]

    assert over(2, 0, opened("a"), opened("b"), closed("a"), opened("c")) == []
    assert over(2, 0, opened("a"), opened("b"), opened("c"), closed("a")) == ["c"]
    assert over(0, 1, opened("a", "k"), opened("b", "l"), closed("a"), opened("c", "k")) == []
    assert over(0, 1, opened("a", "k"), opened("b", "k")) == ["b"]
    assert over(1, 0, closed("before"), opened("a")) == []


def test_line_numbers_grow_and_gaps_are_said() -> None:
    def read(*chunks: tuple[int, int, int]) -> tuple[int, int]:
        lines, report = Lines(), Report()
        found = [
            v
            for first, count, dropped in chunks
            for v in lines.chunk(
                RUN, 1, LogChunk(first, ["x"] * count, T0, dropped=dropped), report
            )
        ]
        return len(found), lines.lost

    assert read((1, 3, 0), (4, 2, 0)) == (0, 0)
    assert read((1, 3, 0), (1, 3, 0), (4, 1, 0)) == (0, 0)
    assert read((1, 3, 0), (9, 1, 5)) == (0, 0)
    assert read((1, 3, 0), (9, 1, 0)) == (0, 5)
    assert read((1, 3, 0), (9, 1, 7)) == (1, 0)
    assert read((1, 3, 0), (2, 4, 0)) == (1, 0)


def test_a_container_without_a_living_agent() -> None:
    def said(owner: str, age: float, state: str = "running") -> int:
        container = {"Id": "c" * 64, "Labels": {"headway.owner": owner}, "State": state,
                     "Created": 1000 - age}  # fmt: skip
        agents = {"default.up": True, "default.down": False}
        return len(list(judge([container], agents, 1000.0, Report())))

    assert said("default.down", 500) == 1
    assert said("default.down", 5) == 0
    assert said("default.down", 500, "exited") == 0
    assert said("default.up", 500) == 0
    assert said("elsewhere.down", 500) == 0
