"""Attempts, retries, marks and facts of a run as words; values of a state by their keys. Pure."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.looks import in_ascii
from headway.retry import RetryPolicy
from headway.states import TERMINAL
from headway.wire.events import Event
from headway.wire.runs import KIN, Kin, MarkRow, RunDetail, RunRow
from headway_tui.model.about import about, alike, forks
from headway_tui.model.loglines import none_yet
from headway_tui.model.scale import Scale, Stretch
from headway_tui.model.states import parents, paths, tree, unfolded, value_at
from headway_tui.model.timeline import Timeline
from headway_tui.model.tries import marks_of, once_line, retries, tries, try_head, try_row
from support.consoles import NOW, RUN, T0, events


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def a_row(status: str = "running", **fields: Any) -> RunRow:
    return RunRow(RUN, "research-agent", status, "agents", T0, **fields)


# --- attempts


def test_attempts_tell_where_they_began_what_they_saved_and_how_they_ended() -> None:
    timeline = Timeline()
    for event in events():
        timeline.add(event)
    first, second, last = tries(timeline)
    assert (first.number, first.epoch, first.agent, first.resumed, first.saved) == (
        1, 1, "edge-1", 0, 1,
    )  # fmt: skip
    assert (second.resumed, second.said, second.message) == (1, "✗ RateLimitError", "429")
    assert (last.number, last.epoch, last.saved, last.bad) == (2, 3, 1, True)
    for width in (52, 78):
        text = "".join(t for t, _ in try_row(second, NOW, width))
        assert ("edge-2" in text) == (width > 60)
        assert text.index("◆1") == try_head(width).index("FROM")
        assert text.index("✗") == try_head(width).index("ENDED")


def test_an_attempt_that_goes_on_says_so_and_grows() -> None:
    timeline = Timeline()
    for event in events()[:3]:
        timeline.add(event)
    (one,) = tries(timeline)
    assert (one.end, one.said) == (None, "runs")
    text = "".join(t for t, _ in try_row(one, T0 + timedelta(seconds=10.1), 60))
    assert "10.0s" in text


# --- retries


@pytest.mark.parametrize(
    ("policy", "row", "said"),
    [
        (RetryPolicy(5), a_row(attempt=2), "1s 2s 4s 8s (x2, cap 1m) next: 2s after this try"),
        (RetryPolicy(5), a_row(attempt=5), "1s 2s 4s 8s (x2, cap 1m) next: none"),
        (RetryPolicy(5), a_row("failed", attempt=2), "1s 2s 4s 8s (x2, cap 1m) next: none"),
        (RetryPolicy(3, min_delay=0.5, max_delay=45), a_row(),
         "0.5s 1s (x2, cap 45s) next: 0.5s after this try"),
        (RetryPolicy(5, factor=1), a_row("retrying", due_at=NOW + timedelta(seconds=7.4)),
         "1s 1s 1s 1s (x1, cap 1m) next: in 7.4s"),
        (RetryPolicy(1), a_row(), "none"),
        (RetryPolicy(50), a_row("review"), "1s 2s 4s 8s 16s 32s … (x2, cap 1m) next: none"),
    ],
)  # fmt: skip
def test_retries_say_their_delays_and_the_next_one(
    policy: RetryPolicy, row: RunRow, said: str
) -> None:
    assert in_ascii(retries(policy, row, NOW)) == in_ascii(f"retries: {said}")


def test_without_a_policy_nothing_is_said_of_retries() -> None:
    assert retries(None, a_row(), NOW) == ""


@given(
    st.builds(RetryPolicy, st.integers(1, 10_000), st.floats(1, 1000), st.floats(0, 1e6),
              st.floats(0, 1e6)),
    st.sampled_from([s.status for s in TERMINAL] + ["running", "retrying", "queued"]),
    st.integers(0, 10_000),
)  # fmt: skip
def test_retries_of_any_policy_are_a_line(policy: RetryPolicy, status: str, attempt: int) -> None:
    assert len(retries(policy, a_row(status, attempt=attempt), NOW)) < 140


# --- once marks


def test_once_marks_are_those_of_events_and_those_that_a_fork_has_kept() -> None:
    kept = MarkRow("charge", "once", "f", "done", 0, T0 - timedelta(hours=1))
    old = MarkRow("send-email", "once", "f", "started", 2, T0)
    step = MarkRow("fetch", "step", "f", "done", 1, T0)
    found = marks_of([kept, old, step], events())
    assert [(m.key, m.said, m.epoch) for m in found] == [
        ("send-email", "done", 2), ("charge", "done", 0),
    ]  # fmt: skip
    assert once_line(found[0], 1) == "once: ◈ send-email done 03:04:24 attempt 1"
    decided = Event(99, NOW, "resolved", 3, data={"key": "charge", "decision": "rerun"})
    assert marks_of([kept], [decided])[0].said == "rerun"


# --- facts


def test_facts_are_told_where_there_are_any() -> None:
    row = a_row("failed", attempt=2, max_attempts=3, origin=RUN, cost_usd=0.1412, ended_at=NOW)
    facts = dict(about(RunDetail(row, trace="ab" * 16, kin=Kin(3), env=("A", "B")), NOW))
    assert facts["attempts"] == "2 of 3"
    assert facts["forks"] == "3 forks"
    assert (facts["trace"], facts["variables"], facts["used"]) == ("ab" * 16, "A B", "$0.1412")
    assert facts["ended"].endswith("0.0ms ago")
    assert "agent" not in facts


def test_how_many_failed_alike() -> None:
    first = NOW - timedelta(minutes=104)
    assert alike(Kin(0, 97, first), NOW) == (
        "same class in 97 runs in 2h (E to list them)  ·  first seen 01:25"
    ).replace("01:25", f"{first.astimezone():%H:%M}")
    assert alike(Kin(0, 1, first - timedelta(days=2)), NOW).startswith("first seen 2025-12-31 ")
    assert alike(Kin(0, KIN, first), NOW, short=True).startswith(f"{KIN:,}+ in 2h")
    assert (alike(None, NOW), alike(Kin(4), NOW)) == ("", "")
    assert (forks(Kin(1)), forks(Kin(KIN)), forks(None)) == ("1 fork", f"{KIN:,}+ forks", "")


# --- states

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("ab. ", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(VALUES)
def test_every_row_leads_to_its_value(value: Any) -> None:
    rows = tree(value)
    for path, row, below in zip(paths(rows), rows, parents(rows), strict=True):
        found = value_at(value, path)
        assert below <= isinstance(found, dict | list)
        assert row.depth == len(path) - 1


@given(VALUES, st.data())
def test_what_is_folded_hides_all_below_it_and_nothing_else(
    value: Any, data: st.DataObject
) -> None:
    rows = tree(value)
    found = paths(rows)
    assert unfolded(rows, set()) == list(range(len(rows)))
    folded = {data.draw(st.sampled_from(found))} if found else set[tuple[str, ...]]()
    gone = set(range(len(rows))) - set(unfolded(rows, folded))
    for path in folded:
        at = found.index(path)
        below = at + 1
        while below < len(rows) and rows[below].depth > rows[at].depth:
            below += 1
        assert set(range(at + 1, below)) <= gone


# --- the axis


@given(
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=5), st.integers(4, 150),
    st.floats(0, 1000),
)  # fmt: skip
def test_the_time_of_a_cell_is_where_the_cell_of_a_time_is(
    lengths: list[float], width: int, start: float
) -> None:
    stretches: list[Stretch] = []
    at, left = start, 0.0
    for length in lengths:
        cells = width / len(lengths)
        stretches.append(Stretch(at, at + length, left, cells, False))
        at, left = at + length, left + cells
    scale = Scale(T0, stretches, width, at)
    times = [scale.seconds(cell) for cell in range(-3, width + 3)]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (start, at)
    for cell in range(width):
        back = scale.cell(T0 + timedelta(seconds=scale.seconds(cell + 0.5)))
        assert abs(back - cell) <= 1


def test_what_lies_beside_the_time_that_is_seen_is_away() -> None:
    scale = Scale(T0, [Stretch(10, 20, 0, 50, False)], 50, 100)
    after = [T0 + timedelta(seconds=s) for s in (0, 5, 15, 25, 30)]
    assert [scale.away(a, b) for a, b in pairwise(after)] == [-1, 0, 0, 1]


# --- no output


def test_where_there_is_no_output_it_is_said_why() -> None:
    waits = RunDetail(a_row("queued"), why="Queue agents is paused.")
    assert none_yet(waits, 0) == "no output yet: Queue agents is paused."
    ended = RunDetail(a_row("succeeded", started_at=T0, ended_at=NOW))
    assert none_yet(ended, 0) == "it wrote nothing"
    assert "removed by the retention of LOGS" in none_yet(ended, 1204)
    assert none_yet(RunDetail(a_row("expired", ended_at=NOW)), 0) == "it never ran"
    assert none_yet(None, 0) == ""
