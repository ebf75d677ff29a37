"""One run: its timeline, scale, lines and states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.wire.events import Event, LogChunk
from headway_tui.model import states, texts
from headway_tui.model.loglines import matcher
from headway_tui.model.logs import LogStore
from headway_tui.model.scale import scale_of, zoomed
from headway_tui.model.timeline import Timeline, flat, shown

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def told(*steps: tuple[float, str, dict[str, Any]]) -> Timeline:
    """A timeline of (seconds, kind, data); `epoch` in the data is the event's own."""
    timeline, epoch = Timeline(), 0
    for n, (at, kind, data) in enumerate(steps, 1):
        epoch += kind == "starting"
        timeline.add(Event(n, T0 + timedelta(seconds=at), kind, epoch, data=data))
    return timeline


def labels(timeline: Timeline, closed: set[str] | None = None) -> list[str]:
    rows = shown(timeline.nodes, closed or set(), set())
    return ["  " * r.depth + r.node.label for r in rows]


CRASHED: tuple[tuple[float, str, dict[str, Any]], ...] = (
    (0.0, "queued", {}),
    (1.0, "starting", {"attempt": 1}),
    (1.1, "started", {}),
    (2.0, "checkpoint", {"number": 1, "name": "one", "size": 2048}),
    (4.0, "step", {"key": "ask", "seconds": 1.5, "status": "done"}),
    (5.0, "retrying", {"error": {"type": "RateLimit", "message": "429"}}),
    (6.0, "queued", {}),
    (6.1, "starting", {"attempt": 2}),
    (6.2, "started", {"resumed_from": 1}),
    (6.3, "once", {"key": "mail", "status": "started"}),
    (6.5, "once", {"key": "mail", "status": "done"}),
    (7.0, "succeeded", {}),
)


def test_a_timeline_tells_attempts_with_what_happened_in_them() -> None:
    timeline = told(*CRASHED)
    assert labels(timeline) == [
        "in the queue", "attempt 1", "  ◆1 one", "  ask", "backoff", "attempt 2", "  ◈ once mail",
    ]  # fmt: skip
    first = timeline.nodes[1]
    assert (first.bad, first.note) == (True, "✗ RateLimit")
    step = first.children[1]
    assert step.end is not None
    assert (step.end - step.start).total_seconds() == 1.5
    assert "  ask" not in labels(timeline, {"a1"})
    assert [s.depth for s in flat(timeline.nodes)] == [0] * 7


@given(st.permutations(range(len(CRASHED))))
def test_arrival_order_does_not_bend_a_timeline(order: list[int]) -> None:
    straight, bent = told(*CRASHED), Timeline()
    for i in order:
        bent.add(straight.events[i + 1])
        bent.add(straight.events[i + 1])
        _ = bent.nodes
    assert bent.nodes == straight.nodes


def test_many_attempts_in_the_middle_are_one_row_until_it_is_opened() -> None:
    steps: list[tuple[float, str, dict[str, Any]]] = []
    for i in range(6):
        steps += [(i * 10.0, "starting", {"attempt": i + 1}),
                  (i * 10 + 5.0, "retrying", {"error": {"type": "E"}})]  # fmt: skip
    timeline = told(*steps)
    assert "attempts 2-5" in labels(timeline)
    assert "attempt 3" not in labels(timeline)
    group = next(n for n in timeline.nodes if n.kind == "group")
    assert group.note == "4x E"
    opened = [r.node.label for r in shown(timeline.nodes, set(), {group.key})]
    assert "attempt 3" in opened


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.integers(4, 200),
    st.booleans(), st.floats(1, 50), st.floats(0, 1),
)  # fmt: skip
def test_times_keep_their_order_on_any_scale(
    times: list[float], width: int, fold: bool, zoom: float, centre: float
) -> None:
    steps: list[tuple[float, str, dict[str, Any]]] = [
        (t, "step", {"key": "s", "seconds": 0.1}) for t in sorted(times)
    ]
    steps = [(0.0, "starting", {}), *steps]
    scale = scale_of(
        told(*steps).nodes, T0 + timedelta(days=20), width, fold=fold,
        part=lambda total: zoomed(total, zoom, centre),
    )  # fmt: skip
    assert scale is not None
    cells = [scale.cell(T0 + timedelta(seconds=t)) for t in sorted(times)]
    assert cells == sorted(cells)
    assert all(0 <= c < width for c in cells)
    assert len(scale.axis()) == width


def test_a_long_wait_is_folded_to_a_few_cells() -> None:
    timeline = told(
        (0, "starting", {}), (10, "retrying", {}), (3600, "starting", {}), (3610, "succeeded", {})
    )
    now = T0 + timedelta(seconds=3610)
    folded = scale_of(timeline.nodes, now, 80, fold=True)
    straight = scale_of(timeline.nodes, now, 80, fold=False)
    assert folded is not None
    assert straight is not None
    assert folded.cell(T0 + timedelta(seconds=10)) > 30
    assert straight.cell(T0 + timedelta(seconds=10)) == 0
    assert "[59m48s]" in folded.axis()


# --- lines


def chunk(first: int, *lines: str, dropped: int = 0) -> LogChunk:
    return LogChunk(first, list(lines), T0, dropped=dropped)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 8)), max_size=20))
def test_every_line_is_kept_once_however_chunks_overlap(parts: list[tuple[int, int]]) -> None:
    store, known = LogStore(), 0
    for first, count in parts:
        store.add(1, chunk(first, *(f"line {n}" for n in range(first, first + count))))
        known = max(known, first + count - 1)
    texts_ = [line.text for line in store.lines if line.level != "!"]
    assert len(set(texts_)) == len(texts_) == store.received
    assert store.received + store.missing == known


def test_missing_lines_are_said_and_attempts_divided() -> None:
    store = LogStore()
    store.add(1, chunk(1, "a"))
    store.add(1, chunk(4, "d", dropped=2))
    store.add(1, chunk(6, "f"))
    store.add(2, chunk(1, "ERROR: e"))
    assert [(line.level, line.text) for line in store.lines] == [
        ("I", "a"), ("!", "2 lines missing: over the agent's log_rate"), ("I", "d"),
        ("!", "1 line missing: not in LOGS"), ("I", "f"),
        ("-", "attempt 2"), ("E", "ERROR: e"),
    ]  # fmt: skip


def test_old_lines_go_and_numbers_stay() -> None:
    store = LogStore(capacity=100)
    for first in range(1, 1001, 10):
        store.add(1, chunk(first, *(str(n) for n in range(first, first + 10))))
    assert store.end == 1000
    assert len(store.lines) <= 110
    line = store.line(999)
    assert line is not None
    assert line.text == "1000"
    assert store.line(5) is None
    assert store.find(matcher("/^98.$/"), 0, 1) == 979
    assert store.find(matcher("nowhere"), 0, 1) is None


def test_a_bad_expression_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="the expression is wrong at 2"):
        matcher("/a(/")


# --- states


def test_a_diff_names_what_is_new_changed_and_gone() -> None:
    old = {"topic": "t", "i": 5, "messages": [1, 2], "gone": True}
    new = {"topic": "t", "i": 6, "messages": [1, 2, {"role": "tool"}]}
    rows = states.diff(old, new)
    assert [(r.sign, r.key, r.value) for r in rows] == [
        (" ", "topic", '"t"'), ("~", "i", "5 → 6"), ("~", "messages", "[2] → [3]"),
        ("+", "[2]", '{"role": "tool"}'), ("-", "gone", "true"),
    ]  # fmt: skip
    assert states.counted(rows) == "+1 ~2 -1"


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_nothing_changed_has_no_signs(value: Any) -> None:
    assert {r.sign for r in states.diff(value, value)} <= {" "}


@given(st.text(), st.integers(0, 40))
def test_a_text_fits_its_cells_exactly(text: str, width: int) -> None:
    from rich.cells import cell_len

    assert cell_len(texts.fit(texts.safe(text), width)) == width
