from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from msgspec import Raw

from headway import subjects
from headway.ids import new_run_id
from headway.states import RunState
from headway.wire import BlobRef, ErrorInfo, decode, rpc
from headway.wire.enqueue import ANSWERS, Ended
from headway.wire.events import Event, RunEvents
from headway.wire.reports import (
    AttemptFailed,
    AttemptLost,
    Finished,
    GivenBack,
    Report,
    Started,
    Stopped,
    Suspend,
)
from headway_engine.post import Post
from headway_engine.relay import Relay, ended_of
from headway_engine.reports import happening_of, outcome_of
from headway_engine.store.records import End, Outcome, Run, Stop

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REPLY = subjects.reply("c1", "t1")
NOTHING_YET = cast("Any", None)
"""Where the network would be: nothing here is run, only asked what it would send."""


def run_in(state: RunState, reply: str = REPLY) -> Run:
    return Run(new_run_id(), "ns", "noop", "default", state, NOW, reply=reply, agent="a1")


def relay(capacity: int = 100) -> tuple[Relay, Post, Post]:
    answers, work = Post(NOTHING_YET, "answers"), Post(NOTHING_YET, "work")
    return Relay(NOTHING_YET, NOTHING_YET, answers, work, capacity), answers, work


def ended(state: RunState = RunState.SUCCEEDED, reply: str = REPLY, size: int = 1) -> Outcome:
    run = run_in(state, reply)
    event = Event(3, NOW, "succeeded")
    return Outcome("ok", run=run, events=[event], end=End(Raw(b'"' + b"x" * size + b'"')))


def test_the_ends_of_one_commit_go_to_a_client_in_one_message() -> None:
    r, answers, _ = relay()
    other = subjects.reply("c2", "t1")
    r.told([ended(), ended(), ended(reply=other), ended(reply="")])
    sent = {subject: decode(ANSWERS, body) for subject, body in answers.letters}
    assert len(answers.letters) == 2
    assert (len(sent[REPLY].ended), len(sent[other].ended)) == (2, 1)


def test_ends_too_large_for_one_message_are_split() -> None:
    r, answers, _ = relay()
    r.told([ended(size=120_000) for _ in range(20)])
    bodies = [body for _, body in answers.letters]
    assert max(map(len, bodies)) < 1_000_000
    assert sum(len(decode(ANSWERS, body).ended) for body in bodies) == 20


def test_at_the_edge_what_was_committed_is_told_to_the_digests() -> None:
    answers, work = Post(NOTHING_YET, "answers"), Post(NOTHING_YET, "work")
    r = Relay(NOTHING_YET, NOTHING_YET, answers, work, stored=True)
    told: list[RunEvents] = []
    r.telling = told.append
    outcome = ended()
    r.told([outcome])
    assert outcome.run is not None
    assert [(t.run, t.ns, [e.n for e in t.events]) for t in told] == [(outcome.run.id, "ns", [3])]
    assert r.waiting == 0


def test_nothing_is_sent_but_to_replies() -> None:
    r, answers, _ = relay()
    r.told([ended(reply="hw.run.ns.x.ev")])
    assert answers.letters == []


def test_a_stop_goes_to_the_agent_that_holds_the_attempt() -> None:
    r, _, work = relay()
    run = run_in(RunState.CANCELLING)
    r.told([Outcome("ok", run=run, stop=Stop("a1", 4, "cancel"))])
    ((subject, body),) = work.letters
    assert subject == subjects.ctl("ns", "a1", run.id)
    assert decode(rpc.CTL, body) == rpc.Ctl(run.id, 4, "cancel")


def test_when_too_much_waits_events_are_left_to_the_sweeper() -> None:
    r, answers, _ = relay(capacity=1)
    r.told([ended(), ended()])
    assert (r.waiting, r.left) == (1, 1)
    # The ends are pushed all the same.
    assert len(decode(ANSWERS, answers.letters[0][1]).ended) == 2


def test_an_end_carries_result_reference_or_error() -> None:
    run = run_in(RunState.FAILED)
    error = ErrorInfo("ValueError", "no")
    assert ended_of(run, End(error=error)) == Ended(run.id, "failed", error=error)
    run = run_in(RunState.SUCCEEDED)
    ref = BlobRef("ns/r/aa", 1, "aa")
    assert ended_of(run, End(ref=ref)) == Ended(run.id, "succeeded", result_ref=ref)
    assert bytes(ended_of(run, End(Raw(b"1"))).result) == b"1"


def test_a_repeated_report_is_ok_and_an_open_once_mark_says_review() -> None:
    done = Finished("r", 1)
    assert outcome_of(done, Outcome("already")).outcome == "ok"
    review = Outcome("ok", run=run_in(RunState.REVIEW))
    assert outcome_of(done, review).outcome == "review"
    assert outcome_of(done, Outcome("stale_epoch", "newer")).outcome == "stale_epoch"


def test_every_report_has_its_happening() -> None:
    error = ErrorInfo("E")
    reports: list[Report] = [
        Started("r", 7),
        Finished("r", 7),
        AttemptFailed("r", 7, "error", error, retry_in=2.0),
        AttemptLost("r", 7, "gone"),
        GivenBack("r", 7, "no image", "agent"),
        Suspend("r", 7, "k", "sleep", seconds=9.0),
        Stopped("r", 7, "cancel"),
    ]
    made: list[Any] = [happening_of(r, lambda: 0.25) for r in reports]
    assert [h.epoch for h in made] == [7] * 7
    assert (made[2].retry_in, made[2].random, made[2].error) == (2.0, 0.25, error)
    assert (made[5].key, made[5].kind, made[5].seconds) == ("k", "sleep", 9.0)
