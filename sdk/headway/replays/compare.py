"""Two runs side by side: pure. The command line, reports and the console show the same facts.

Both timelines are aligned at the checkpoint that they share, then by the names of checkpoints, not
by time: what matters is where the fork went another way.
"""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from headway.texts import lasted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headway.wire.events import Event
    from headway.wire.runs import RunDetail

Mark = Literal[" ", "~", "+", "-"]
"""The same, different, only in the fork, only in the original."""
VALUE = 60
"""Characters of a value that are shown in a change."""
LOG_LINES = 2000
"""Lines of each side's output, the last ones, that are put side by side."""
_ENDS = frozenset({"succeeded", "failed", "timed_out", "cancelled", "expired", "review"})


class Change(NamedTuple):
    """One member of a state or output that differs."""

    mark: Mark
    path: str
    old: str
    new: str

    def text(self) -> str:
        """`model: "sonnet" -> "haiku"`."""
        if self.mark == "-":
            return f"{self.path} removed"
        if self.mark == "+":
            return f"{self.path} added: {self.new}"
        return f"{self.path + ': ' if self.path else ''}{self.old} -> {self.new}"


def changes(old: Any, new: Any, path: str = "") -> list[Change]:
    """What is different between two JSON values, member by member; of lists the changed items."""
    if isinstance(old, dict) and isinstance(new, dict):
        return _members(cast("dict[str, Any]", old), cast("dict[str, Any]", new), path)
    if _encoded(old) == _encoded(new):
        return []
    if isinstance(old, list) and isinstance(new, list):
        a, b = cast("list[Any]", old), cast("list[Any]", new)
        if len(a) != len(b):
            return [Change("~", path or "list", f"{len(a)} items", f"{len(b)} items")]
        pairs = enumerate(zip(a, b, strict=True))
        return [c for i, (x, y) in pairs for c in changes(x, y, f"{path}[{i}]")]
    return [Change("~", path, short(old), short(new))]


def _members(old: dict[str, Any], new: dict[str, Any], path: str) -> list[Change]:
    told: list[Change] = []
    for key in dict.fromkeys([*old, *new]):
        place = f"{path}.{key}" if path else key
        if key not in new:
            told.append(Change("-", place, short(old[key]), ""))
        elif key not in old:
            told.append(Change("+", place, "", short(new[key])))
        else:
            told += changes(old[key], new[key], place)
    return told


def short(value: Any) -> str:
    """A value as JSON, cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE else text[: VALUE - 3] + "..."


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


# --- numbers


class Number(NamedTuple):
    """A figure of both runs; None = not known."""

    name: str
    original: Any
    fork: Any


def numbers(a: RunDetail, b: RunDetail) -> list[Number]:
    """The figures on top: how it ended, time, cost, tokens, work done, tries."""
    return [Number(name, take(a), take(b)) for name, take in _NUMBERS.items()]


def _duration(d: RunDetail) -> float | None:
    return lasted(d.row, d.row.ended_at) if d.row.ended_at else None


def _told(d: RunDetail) -> bool:
    return bool(d.row.tokens_in or d.row.tokens_out or d.row.cost_usd)


_NUMBERS: dict[str, Callable[[RunDetail], Any]] = {
    "status": lambda d: d.row.status,
    "duration": _duration,
    "cost_usd": lambda d: d.row.cost_usd if _told(d) else None,
    "tokens": lambda d: d.row.tokens_in + d.row.tokens_out if _told(d) else None,
    "steps": lambda d: sum(e.kind == "step" for e in d.events),
    "retries": lambda d: sum(e.kind == "retrying" for e in d.events),
    "attempts": lambda d: d.row.attempt,
    "checkpoints": lambda d: d.row.checkpoint,
    "error_class": lambda d: "" if d.row.error is None else d.row.error.type,
    "version": lambda d: d.row.version,
}


# --- timelines


class Side(NamedTuple):
    """What one of the two runs has in a line of the comparison."""

    text: str = ""
    number: int = 0
    """Of a checkpoint."""
    bad: bool = False
    note: str = ""
    """How long it took, or that it was kept; it does not count as a difference."""


class Line(NamedTuple):
    """One line: a checkpoint, or what happened after it."""

    mark: Mark
    kind: Literal["start", "checkpoint", "step", "once", "error", "end"]
    name: str
    a: Side | None
    b: Side | None
    shared: bool = False
    """The checkpoint that the fork began with."""


class _Segment:
    """A checkpoint and what followed it, by kind and key."""

    def __init__(self, name: str, number: int = 0, digest: str = "") -> None:
        self.name, self.number, self.digest = name, number, digest
        self.items: dict[tuple[str, str], Side] = {}


def shared_checkpoint(a: RunDetail, b: RunDetail) -> int:
    """The number of the checkpoint from which `b` was forked off `a`; 0 = none."""
    first = b.events[0] if b.events else None
    if first is None or first.kind != "forked" or first.data.get("origin") != a.row.run:
        return 0
    number = first.data.get("checkpoint")
    return number if isinstance(number, int) else 0


def timeline(a: RunDetail, b: RunDetail) -> list[Line]:
    """Both runs from the checkpoint that they share on, aligned by the names of checkpoints.

    An effect that is done for the fork, because its mark was kept, is one that both have.
    """
    shared = shared_checkpoint(a, b)
    one, two = _segments(a, shared), _segments(b, shared)
    kept = {m.key for m in b.marks if (m.kind, m.status) == ("once", "done")}
    kept -= {key for segment in two for kind, key in segment.items if kind == "once"}
    lines: list[Line] = []
    for left, right in _paired(one, two):
        first = left is one[0] and right is two[0]
        lines.append(_head(left, right, shared=first and shared > 0))
        keys = dict.fromkeys([*(left.items if left else ()), *(right.items if right else ())])
        for key in keys:
            x = left.items.get(key) if left else None
            y = right.items.get(key) if right else None
            if x is not None and y is None and key[0] == "once" and key[1] in kept and not x.bad:
                y = Side(x.text, note="kept")
            kind: Any = key[0]
            lines.append(Line(_mark(x, y), kind, key[1], x, y))
    return lines


def _head(left: _Segment | None, right: _Segment | None, *, shared: bool) -> Line:
    some = left or right
    assert some is not None
    x = None if left is None else Side(left.name, left.number)
    y = None if right is None else Side(right.name, right.number)
    mark: Mark = "+" if left is None else "-" if right is None else " "
    if left is not None and right is not None and left.digest != right.digest:
        mark = "~"
    return Line(mark, "checkpoint" if some.number else "start", some.name, x, y, shared)


def _mark(x: Side | None, y: Side | None) -> Mark:
    if x is None:
        return "+"
    if y is None:
        return "-"
    return " " if x.text == y.text and x.bad == y.bad else "~"


def _segments(detail: RunDetail, shared: int) -> list[_Segment]:
    """What happened from checkpoint `shared` on; a later attempt's word on a key is the last."""
    kept = {c.number: c for c in detail.checkpoints}

    def begun(number: int, name: str) -> _Segment:
        row = kept.get(number)
        return _Segment(row.name if row else name, number, row.sha256 if row else "")

    found = {shared: begun(shared, "start")}
    at = floor = shared if detail.events and detail.events[0].kind == "forked" else 0
    for e in detail.events:
        number = e.data.get("number")
        if e.kind == "started":
            resumed = e.data.get("resumed_from")
            at = max(floor, resumed) if isinstance(resumed, int) else floor
        elif e.kind == "checkpoint" and isinstance(number, int):
            at = number
            if number > shared:
                found.setdefault(number, begun(number, str(e.data.get("name") or "")))
        elif (item := _item(e)) is not None and at in found:
            found[at].items[item[0], item[1]] = item[2]
    return [found[n] for n in sorted(found)]


def _item(e: Event) -> tuple[str, str, Side] | None:
    data = e.data
    key = str(data.get("key") or data.get("fn") or "")
    if e.kind == "step":
        bad = data.get("status") in ("failed", "error")
        took = data.get("seconds")
        note = f"{took:.1f}s" if isinstance(took, int | float) else ""
        text = f"{key or 'step'} {'failed' if bad else 'done'}"
        return "step", key or "step", Side(text, 0, bad, note)
    if e.kind == "once":
        status = str(data.get("status") or "")
        return "once", key, Side(f"once {key} {status}", 0, status in ("failed", "interrupted"))
    if e.kind in ("retrying", "lost"):
        return "error", e.kind, Side(_error(e) or e.kind, 0, bad=True)
    if e.kind in _ENDS:
        why = _error(e)
        return "end", "end", Side(f"{e.kind} {why}".strip(), 0, e.kind != "succeeded")
    return None


def _error(e: Event) -> str:
    error = e.data.get("error")
    if isinstance(error, dict):
        told = cast("dict[str, Any]", error)
        return f"{told.get('type', '')}: {told.get('message', '')}"[:200]
    return str(error or e.data.get("why") or "")[:200]


def _paired(
    one: Sequence[_Segment], two: Sequence[_Segment]
) -> list[tuple[_Segment | None, _Segment | None]]:
    """Segments of the same name beside each other; the first of both always are."""
    pairs: list[tuple[_Segment | None, _Segment | None]] = [(one[0], two[0])]
    a, b = one[1:], two[1:]
    same = SequenceMatcher(None, [s.name for s in a], [s.name for s in b], autojunk=False)
    for what, i, j, k, m in same.get_opcodes():
        if what == "equal":
            pairs += zip(a[i:j], b[k:m], strict=True)
        else:
            pairs += [(s, None) for s in a[i:j]]
            pairs += [(None, s) for s in b[k:m]]
    return pairs


def checkpoints(lines: Iterable[Line]) -> list[Line]:
    """The checkpoints among the lines of a timeline."""
    return [line for line in lines if line.kind == "checkpoint"]


# --- output


class LogPair(NamedTuple):
    """Two lines of output beside each other; None = that side has none."""

    mark: Mark
    a: str | None
    b: str | None


def side_by_side(one: Sequence[str], two: Sequence[str]) -> list[LogPair]:
    """The last lines of both outputs, equal ones beside each other."""
    a, b = list(one[-LOG_LINES:]), list(two[-LOG_LINES:])
    pairs: list[LogPair] = []
    for what, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        left, right = a[i:j], b[k:m]
        if what == "equal":
            pairs += [LogPair(" ", x, y) for x, y in zip(left, right, strict=True)]
            continue
        for at in range(max(len(left), len(right))):
            x = left[at] if at < len(left) else None
            y = right[at] if at < len(right) else None
            pairs.append(LogPair("+" if x is None else "-" if y is None else "~", x, y))
    return pairs


def next_difference(marks: Sequence[str], at: int, step: int) -> int | None:
    """The place of the next difference from `at` on, going round; None if there is none."""
    n = len(marks)
    order = (at + step * i for i in range(1, n + 1))
    return next((i % n for i in order if marks[i % n] != " "), None)
