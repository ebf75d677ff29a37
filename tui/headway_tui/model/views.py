"""Other ways to look at a timeline: attempts beside each other, and the critical path. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headway_tui.model.nodes import Node, walk
from headway_tui.model.timeline import Shown, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

DEEPEST = 4
"""Levels below an attempt that the path goes into."""
_POINTS = frozenset({"checkpoint", "note", "group"})


def by_attempt(nodes: Iterable[Node], closed: set[str], opened: set[str]) -> list[Shown]:
    """Attempts alone, those of a group too: each is drawn from its own zero."""
    return shown([n for n in walk(nodes) if n.kind == "attempt"], closed, opened)


def longest(nodes: Iterable[Node], now: datetime) -> float:
    """Seconds of the longest attempt: the scale of all of them."""
    took = [_took(n, now) for n in walk(nodes) if n.kind == "attempt"]
    return max([*took, 0.001])


def attempt_of(nodes: Iterable[Node]) -> dict[str, Node]:
    """By the key of a row: the attempt that it stands in."""
    found: dict[str, Node] = {}
    for attempt in walk(nodes):
        if attempt.kind == "attempt":
            found.update((n.key, attempt) for n in walk([attempt]))
    return found


def critical(nodes: Sequence[Node], now: datetime) -> list[Shown]:
    """What the run's time was made of: the chain without which it had ended earlier.

    Attempts and what lies between them follow each other. Within an attempt the chain is walked
    from the end: of what was still going on the one that ended last, then what ended before that
    began. Each row says its share of the whole; what no row below it explains is the attempt's own.
    """
    top = [n for parent in nodes for n in (parent.children if parent.kind == "group" else [parent])]
    top = [n for n in top if n.kind not in _POINTS]
    if not top:
        return []
    total = max(max(_end(n, now) for n in top).timestamp() - top[0].start.timestamp(), 0.001)
    rows: list[Shown] = []
    for node in top:
        _explain(node, node, 0, total, now, rows)
    return rows


def _explain(
    node: Node, within: Node, depth: int, total: float, now: datetime, rows: list[Shown]
) -> None:
    """A row of the path and what it was made of, each with its own share."""
    path = _chain(node, now) if depth < DEEPEST else []
    took = _overlap(node, within, now)
    own = max(0.0, took - sum(_overlap(n, node, now) for n in path))
    note = f"{'own ' if path else ''}{own / total:.0%}"
    rows.append(Shown(replace(node, note=note, children=[], marks=[]), depth, ""))
    for child in path:
        _explain(child, node, depth + 1, total, now, rows)


def _chain(node: Node, now: datetime) -> list[Node]:
    """The children on the path, first to last."""
    at, start = _end(node, now), node.start
    rest = sorted(
        (n for n in node.children if n.kind not in _POINTS and _took(n, now) > 0),
        key=lambda n: _end(n, now),
    )
    path: list[Node] = []
    while rest:
        last = rest.pop()
        if last.start >= at or (_end(last, now) > at and path):
            continue  # it went on beside what is on the path already
        path.append(last)
        at = max(last.start, start)
    return path[::-1]


def _end(node: Node, now: datetime) -> datetime:
    return node.end or max(now, node.start)


def _took(node: Node, now: datetime) -> float:
    return (_end(node, now) - node.start).total_seconds()


def _overlap(node: Node, within: Node, now: datetime) -> float:
    first, last = max(node.start, within.start), min(_end(node, now), _end(within, now))
    return max(0.0, (last - first).total_seconds())
