"""A run's events as the rows of a waterfall: attempts with what happened in them. Pure.

The tree is built from the event list alone, so arrival order and reconnects cannot bend it. Bars
that are still open end at the `now` of whoever draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from headway.texts import size, span
from headway_tui.model.nodes import Node, walk
from headway_tui.model.spans import Spans
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from headway.wire.events import Event, Span, SpanChunk

FOLD_ATTEMPTS = 3
"""More attempts than this between the first and the last are one row, until it is opened."""
QUIET_QUEUE = 0.5
"""Seconds: a shorter stay in the queue is no row."""
ENDS = frozenset({"succeeded", "failed", "timed_out", "cancelled", "expired"})
_LEAVES = ENDS | {"retrying", "lost", "waiting", "review", "given_back", "cancelling"}
_BAD = frozenset({"failed", "timed_out", "retrying", "lost"})


@dataclass(frozen=True, slots=True)
class Shown:
    """A node on screen: how deep, and whether something is folded away or open below it."""

    node: Node
    depth: int
    fold: str
    """`open`, `closed` or nothing."""


class Timeline:
    """Events in, nodes out."""

    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.spans = Spans()
        self.changed = True
        self._nodes: list[Node] = []

    def add(self, event: Event) -> None:
        """One event; doubles by number are dropped."""
        if event.n not in self.events:
            self.events[event.n] = event
            self.changed = True

    def add_spans(self, epoch: int, chunk: SpanChunk) -> None:
        """A chunk of spans of one attempt."""
        if self.spans.add(epoch, chunk):
            self.changed = True

    def number_of(self, epoch: int) -> int:
        """Which attempt has this epoch, as people count them; 0 = not known."""
        said = (e for e in self.events.values() if e.kind == "starting" and e.epoch == epoch)
        first = next(said, None)
        return _int(first.data.get("attempt")) if first is not None else 0

    def behind(self, node: Node) -> tuple[Event | None, Span | None]:
        """The event, or the span, that a row was made of."""
        if node.kind == "span":
            return None, self.spans.find(node.epoch, node.key[1:])
        number = node.key[1:]
        return (self.events.get(int(number)) if number.isdigit() else None), None

    @property
    def nodes(self) -> list[Node]:
        """The tree as of the events so far."""
        if self.changed:
            self._nodes = build([self.events[n] for n in sorted(self.events)])
            self.spans.attach(self._nodes)
            self.changed = False
        return self._nodes


def build(events: Sequence[Event]) -> list[Node]:
    """Attempts, and what lies between them, from events in order of their number."""
    nodes: list[Node] = []
    attempt: Node | None = None
    between: Node | None = None
    once: dict[str, Node] = {}

    def close(at: datetime) -> None:
        nonlocal between
        if between is not None:
            between.end = at
            between = None

    for e in events:
        where = attempt.children if attempt is not None else nodes
        if e.kind == "starting":
            close(e.at)
            number = _int(e.data.get("attempt"))
            attempt = Node(f"a{e.epoch}", "attempt", _attempt_label(number, e.epoch), e.at, None,
                           epoch=e.epoch, number=number)  # fmt: skip
            once = {}
            nodes.append(attempt)
            if agent := e.data.get("agent"):
                attempt.note = f"on {safe(agent, 32)}"
        elif e.kind == "started" and attempt is not None:
            if resumed := _int(e.data.get("resumed_from")):
                attempt.note = f"from ◆{resumed}"
                attempt.marks.append(("checkpoint", e.at))
        elif e.kind == "checkpoint":
            where.append(_checkpoint(e))
            if attempt is not None:
                attempt.marks.append(("checkpoint", e.at))
        elif e.kind == "step":
            where.append(_step(e))
        elif e.kind == "once":
            _once(e, where, once, attempt)
        elif e.kind in _LEAVES and e.kind != "cancelling":
            if attempt is not None:
                attempt.end, attempt.bad = e.at, e.kind in _BAD
                attempt.note = _outcome(e) or attempt.note
                for node in once.values():
                    node.end = node.end or e.at
                attempt = None
            close(e.at)
            between = _between(e)
            if between is not None:
                nodes.append(between)
            elif e.kind in ENDS and not any(n.kind == "attempt" for n in nodes):
                nodes.append(_note(e))
        elif e.kind in {"queued", "delayed"}:
            if attempt is not None:  # lost or drained: its end was told with it
                attempt.end, attempt.note = e.at, _outcome(e) or attempt.note
                attempt.bad = True
                attempt = None
            close(e.at)
            between = Node(f"q{e.n}", "queued", "in the queue" if e.kind == "queued" else "delayed",
                           e.at, None, note=safe(e.data.get("why") or "", 60))  # fmt: skip
            nodes.append(between)
        else:
            where.append(_note(e))
    return _grouped([n for n in nodes if not _blink(n)])


def _blink(node: Node) -> bool:
    """True for a stay in the queue that tells nothing."""
    stay = node.kind == "queued" and node.end is not None
    return stay and (node.end or node.start) - node.start < timedelta(seconds=QUIET_QUEUE)


def _attempt_label(number: int, epoch: int) -> str:
    return f"attempt {number or epoch}" + (f" ({epoch})" if number and number != epoch else "")


def _checkpoint(e: Event) -> Node:
    number, name = _int(e.data.get("number")), safe(e.data.get("name") or "", 200)
    bytes_ = e.data.get("size")
    note = size(bytes_) if isinstance(bytes_, int) else ""
    return Node(f"c{e.n}", "checkpoint", f"◆{number} {name}", e.at, e.at, note, epoch=e.epoch,
                number=number)  # fmt: skip


def _step(e: Event) -> Node:
    seconds = e.data.get("seconds")
    took = float(seconds) if isinstance(seconds, int | float) else 0.0
    bad = e.data.get("status") in {"failed", "error"}
    return Node(f"s{e.n}", "step", safe(e.data.get("key") or e.data.get("fn") or "step", 200),
                e.at - timedelta(seconds=min(max(took, 0.0), 1e9)), e.at,
                span(took) if took else "", bad, epoch=e.epoch)  # fmt: skip


def _once(e: Event, where: list[Node], known: dict[str, Node], attempt: Node | None) -> None:
    key, status = safe(e.data.get("key") or "", 200), e.data.get("status")
    node = known.get(key)
    if node is None:
        node = known[key] = Node(f"o{e.n}", "once", f"◈ once {key}", e.at, None, epoch=e.epoch)
        where.append(node)
    if status != "started":
        node.end, node.note = e.at, safe(status or "", 20)
        node.bad = status in {"failed", "interrupted"}
        if status == "done" and attempt is not None:
            attempt.marks.append(("once", e.at))


def _between(e: Event) -> Node | None:
    if e.kind == "retrying":
        return Node(f"b{e.n}", "backoff", "backoff", e.at, None)
    if e.kind in {"lost", "given_back"}:
        return Node(f"q{e.n}", "queued", "in the queue", e.at, None)
    if e.kind == "waiting":
        return Node(f"w{e.n}", "wait", f"waits: {safe(e.data.get('key') or '', 100)}", e.at, None)
    if e.kind == "review":
        return Node(f"r{e.n}", "wait", f"review: {safe(e.data.get('reason') or '', 100)}",
                    e.at, None, note=safe(e.data.get("key") or "", 100))  # fmt: skip
    return None


def _note(e: Event) -> Node:
    why = safe(e.data.get("why") or e.data.get("reason") or "", 120)
    return Node(f"n{e.n}", "note", safe(e.kind, 40), e.at, e.at, why, epoch=e.epoch)


def _outcome(e: Event) -> str:
    """An attempt's end in a few words."""
    error: Any = e.data.get("error")
    kind = str(cast("dict[str, Any]", error).get("type", "") if isinstance(error, dict) else error)
    kind = "" if error is None else kind
    if e.kind in {"failed", "retrying"}:
        return f"✗ {safe(kind or str(e.data.get('cause') or 'failed'), 60)}"
    if e.kind == "lost" or (e.kind == "queued" and e.data.get("why")):
        return f"✗ {safe(e.data.get('why') or 'lost', 60)}"
    return {"succeeded": "✓", "timed_out": "✗ timeout", "cancelled": "cancelled",
            "waiting": "", "review": "⚑ review"}.get(e.kind, "")  # fmt: skip


def _int(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _grouped(nodes: list[Node]) -> list[Node]:
    """Attempts in the middle of many as one group."""
    attempts = [i for i, n in enumerate(nodes) if n.kind == "attempt"]
    if len(attempts) <= FOLD_ATTEMPTS + 1:
        return nodes
    first, last = attempts[0] + 1, attempts[-1]
    middle = nodes[first:last]
    inner = [n for n in middle if n.kind == "attempt"]
    notes = [n.note for n in inner]
    same = notes[0] if len(set(notes)) == 1 else ""
    group = Node(
        f"g{inner[0].epoch}", "group", f"attempts {inner[0].number or inner[0].epoch}"
        f"-{inner[-1].number or inner[-1].epoch}", middle[0].start, middle[-1].end,
        f"{len(inner)}x {same.removeprefix('✗ ')}" if same else f"{len(inner)} attempts",
        any(n.bad for n in inner), children=middle, folded=True,
    )  # fmt: skip
    return [*nodes[:first], group, *nodes[last:]]


def shown(nodes: Iterable[Node], closed: set[str], opened: set[str], depth: int = 0) -> list[Shown]:
    """The rows on screen. What is folded is closed unless opened, the rest open unless closed."""
    rows: list[Shown] = []
    for node in nodes:
        fold = ""
        if node.children:
            is_open = node.key in opened if node.folded else node.key not in closed
            fold = "open" if is_open else "closed"
        rows.append(Shown(node, depth, fold))
        if fold == "open":
            rows += shown(node.children, closed, opened, depth + 1)
    return rows


def flat(nodes: Iterable[Node]) -> list[Shown]:
    """All rows without folds, by their start."""
    return sorted(
        (Shown(node, 0, "") for node in walk(nodes) if node.kind != "group"),
        key=lambda s: s.node.start,
    )
