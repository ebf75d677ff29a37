"""The table of moves, and the rules of `decide` one by one."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise, product
from typing import Any

import msgspec
import pytest

from headway.retry import RetryPolicy
from headway.states import LIVE, MOVES, OPEN, TERMINAL, RunState, may_move
from headway.wire import ErrorInfo
from headway_engine import attempt_rules, lifecycle
from headway_engine import happenings as h
from headway_engine.lifecycle import START_DEADLINE, create, decide
from headway_engine.store.records import OnceMark, Run, Transition
from support.factories import EPOCH, a_run

S = RunState
ERROR = ErrorInfo("ValueError", "no")
MARK = OnceMark("mail", "token", 1, "started")


def run_in(state: RunState, **fields: Any) -> Run:
    """A run in that state, with an attempt where the state has one."""
    known: dict[str, Any] = {"state": state, "n": 5, "epoch": 1}
    if state in OPEN:
        known |= {"agent": "a1", "session": 1, "nonce": "n", "claimed_at": EPOCH}
    if state in (S.RUNNING, S.CANCELLING):
        known |= {"started_at": EPOCH, "attempt_at": EPOCH}
    if state in (S.DELAYED, S.RETRYING, S.WAITING):
        known |= {"due_at": EPOCH + timedelta(seconds=60)}
    return a_run(**(known | fields))


def later(seconds: float) -> Any:
    return EPOCH + timedelta(seconds=seconds)


def failed(cause: str = "error", **fields: Any) -> h.Failed:
    return h.Failed(1, cause, ERROR, **fields)


def happenings(epoch: int) -> list[h.Happening]:
    return [
        h.Due(),
        h.Overdue(),
        h.Claim("a2", 1, "m", "v1"),
        h.Started(epoch),
        h.Finished(epoch),
        *[h.Failed(epoch, cause, ERROR) for cause in ("error", "timeout", "ambiguous", "state")],
        h.Lost(epoch, "gone"),
        h.GivenBack(epoch, "no container"),
        h.Suspended(epoch, "nap", "sleep", seconds=5),
        h.Stopped(epoch, "drain"),
        h.Stopped(epoch, "cancel"),
        h.Cancel("user:me"),
        h.Resume("user:me"),
        h.VersionMissing("v1"),
    ]


def moved(t: Transition) -> Run:
    assert t.run is not None, t.message
    return t.run


@pytest.mark.parametrize("state", list(S))
def test_every_happening_follows_the_table_of_moves(state: RunState) -> None:
    for epoch, now in product((0, 1, 2), (EPOCH, later(1e6))):
        for happening in happenings(epoch):
            run = run_in(state, deadline_at=later(1e5))
            before = msgspec.structs.asdict(run)
            t = decide(run, happening, now)
            assert msgspec.structs.asdict(run) == before, "decide changes no argument"
            if t.run is None:
                assert not t.events
                continue
            path = [run.state, *[S(e.target) for e in t.events if e.target]]
            assert all(may_move(a, b) for a, b in pairwise(path))
            assert path[-1] is t.run.state
            assert [e.n for e in t.events] == list(range(6, t.run.n + 1))
            assert t.run.epoch >= run.epoch
            assert (t.end is not None) is (t.run.state in TERMINAL)
            assert (t.run.ended_at is not None) is (t.run.state in TERMINAL)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_an_end_is_final(state: RunState) -> None:
    assert MOVES[state] == frozenset()
    for happening in happenings(1):
        assert decide(run_in(state), happening, later(1e6)).run is None


@pytest.mark.parametrize("state", sorted(OPEN))
def test_another_epoch_than_the_runs_is_stale(state: RunState) -> None:
    for epoch in (0, 2):
        for happening in happenings(epoch):
            if hasattr(happening, "epoch"):
                assert decide(run_in(state), happening, EPOCH).outcome == "stale_epoch"


@pytest.mark.parametrize("state", [S.RUNNING, S.STARTING])
def test_what_ends_an_attempt_without_its_word_fences_it(state: RunState) -> None:
    for happening in (h.Lost(1, "gone"), h.Stopped(1, "drain"), failed("state")):
        assert moved(decide(run_in(state), happening, EPOCH)).epoch > 1


@pytest.mark.parametrize("state", sorted(LIVE - {S.CANCELLING}))
def test_a_deadline_ends_any_live_state(state: RunState) -> None:
    run = run_in(state, deadline_at=later(10))
    assert decide(run, h.Overdue(), later(9)).run is None
    t = decide(run, h.Overdue(), later(10))
    never = state in (S.QUEUED, S.DELAYED)
    assert moved(t).state is (S.EXPIRED if never else S.TIMED_OUT)
    assert (t.stop is not None) is (state in OPEN)


@pytest.mark.parametrize("state", [S.DELAYED, S.RETRYING, S.WAITING])
def test_due_is_never_early(state: RunState) -> None:
    run = run_in(state)
    assert decide(run, h.Due(), later(59.9)).outcome == "refused"
    after = moved(decide(run, h.Due(), later(60)))
    assert (after.state, after.due_at, after.resumed) == (S.QUEUED, None, state is not S.DELAYED)


def test_retries_are_used_up_one_by_one() -> None:
    policy = RetryPolicy(3, min_delay=2.0, factor=3.0, jitter=0.0)
    delays: list[float] = []
    run = run_in(S.RUNNING, policy=policy)
    for _ in range(2):
        run = moved(decide(run, failed(), EPOCH))
        assert run.state is S.RETRYING
        assert run.due_at is not None
        delays.append((run.due_at - EPOCH).total_seconds())
        run = msgspec.structs.replace(run, state=S.RUNNING, due_at=None)
    assert delays == [2.0, 6.0]
    end = decide(run, failed(), EPOCH)
    assert (moved(end).state, moved(end).failures, moved(end).reason) == (S.FAILED, 3, "error")


@pytest.mark.parametrize(
    ("cause", "policy", "state"),
    [
        ("error", {}, S.RETRYING),
        ("crash", {}, S.RETRYING),
        ("oom", {}, S.FAILED),
        ("oom", {"oom": True}, S.RETRYING),
        ("timeout", {}, S.TIMED_OUT),
        ("timeout", {"timeout": True}, S.RETRYING),
        ("stop", {}, S.FAILED),
        ("encode", {}, S.FAILED),
        ("image", {}, S.FAILED),
        ("violation", {}, S.FAILED),
        ("ambiguous", {}, S.REVIEW),
        ("state", {}, S.REVIEW),
    ],
)
def test_a_cause_leads_where_the_policy_says(
    cause: str, policy: dict[str, bool], state: RunState
) -> None:
    run = run_in(S.RUNNING, policy=RetryPolicy(**policy))  # type: ignore[arg-type]  # two flags
    assert moved(decide(run, failed(cause), EPOCH)).state is state


def test_the_tasks_own_word_goes_before_the_policy() -> None:
    run = run_in(S.RUNNING)
    assert moved(decide(run, failed(retry=False), EPOCH)).state is S.FAILED
    assert moved(decide(run, failed(retry_in=7.0), EPOCH)).due_at == later(7)
    assert decide(run, failed(retry_in=7.0), EPOCH).events[-1].data["asked"] is True
    assert "asked" not in decide(run, failed(), EPOCH).events[-1].data
    assert moved(decide(run, failed(retry_at=later(99)), EPOCH)).due_at == later(99)
    assert moved(decide(run, failed(retry_at=later(-99)), EPOCH)).due_at == EPOCH


def test_losses_use_no_retry_and_count_since_the_last_new_checkpoint() -> None:
    run = run_in(S.RUNNING)
    for count in range(1, attempt_rules.MAX_LOST + 1):
        run = moved(decide(run, h.Lost(run.epoch, "gone"), EPOCH))
        assert (run.state, run.lost, run.failures) == (S.QUEUED, count, 0)
        run = msgspec.structs.replace(run, state=S.RUNNING)
    new = msgspec.structs.replace(run, ck=1)
    assert moved(decide(new, h.Lost(new.epoch, "gone"), EPOCH)).lost == 1
    end = moved(decide(run, h.Lost(run.epoch, "gone"), EPOCH))
    assert (end.state, end.reason) == (S.REVIEW, "lost")
    said = [decide(run, h.Lost(run.epoch, "gone", dead=d), EPOCH).events for d in (True, False)]
    assert [e[0].data.get("confirmed_dead") for e in said] == [True, None]


def test_three_starts_in_a_row_on_two_agents_that_never_began_are_poison() -> None:
    run = run_in(S.STARTING)
    for agent in ("a1", "a1", "a2"):
        run = msgspec.structs.replace(run, state=S.STARTING, agent=agent)
        run = moved(decide(run, h.GivenBack(run.epoch, "no", "run"), EPOCH))
    assert (run.state, run.reason) == (S.FAILED, "poison")


def test_an_attempt_that_went_missing_before_it_began_is_no_poison_while_its_agent_lives() -> None:
    run = a_run()
    for agent in ("a1", "a2", "a3", "a1", "a2"):
        claimed = moved(decide(run, h.Claim(agent, 1, agent, "v1"), EPOCH))
        # An answer that was lost on the way to its agent, say: the agent's own beat tells it.
        run = moved(decide(claimed, h.Lost(claimed.epoch, "the agent does not hold it"), EPOCH))
        assert (run.state, run.unstarted, run.unconfirmed) == (S.QUEUED, 0, ())
    claimed = moved(decide(run, h.Claim("a3", 1, "n", "v1"), EPOCH))
    late = EPOCH + START_DEADLINE
    run = moved(decide(claimed, h.Overdue(), late))
    assert (run.state, run.reason) == (S.REVIEW, "lost")
    assert run.unconfirmed == (), "nobody saw it end, but it has entered no once block either"


def test_one_agent_alone_is_no_proof_of_poison() -> None:
    run = run_in(S.STARTING)
    for count in range(1, attempt_rules.MAX_UNSTARTED_ALONE + 1):
        run = msgspec.structs.replace(run, state=S.STARTING, agent="a1")
        run = moved(decide(run, h.GivenBack(run.epoch, "no", "run"), EPOCH))
        last = count == attempt_rules.MAX_UNSTARTED_ALONE
        assert run.state is (S.REVIEW if last else S.QUEUED)


def test_a_start_that_failed_through_the_agent_is_not_the_runs_fault() -> None:
    run = run_in(S.STARTING)
    assert moved(decide(run, h.GivenBack(1, "full", "agent"), EPOCH)).unstarted == 0


@pytest.mark.parametrize("status", ["started", "interrupted"])
def test_an_open_once_mark_keeps_a_run_from_succeeding(status: str) -> None:
    mark = msgspec.structs.replace(MARK, status=status)
    run = moved(decide(run_in(S.RUNNING, marks=(mark,)), h.Finished(1), EPOCH))
    assert (run.state, run.reason) == (S.REVIEW, "once")


def test_an_ambiguous_mark_waits_until_older_attempts_are_confirmed_dead() -> None:
    run = run_in(S.REVIEW, reason="once", marks=(MARK,), unconfirmed=(1,), epoch=3)
    decision = h.Resume("user:me", (("mail", "done"),))
    assert decide(run, decision, EPOCH).outcome == "refused"
    confirmed = moved(decide(run, h.Stopped(1, "stale"), EPOCH))
    assert confirmed.unconfirmed == ()
    t = decide(confirmed, decision, EPOCH)
    assert (moved(t).state, [m.record.status for m in t.marks]) == (S.QUEUED, ["done"])
    forced = decide(run, msgspec.structs.replace(decision, override=True), EPOCH)
    assert forced.events[0].data["override"] is True


@pytest.mark.parametrize("end", [h.Stopped(1, "stale"), h.Lost(1, "its container is gone")])
def test_a_blocks_policy_waits_for_the_end_of_an_older_attempt_and_goes_on_by_itself(
    end: h.Happening,
) -> None:
    run = run_in(S.RUNNING, marks=(MARK,), unconfirmed=(1, 2), epoch=3)
    wait = h.Failed(3, "ambiguous", ErrorInfo("OnceAmbiguous"), waits=True, key="mail", token="t")
    held = moved(decide(run, wait, EPOCH))
    assert (held.state, held.reason, held.failures) == (S.REVIEW, "unconfirmed", run.failures)
    assert decide(held, h.Resume("user:me"), EPOCH).outcome == "refused"
    one = moved(decide(held, h.Stopped(2, "stale"), EPOCH))
    assert (one.state, one.unconfirmed) == (S.REVIEW, (1,))
    freed = decide(one, end, EPOCH)
    assert [e.kind for e in freed.events] == ["exited", "resumed"]
    assert (moved(freed).state, moved(freed).reason) == (S.QUEUED, "")
    forced = decide(held, h.Resume("user:me", override=True), EPOCH)
    assert (moved(forced).state, moved(forced).unconfirmed) == (S.QUEUED, ())
    assert forced.events[-1].data["override"] is True


def test_a_policy_that_waited_for_an_end_that_was_seen_meanwhile_goes_on_at_once() -> None:
    run = run_in(S.RUNNING, marks=(MARK,), epoch=3)
    wait = h.Failed(3, "ambiguous", ErrorInfo("OnceAmbiguous"), waits=True, key="mail", token="t")
    after = moved(decide(run, wait, EPOCH))
    assert (after.state, after.epoch, after.failures) == (S.QUEUED, 4, run.failures)


@pytest.mark.parametrize("unconfirmed", [(), (1,)])
def test_an_interrupted_once_that_is_decided_as_failed_ends_the_run(
    unconfirmed: tuple[int, ...],
) -> None:
    run = run_in(S.REVIEW, reason="once", marks=(MARK,), unconfirmed=unconfirmed, epoch=3)
    t = decide(run, h.Resume("user:me", (("mail", "fail"),)), EPOCH)
    assert [e.kind for e in t.events] == ["resolved", "failed"]
    assert (moved(t).state, t.marks) == (S.FAILED, [])
    assert t.end is not None
    assert t.end.error is not None
    assert "mail" in t.end.error.message


def test_whoever_decides_second_on_a_once_hears_that_he_is_late() -> None:
    run = run_in(S.REVIEW, reason="once", marks=(MARK,))
    decision = h.Resume("user:me", (("mail", "done"),))
    after = moved(decide(run, decision, EPOCH))
    assert decide(after, decision, EPOCH).outcome == "stale"


def test_a_value_goes_with_done_alone() -> None:
    run = run_in(S.REVIEW, reason="once", marks=(MARK,))
    both = h.Resume("user:me", (("mail", "rerun"),), (("mail", b"1"),))
    assert "mail" in decide(run, both, EPOCH).message
    t = decide(run, msgspec.structs.replace(both, once=(("mail", "done"),)), EPOCH)
    assert [bytes(m.record.value) for m in t.marks] == [b"1"]


def test_the_end_of_an_attempt_whose_session_is_over_is_its_loss() -> None:
    t = decide(run_in(S.RUNNING), h.Stopped(1, "stale"), EPOCH)
    assert [e.kind for e in t.events] == ["lost"]
    assert (moved(t).state, moved(t).unconfirmed) == (S.QUEUED, ())


def test_a_lost_attempt_counts_as_alive_unless_its_end_was_seen() -> None:
    for dead, unconfirmed in ((False, (1,)), (True, ())):
        t = decide(run_in(S.RUNNING), h.Lost(1, "gone", dead=dead), EPOCH)
        assert moved(t).unconfirmed == unconfirmed


def test_one_confirmed_death_says_nothing_of_the_others() -> None:
    run = run_in(S.REVIEW, reason="once", marks=(MARK,), unconfirmed=(1, 2), epoch=4)
    assert moved(decide(run, h.Stopped(1, "stale"), EPOCH)).unconfirmed == (2,)


def test_resume_asks_for_a_decision_on_each_open_mark_and_no_other() -> None:
    run = run_in(S.REVIEW, reason="once", marks=(MARK,))
    assert "mail" in decide(run, h.Resume("user:me"), EPOCH).message
    both = h.Resume("user:me", (("mail", "done"), ("other", "done")))
    assert decide(run, both, EPOCH).outcome == "refused"


def test_a_mark_that_nobody_decided_on_stays_open() -> None:
    run = run_in(S.REVIEW, reason="lost", marks=(MARK,))
    assert moved(decide(run, h.Resume("user:me"), EPOCH)).marks == (MARK,)


@pytest.mark.parametrize("state", list(S))
def test_a_tag_moves_and_fences_nothing_in_any_state(state: RunState) -> None:
    run = run_in(state, tags=("a", "b"))
    t = decide(run, h.Tag("user:me", ("c", "b"), ("a", "never")), later(1e6))
    assert moved(t) == msgspec.structs.replace(run, n=run.n + 1, tags=("b", "c"))
    (event,) = t.events
    assert (event.kind, event.epoch, event.actor) == ("tagged", run.epoch, "user:me")
    assert event.data == {"tags": ["b", "c"], "added": ["c"], "removed": ["a"]}
    assert (t.end, t.stop, t.marks) == (None, None, [])
    # What its attempt says next is judged as if nobody had tagged it.
    for report in happenings(1):
        was, now = decide(run, report, later(1)), decide(moved(t), report, later(1))
        assert (now.outcome, now.message) == (was.outcome, was.message)
    assert decide(moved(t), h.Tag("user:you", ("c",), ("a",)), EPOCH).outcome == "already"


def test_a_run_with_too_many_tags_can_lose_some() -> None:
    run = run_in(S.RUNNING, tags=tuple(f"t{k}" for k in range(40)))  # a fork may have them
    assert decide(run, h.Tag("user:me", ("x",)), EPOCH).outcome == "refused"
    assert len(moved(decide(run, h.Tag("user:me", (), ("t1",)), EPOCH)).tags) == 39


@pytest.mark.parametrize("state", [S.STARTING, S.RUNNING])
def test_a_cancel_is_final_whatever_the_attempt_reports(state: RunState) -> None:
    t = decide(run_in(state), h.Cancel("user:me", "enough"), EPOCH)
    assert t.stop is not None
    assert (t.stop.agent, t.stop.epoch) == ("a1", 1)
    for report in (h.Finished(1), failed(), h.Lost(1, "gone"), h.Stopped(1, "cancel")):
        end = decide(moved(t), report, EPOCH)
        assert (moved(end).state, moved(end).epoch) == (S.CANCELLED, 2)


def test_a_claim_answers_its_nonce_again_and_nobody_else() -> None:
    claim = h.Claim("a1", 1, "n", "v1")
    run = moved(decide(run_in(S.QUEUED), claim, EPOCH))
    assert (run.epoch, run.version) == (2, "v1")
    assert decide(run, claim, EPOCH).outcome == "already"
    assert decide(run, h.Claim("a2", 1, "n", "v1"), EPOCH).outcome == "refused"
    assert decide(run, h.Claim("a1", 1, "m", "v1"), EPOCH).outcome == "refused"


def test_a_version_stays_pinned() -> None:
    run = run_in(S.QUEUED, version="v1")
    assert moved(decide(run, h.Claim("a1", 1, "n", "v2"), EPOCH)).version == "v1"


def test_a_report_that_was_committed_is_answered_again_as_already() -> None:
    run = moved(decide(run_in(S.RUNNING), h.Finished(1), EPOCH))
    assert decide(run, h.Finished(1), EPOCH).outcome == "already"


@pytest.mark.parametrize("happening", [h.Finished(1), failed(), h.Suspended(1, "k", "sleep")])
def test_an_end_before_started_implies_it(happening: h.Happening) -> None:
    t = decide(run_in(S.STARTING, ttl_at=later(5)), happening, EPOCH)
    assert next(e.kind for e in t.events) == "started"
    assert (moved(t).started_at, moved(t).ttl_at) == (EPOCH, None)


def test_an_image_that_cannot_start_did_not_start() -> None:
    t = decide(run_in(S.STARTING), failed("image"), EPOCH)
    assert [e.kind for e in t.events] == ["failed"]


@pytest.mark.parametrize(
    ("happening", "frees"),
    [(failed(retry=False), True), (failed("timeout"), True), (h.Finished(1), False)],
)
def test_a_failure_frees_the_key_unless_it_is_kept(happening: h.Happening, frees: bool) -> None:
    for keep in (False, True):
        run = run_in(S.RUNNING, key="k", keep_key=keep)
        assert decide(run, happening, EPOCH).free_key is (frees and not keep)


def test_a_run_begins_queued_or_delayed() -> None:
    now, soon = moved(create(a_run(), EPOCH, None)), moved(create(a_run(), EPOCH, later(5)))
    past = moved(create(a_run(), EPOCH, later(-5)))
    assert [(r.state, r.n, r.due_at) for r in (now, soon, past)] == [
        (S.QUEUED, 1, None),
        (S.DELAYED, 1, later(5)),
        (S.QUEUED, 1, None),
    ]


def test_the_backstop_waits_for_the_agents_own_timer() -> None:
    run = run_in(S.RUNNING, timeout=100.0)
    at = 100 + lifecycle.TIMEOUT_SLACK.total_seconds()
    assert decide(run, h.Overdue(), later(at - 0.1)).outcome == "already"
    t = decide(run, h.Overdue(), later(at))
    assert (moved(t).state, moved(t).epoch) == (S.TIMED_OUT, 2)
    assert moved(t).unconfirmed == (1,), "nobody saw it end"
    assert t.stop is not None
