"""Spans of a run as rows of its waterfall, beside what its events tell. Pure.

A span that Headway made of a step or a once is the row that the event made already; what a library
did inside stands below it. The rest stands where its parent is, or below its attempt.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from headway_tui.model.nodes import Node, walk
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from headway.wire.events import Span, SpanChunk

SHOWN = 20_000
"""Spans of a run that are kept; what comes beyond is counted."""
OPEN_DEPTH = 2
"""Rows below this depth are folded away at first."""
DEEPEST = 12
"""Rows do not stand deeper; what is deeper stands there."""
OURS = "headway"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS = ("http.response.status_code", "http.status_code", "rpc.grpc.status_code")


class _Kept(NamedTuple):
    """A span with its row, which is made once: a tree is made anew with everything that comes."""

    span: Span
    row: Node


class Spans:
    """Chunks in, in any order and doubly; rows out."""

    def __init__(self) -> None:
        self._known: dict[int, dict[int, _Kept]] = {}
        """By epoch and number."""
        self._last: dict[int, int] = {}
        self._count = 0
        self.beyond = 0
        """Spans that came when there were SHOWN of them."""

    def add(self, epoch: int, chunk: SpanChunk) -> bool:
        """A chunk of one attempt; False if it says nothing new."""
        known = self._known.setdefault(epoch, {})
        new = False
        for number, span in enumerate(chunk.spans, chunk.first):
            if number in known:
                continue
            if self._count >= SHOWN:
                self.beyond += 1
                continue
            known[number] = _Kept(span, _row(span, epoch))
            self._count += 1
            new = True
        last = chunk.first + len(chunk.spans) - 1
        self._last[epoch] = max(self._last.get(epoch, 0), last)
        return new

    def find(self, epoch: int, span: str) -> Span | None:
        """A span of an attempt by its id."""
        known = self._known.get(epoch, {}).values()
        return next((k.span for k in known if k.span.span == span), None)

    @property
    def missing(self) -> int:
        """Spans that were dropped on their way, or thrown away since, by their numbers."""
        seen = sum(self._last.values())
        return max(0, seen - self._count - self.beyond)

    def attach(self, nodes: list[Node]) -> None:
        """Put rows of spans below those of their attempts; those of an older tree move here."""
        if not self._count:
            return
        for node in walk(nodes):
            if node.kind == "attempt" and (found := self._known.get(node.epoch)):
                _below(node, list(found.values()))


def _below(attempt: Node, spans: list[_Kept]) -> None:
    """Rows of one attempt; circles of parents, which no library makes, are left out."""
    rows = {f"step({n.label!r})": n for n in attempt.children if n.kind == "step"}
    rows |= {f"once({n.label[7:]!r})": n for n in attempt.children if n.kind == "once"}
    ids = {k.span.span for k in spans}
    under: dict[str, list[_Kept]] = {}
    for kept in spans:
        parent = kept.span.parent
        under.setdefault(parent if parent in ids else "", []).append(kept)
    hosts = {id(attempt): attempt}
    stack = [(k, attempt, 1) for k in under.pop("", ())]
    while stack:
        (span, row), host, depth = stack.pop()
        below, deeper = host, depth
        if span.scope == OURS and span.name in rows:
            below, deeper = rows[span.name], 2
        elif span.scope != OURS or not span.name.startswith(("attempt ", "checkpoint")):
            row.folded, row.children = depth >= OPEN_DEPTH, []
            host.children.append(row)
            hosts[id(host)] = host
            if depth < DEEPEST:
                below, deeper = row, depth + 1
        stack += [(k, below, deeper) for k in under.pop(span.span, ())]
    for host in hosts.values():
        host.children.sort(key=lambda n: n.start)


def _row(span: Span, epoch: int) -> Node:
    bad = span.status == "error"
    told = next((str(span.attributes[k]) for k in _STATUS if k in span.attributes), "")
    note = f"✗ {span.message or told}".rstrip() if bad else told
    return Node(
        f"x{span.span}", "span", safe(span.name, 200), _at(span.start), _at(span.end),
        safe(note, 60), bad, epoch,
    )  # fmt: skip


def _at(ns: int) -> datetime:
    """A moment that a calendar has; the task's clock may say anything."""
    return _EPOCH + timedelta(microseconds=min(ns // 1000, 200_000_000_000_000_000))
