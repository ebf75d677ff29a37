"""All that is known of a row of the waterfall, and of a line of output, as lines to read. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from headway.safe import safe_line
from headway.texts import clock, span
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from datetime import datetime

    from headway.wire.events import Event, Span
    from headway_tui.model.nodes import Node

LINES = 400
"""Lines of a page at most; what comes after them is told by its number."""
WIDE = 94
"""Cells of a line before it goes on in the next one."""


def of_row(
    node: Node, begin: datetime, now: datetime, event: Event | None, made: Span | None
) -> list[str]:
    """A row: its times, then what its event or its span says."""
    end = node.end or max(now, node.start)
    facts = [("what", f"{node.kind} {node.label}"), ("said", node.note),
             ("begins", f"{clock(node.start)}   {span((node.start - begin).total_seconds())}"
                        " after the run's first event"),
             ("took", span((end - node.start).total_seconds())
              + ("" if node.end else " so far")),
             ("attempt", f"epoch {node.epoch}" if node.epoch else "")]  # fmt: skip
    more: dict[str, Any] = {}
    if made is not None:
        said = f"{made.status} {made.message}".strip()
        facts += [("span", f"{made.span}   trace {made.trace}"), ("parent", made.parent),
                  ("library", made.scope), ("status", said)]  # fmt: skip
        more = dict(made.attributes)
    elif event is not None:
        facts += [("event", f"{event.n} {event.kind}"), ("by", event.actor)]
        more = event.data
    lines = [f"{name:<10}{safe(text, WIDE)}" for name, text in facts if text]
    told = [f"  {safe(name, 40)}  {_value(value)}" for name, value in more.items()]
    lines += ["", *told] if told else []
    if made is not None and made.events:
        lines += ["", *(f"  {safe(e.name, 60)}  {_value(dict(e.attributes))}" for e in made.events)]
    return _cut(lines)


def of_line(text: str) -> list[str]:
    """The whole of a line of output, in lines of a page."""
    shown = safe_line(text, WIDE * LINES)
    return _cut([shown[i : i + WIDE] for i in range(0, len(shown), WIDE)] or [""])


def of_record(record: object) -> list[str]:
    """A record as indented JSON."""
    text = json.dumps(to_builtins(record), indent=2, ensure_ascii=False, default=str)
    lines: list[str] = []
    for line in text.splitlines():
        shown = safe_line(line, WIDE * LINES)
        lines += [shown[i : i + WIDE] for i in range(0, len(shown), WIDE)] or [""]
    return _cut(lines)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return safe(text, 300)


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= LINES:
        return lines
    return [*lines[:LINES], f"... {len(lines) - LINES:,} more lines"]
