"""The list of runs: whatever the order in which facts get here, the rows are the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headway.wire.events import Event, RunEvents
from headway.wire.runs import RunRow
from headway_tui.model.rows import RunsView, moved

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run_id(number: int) -> str:
    return f"01JD9K4W2M8QZ5V7N3XBTRFH{number:02d}"


STORY: list[tuple[str, str, str, dict[str, Any]]] = [
    ("queued", "", "QUEUED", {}),
    ("starting", "QUEUED", "STARTING", {"agent": "a1", "attempt": 1}),
    ("started", "STARTING", "RUNNING", {}),
    ("checkpoint", "", "", {"number": 1, "name": "one"}),
    ("retrying", "RUNNING", "RETRYING",
     {"error": {"type": "E", "message": "m"}, "due_at": "2026-01-02T03:05:00Z", "max_attempts": 3}),
    ("queued", "RETRYING", "QUEUED", {}),
    ("starting", "QUEUED", "STARTING", {"agent": "a2", "attempt": 2}),
    ("succeeded", "STARTING", "SUCCEEDED", {}),
    ("tagged", "", "", {"tags": ["a", "b"], "added": ["b"]}),
]  # fmt: skip


def story() -> list[Event]:
    return [
        Event(i + 1, T0 + timedelta(seconds=i), kind, source=source, target=target, data=data)
        for i, (kind, source, target, data) in enumerate(STORY)
    ]


def row_after(run: str, count: int) -> RunRow:
    row = RunRow(run, "t", "queued", "default", T0)
    for event in story()[:count]:
        row = moved(row, event)
    return row


@given(st.data())
def test_any_order_of_events_and_snapshot_gives_the_same_rows(data: st.DataObject) -> None:
    """Events doubled, late, before and after the answer, which may be of any age."""
    runs = [run_id(i) for i in range(data.draw(st.integers(1, 3)))]
    heard = [(run, e) for run in runs for e in story()]
    heard += data.draw(st.lists(st.sampled_from(heard), max_size=10))
    heard = data.draw(st.permutations(heard))
    cut = data.draw(st.integers(0, len(heard)))
    ages = {run: data.draw(st.integers(1, len(STORY))) for run in runs}
    view = RunsView()
    view.asking()
    for run, event in heard[:cut]:
        view.hear(RunEvents(run, "default", "t", [event]))
    view.snapshot(row_after(run, ages[run]) for run in runs)
    for run, event in heard[cut:]:
        view.hear(RunEvents(run, "default", "t", [event]))
    assert [view.at(i) for i in range(len(runs))] == [row_after(r, len(STORY)) for r in runs]
    assert not view.gaps


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_a_second_answer_that_is_older_takes_nothing_back(first: int, upto: int, old: int) -> None:
    run, view = run_id(1), RunsView()
    view.asking()
    view.snapshot([row_after(run, first)])
    view.asking()
    for event in story()[:upto]:
        view.hear(RunEvents(run, "default", "t", [event]))
    view.snapshot([row_after(run, max(first, old) if old < upto else first)])
    assert view.rows[run].n >= max(first, upto if upto > first else first)


def test_a_missing_event_is_a_gap_until_the_run_was_asked_for_again() -> None:
    run, view = run_id(1), RunsView()
    view.snapshot([row_after(run, 2)])
    view.hear(RunEvents(run, "default", "t", [story()[3]]))
    assert view.gaps == {run}
    assert view.rows[run].n == 2
    view.refreshed([row_after(run, 5)])
    assert not view.gaps
    assert view.rows[run] == row_after(run, 5)


def test_new_runs_are_counted_and_move_no_row() -> None:
    view = RunsView()
    view.asking()
    view.snapshot([row_after(run_id(1), 3)])
    view.hear(RunEvents(run_id(2), "default", "t", story()[:1]))
    assert (view.order, list(view.new)) == ([run_id(1)], [run_id(2)])
    view.asking()
    view.hear(RunEvents(run_id(2), "default", "t", story()[1:3]))
    view.snapshot([row_after(run_id(2), 1), row_after(run_id(1), 3)])
    assert not view.new
    assert view.at(0) == row_after(run_id(2), 3)


def test_pages_are_put_below_and_never_twice() -> None:
    view = RunsView()
    view.snapshot([row_after(run_id(3), 2), row_after(run_id(2), 2)])
    view.snapshot([row_after(run_id(2), 1), row_after(run_id(1), 1)], more=True)
    assert view.order == [run_id(3), run_id(2), run_id(1)]
    assert view.rows[run_id(2)].n == 2
