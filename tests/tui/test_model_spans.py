"""Spans as rows of the waterfall: where they stand, what is folded, what is missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headway.wire.events import Event, Span, SpanChunk
from headway_tui.model.nodes import walk
from headway_tui.model.spans import DEEPEST, SHOWN, Spans
from headway_tui.model.timeline import Timeline, flat, shown
from support.consoles import T0

NS = int(T0.timestamp()) * 10**9
T = "a" * 32


def one(
    number: int, start: float, end: float, parent: int = 0, name: str = "", **more: Any
) -> Span:
    """A span of `number` and its parent's, seconds after T0."""
    return Span(
        T, f"{number:016x}", name or f"span-{number}", NS + int(start * 1e9), NS + int(end * 1e9),
        parent=f"{parent:016x}" if parent else "f" * 16, **more,
    )  # fmt: skip


def chunk(first: int, *spans: Span) -> SpanChunk:
    return SpanChunk(first, list(spans), T0)


def timeline() -> Timeline:
    """One attempt with a step, a once and a checkpoint."""
    told: list[tuple[float, str, dict[str, Any]]] = [
        (0, "queued", {}), (0.1, "starting", {"attempt": 1}), (0.2, "started", {}),
        (4, "step", {"key": "fetch", "seconds": 2.0, "status": "done"}),
        (5, "once", {"key": "send", "status": "started"}),
        (6, "once", {"key": "send", "status": "done"}),
        (7, "checkpoint", {"number": 1, "name": "one"}), (9, "succeeded", {}),
    ]  # fmt: skip
    made = Timeline()
    for n, (at, kind, data) in enumerate(told, 1):
        made.add(Event(n, T0 + timedelta(seconds=at), kind, 1, data=data))
    return made


ALL = (
    one(5, 2.5, 3.5, 4, "GET /x", kind="client", attributes={"http.response.status_code": 200},
        scope="httpx"),
    one(4, 2, 4, 2, "step('fetch')", scope="headway"),
    one(7, 5.2, 5.8, 6, "POST /mail", status="error", message="500", scope="httpx"),
    one(6, 5, 6, 2, "once('send')", scope="headway"),
    one(8, 6.9, 7, 1, "checkpoint", scope="headway"),
    one(2, 1, 6.5, 1, "outer", scope="a-library"),
    one(9, 7.5, 8.5, 1, "await child", scope="headway"),
    one(1, 0.2, 9, 0, "attempt research", scope="headway"),
)  # fmt: skip


def tree(made: Timeline) -> list[tuple[int, str]]:
    """Depth and label of every row, folds opened."""
    opened = {n.key for n in walk(made.nodes)}
    return [(r.depth, r.node.label) for r in shown(made.nodes, set(), opened)]


def test_what_a_library_did_stands_below_the_step_that_it_was_done_in() -> None:
    made = timeline()
    made.add_spans(1, chunk(1, *ALL))
    assert tree(made) == [
        (0, "attempt 1"), (1, "outer"), (1, "fetch"), (2, "GET /x"), (1, "◈ once send"),
        (2, "POST /mail"), (1, "◆1 one"), (1, "await child"),
    ]  # fmt: skip
    rows = {n.label: n for n in walk(made.nodes)}
    assert (rows["GET /x"].note, rows["GET /x"].bad) == ("200", False)
    assert (rows["POST /mail"].note, rows["POST /mail"].bad) == ("✗ 500", True)
    assert rows["GET /x"].start == T0 + timedelta(seconds=2.5)
    assert [r.node.label for r in flat(made.nodes)].count("GET /x") == 1
    assert made.spans.missing == 0


@given(st.permutations(range(len(ALL))), st.integers(1, 4), st.data())
def test_the_order_in_which_spans_arrive_does_not_matter(
    order: list[int], twice: int, data: st.DataObject
) -> None:
    straight, bent = timeline(), timeline()
    straight.add_spans(1, chunk(1, *ALL))
    for number in (*order, *order[:twice]):
        bent.add_spans(1, chunk(number + 1, ALL[number]))
        if data.draw(st.booleans()):
            _ = bent.nodes  # somebody looks in between
    assert tree(bent) == tree(straight)
    assert bent.spans.missing == 0


def test_spans_of_an_attempt_that_nobody_knows_wait_for_it() -> None:
    made = Timeline()
    made.add_spans(1, chunk(1, one(1, 1, 2)))
    assert tree(made) == []
    for event in timeline().events.values():
        made.add(event)
    assert (1, "span-1") in tree(made)


def test_numbers_that_are_left_out_are_missing() -> None:
    made = timeline()
    made.add_spans(1, chunk(4, one(1, 1, 2)))
    made.add_spans(2, chunk(1, one(2, 1, 2)))
    made.add_spans(2, chunk(3, one(3, 1, 2)))
    assert made.spans.missing == 3 + 1


def test_deep_rows_are_folded_and_very_deep_ones_stand_side_by_side() -> None:
    made = timeline()
    made.add_spans(1, chunk(1, *[one(n, n / 1000, 9, n - 1) for n in range(1, 5000)]))
    folded = [r.node.label for r in shown(made.nodes, set(), set())]
    assert "span-2" in folded
    assert "span-3" not in folded
    assert max(depth for depth, _ in tree(made)) == DEEPEST
    assert len(tree(made)) > 4999


def test_circles_and_hostile_names_hurt_nobody() -> None:
    made = timeline()
    made.add_spans(1, chunk(1, one(1, 1, 2, 2), one(2, 1, 2, 1), one(3, 1, 2, 3)))
    made.add_spans(1, chunk(4, one(4, 1, 2, name="\x1b[2Jx\u202e")))
    labels = [label for _, label in tree(made)]
    assert not any(c in "".join(labels) for c in "\x1b\u202e")
    far = Span(T, "9" * 16, "far", 0, 2**63 - 1)
    made.add_spans(1, chunk(5, far))
    assert (1, "far") in tree(made)


def test_ten_thousand_spans_are_rows_that_are_made_once() -> None:
    made = timeline()
    for first in range(1, 10_001, 100):
        new = [one(n, 1, 2, n // 10) for n in range(first, first + 100)]
        made.add_spans(1, chunk(first, *new))
    every = [n for n in walk(made.nodes) if n.kind == "span"]
    assert len(every) == 10_000
    assert len(shown(made.nodes, set(), set())) < 10_000 / 10, "what is deep is folded"
    made.add(Event(99, T0, "warning", 1))
    again = [n for n in walk(made.nodes) if n.kind == "span"]
    assert len(again) == 10_000
    assert {id(n) for n in again} == {id(n) for n in every}


def test_more_spans_than_are_kept_are_counted() -> None:
    spans = Spans()
    for first in range(1, SHOWN + 200, 100):
        spans.add(1, chunk(first, *[one(n, 0, 1) for n in range(first, first + 100)]))
    assert spans.beyond == 200
    assert spans.missing == 0
