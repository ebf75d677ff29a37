"""The waterfall of spans in text."""

from __future__ import annotations

from headway.wire.events import Span
from headway_ops.tracing import waterfall

T = "a" * 32


def one(span: str, start: int, end: int, parent: str = "", name: str = "") -> Span:
    return Span(T, span, name or span, start, end, parent=parent)


def test_children_stand_under_their_parent_in_the_order_of_their_start() -> None:
    lines = waterfall([
        one("late", 60, 100, "top"), one("early", 10, 20, "top"), one("top", 0, 100),
        one("inner", 70, 80, "late"),
    ])  # fmt: skip
    assert [line.split("|")[0].rstrip() for line in lines] == [
        "top", "  early", "  late", "    inner",
    ]  # fmt: skip


def test_bars_share_one_axis() -> None:
    lines = waterfall(
        [one("all", 0, 1_000_000_000), one("half", 500_000_000, 1_000_000_000, "all")]
    )
    assert "|" + "=" * 32 + "|" in lines[0]
    assert "|" + " " * 16 + "=" * 16 + "|" in lines[1]
    assert [line.split()[-1] for line in lines] == ["1.0s", "500ms"]


def test_a_span_whose_parent_is_gone_and_a_circle_are_told_once() -> None:
    lines = waterfall([one("lost", 0, 1, "gone"), one("a", 1, 2, "b"), one("b", 1, 2, "a"),
                       one("self", 3, 4, "self")])  # fmt: skip
    assert sorted(line.split("|")[0].strip() for line in lines) == ["a", "b", "lost", "self"]


def test_hostile_names_stay_on_their_line() -> None:
    [line] = waterfall([one("x", 0, 1, name="a\x1b[31m\nb" + "c" * 300)])
    assert "\x1b" not in line
    assert "\n" not in line


def test_no_spans_are_no_lines() -> None:
    assert waterfall([]) == []
