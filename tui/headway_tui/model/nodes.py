"""The rows of a waterfall. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(slots=True)
class Node:
    """One row. `end` None = still open; a point in time has end == start."""

    key: str
    kind: str
    """attempt | group | checkpoint | step | once | wait | backoff | queued | note | span."""
    label: str
    start: datetime
    end: datetime | None
    note: str = ""
    bad: bool = False
    epoch: int = 0
    number: int = 0
    """Of a checkpoint."""
    children: list[Node] = field(default_factory=list["Node"])
    marks: list[tuple[str, datetime]] = field(default_factory=list[tuple[str, "datetime"]])
    """Signs on the bar: (kind, when)."""
    folded: bool = False
    """What is below it is folded away until it is opened."""


def walk(nodes: Iterable[Node]) -> list[Node]:
    """All nodes, each before what is below it."""
    found: list[Node] = []
    stack = list(nodes)[::-1]
    while stack:
        node = stack.pop()
        found.append(node)
        stack += node.children[::-1]
    return found
