"""What a replay job does next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headway.wire.replays import JobRow, Pace
from headway_engine.jobrules import Decision, JobFacts, decide, paced

AT = datetime(2026, 1, 1, tzinfo=UTC)


def facts(
    pace: Pace, *, since: float = 10.0, latest: Any = (), left: int = 0, **row: Any
) -> JobFacts:
    known: dict[str, Any] = {"items": 95, "waiting": 95} | row
    told = JobRow("rj_000000000000", "0" * 64, known.pop("state", "running"), at=AT, **known)
    return JobFacts(told, pace, AT - timedelta(seconds=since), list(latest), left)


def test_no_more_start_than_pace_and_room_allow() -> None:
    assert decide(facts(Pace(rate=5)), AT) == Decision(5, 95)  # a pause gives one second's worth
    assert decide(facts(Pace(rate=5), since=0.4), AT).start == 2
    assert decide(facts(Pace(rate=0.1), since=9), AT).start == 0
    assert decide(facts(Pace(rate=0.1), since=10), AT).start == 1
    assert decide(facts(Pace(rate=50, max_in_flight=10), waiting=90, running=5), AT).start == 5
    assert decide(facts(Pace(rate=50), waiting=2), AT).start == 2


def test_only_the_canary_starts_and_then_a_person_decides() -> None:
    pace = Pace(canary=3)
    assert decide(facts(pace, left=3), AT) == Decision(5, 3)
    assert decide(facts(pace, left=1, waiting=92, running=1), AT).state == ""
    over = decide(facts(pace, waiting=92, succeeded=3), AT)
    assert (over.state, "approve?" in over.reason) == ("canary", True)
    assert decide(facts(pace, waiting=92, state="canary"), AT) == Decision()
    assert decide(facts(pace, waiting=92, approved=True), AT).upto == 95


def test_failures_in_a_row_stop_it_others_do_not() -> None:
    pace = Pace(stop_after_failures=3)
    bad = decide(facts(pace, latest=["failed", "", "cancelled"]), AT)
    assert (bad.state, bad.reason) == ("stopped", "3 failures in a row")
    assert decide(facts(pace, latest=["failed", "succeeded", "failed"]), AT).start
    assert decide(facts(pace, latest=["failed", "failed"]), AT).start
    assert decide(facts(Pace(stop_after_failures=0), latest=[]), AT).start


def test_it_is_done_when_the_last_one_has_ended() -> None:
    assert decide(facts(Pace(), waiting=0, running=1), AT).state == ""
    assert decide(facts(Pace(), waiting=0, failed=95), AT).state == "done"
    assert decide(facts(Pace(timeout=5), waiting=1), AT + timedelta(seconds=5)).state == "stopped"


@given(
    st.floats(0.05, 200),
    st.lists(st.floats(0.01, 5), min_size=1, max_size=60),
)
def test_over_any_time_the_rate_is_kept_but_for_one_burst(rate: float, steps: list[float]) -> None:
    at, started = AT, 0
    known = facts(Pace(rate=rate, max_in_flight=100_000), since=0, waiting=10**9, items=10**9)
    for step in steps:
        at += timedelta(seconds=step)
        n = decide(known, at).start
        known.paced_at = paced(known, n, at)
        started += n
    assert started <= rate * (at - AT).total_seconds() + 1
