"""Two runs side by side: what is aligned with what, and what counts as a difference."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headway.forks import difference, merge
from headway.replays import compare
from headway.wire.events import Event
from headway.wire.runs import CheckpointRow, MarkRow, RunDetail, RunRow

AT = datetime(2026, 1, 2, tzinfo=UTC)
A, B = "01JGQ0M4N5B6Q7R8S9T0V1W2XA", "01JGQ0M4N5B6Q7R8S9T0V1W2XB"

texts = st.text("ab", max_size=2)
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def a_run(run: str, *told: tuple[str, dict[str, Any]], points: dict[int, str]) -> RunDetail:
    events = [Event(n, AT, kind, 1, data=data) for n, (kind, data) in enumerate(told, 1)]
    rows = [CheckpointRow(n, f"turn-{n}", 1, AT, 1, digest) for n, digest in points.items()]
    return RunDetail(RunRow(run, "t", "failed", "q", AT), events=events, checkpoints=rows)


def point(number: int, name: str = "") -> tuple[str, dict[str, Any]]:
    return "checkpoint", {"number": number, "name": name or f"turn-{number}"}


def step(key: str, status: str = "done") -> tuple[str, dict[str, Any]]:
    return "step", {"key": key, "status": status}


def told(lines: list[compare.Line]) -> list[tuple[str, str, int, int]]:
    return [
        (line.mark, line.name, line.a.number if line.a else -1, line.b.number if line.b else -1)
        for line in lines
    ]


def test_a_fork_is_compared_from_the_checkpoint_that_it_shares() -> None:
    started: tuple[str, dict[str, Any]] = ("started", {})
    a = a_run(A, started, step("old"), point(1), step("ask", "failed"), ("failed", {}),
              points={1: "same"})  # fmt: skip
    b = a_run(B, ("forked", {"origin": A, "checkpoint": 1}), ("started", {"resumed_from": 1}),
              step("ask"), point(2), ("succeeded", {}), points={1: "same", 2: "x"})  # fmt: skip
    lines = compare.timeline(a, b)
    assert told(lines) == [
        (" ", "turn-1", 1, 1), ("~", "ask", 0, 0), ("-", "end", 0, -1), ("+", "turn-2", -1, 2),
        ("+", "end", -1, 0),
    ]  # fmt: skip
    assert lines[0].shared
    assert [line.name for line in compare.checkpoints(lines)] == ["turn-1", "turn-2"]


def test_a_once_mark_that_the_fork_kept_is_no_difference() -> None:
    done = [("once", {"key": "mail", "status": s}) for s in ("started", "done")]
    a = a_run(A, point(1), *done, point(2), ("once", {"key": "pay", "status": "interrupted"}),
              ("failed", {}), points={1: "same", 2: "x"})  # fmt: skip
    b = a_run(B, ("forked", {"origin": A, "checkpoint": 1}), ("started", {"resumed_from": 1}),
              ("succeeded", {}), points={1: "same"})  # fmt: skip
    assert told(compare.timeline(a, b))[1:3] == [("-", "mail", 0, -1), ("+", "end", -1, 0)]
    b.marks = [MarkRow(key, "once", "send", status, 1, AT)
               for key, status in (("mail", "done"), ("pay", "interrupted"))]  # fmt: skip
    lines = compare.timeline(a, b)
    assert told(lines)[1:] == [
        (" ", "mail", 0, 0), ("+", "end", -1, 0), ("-", "turn-2", 2, -1), ("-", "pay", 0, -1),
        ("-", "end", 0, -1),
    ]  # fmt: skip
    assert lines[1].b == compare.Side("once mail done", note="kept")
    b.events.insert(2, Event(9, AT, "once", 1, data={"key": "mail", "status": "failed"}))
    assert told(compare.timeline(a, b))[1] == ("~", "mail", 0, 0)


def test_checkpoints_are_aligned_by_name_whatever_their_numbers() -> None:
    a = a_run(A, point(1, "plan"), point(2, "write"), points={})
    b = a_run(B, point(1, "plan"), point(2, "search"), point(3, "write"), points={})
    assert told(compare.timeline(a, b)) == [
        (" ", "start", 0, 0), (" ", "plan", 1, 1), ("+", "search", -1, 2), (" ", "write", 2, 3),
    ]  # fmt: skip


@given(values, values)
def test_there_is_a_change_exactly_where_values_differ(old: Any, new: Any) -> None:
    same = msgspec.json.encode(old, order="sorted") == msgspec.json.encode(new, order="sorted")
    assert (compare.changes(old, new) == []) == same


@given(st.dictionaries(texts, values, max_size=3), st.dictionaries(texts, values, max_size=3))
def test_a_patch_changes_what_the_comparison_says(old: dict[str, Any], new: dict[str, Any]) -> None:
    try:
        patch = difference(old, new)
    except ValueError:  # null cannot be patched in
        return
    assert compare.changes(merge(old, patch), new) == []
    assert bool(patch) == bool(compare.changes(old, new))


@given(st.lists(texts, max_size=12), st.lists(texts, max_size=12))
def test_both_outputs_are_whole_and_in_order(one: list[str], two: list[str]) -> None:
    pairs = compare.side_by_side(one, two)
    assert [p.a for p in pairs if p.a is not None] == one
    assert [p.b for p in pairs if p.b is not None] == two
    assert all((p.a == p.b) == (p.mark == " ") for p in pairs)


def test_the_next_difference_is_found_going_round() -> None:
    marks = [" ", "~", " ", "+"]
    assert [compare.next_difference(marks, at, 1) for at in range(4)] == [1, 3, 3, 1]
    assert [compare.next_difference(marks, at, -1) for at in range(4)] == [3, 3, 1, 1]
    assert compare.next_difference([" "], 0, 1) is None
    assert compare.next_difference([], 0, 1) is None
