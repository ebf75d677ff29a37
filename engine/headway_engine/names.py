"""What somebody may have meant by a name that nobody knows: pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 8
"""Names that a message lists at most."""


def meant(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or which names there are; empty if there are none."""
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, 1):
        return f"did you mean {close[0]!r}?"
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"there are: {', '.join(names[:SHOWN])}{more}"


def unknown_queue(queue: str, ns: str, known: Iterable[str]) -> str:
    """Why a queue is refused that no task, agent or setting names."""
    hint = meant(queue, known)
    return (
        f"no task, agent or setting of namespace {ns!r} knows queue {queue!r}"
        f"{f' ({hint})' if hint else ''}: start an agent with it among its `queues`, or make it"
        f" with `headway queue limit {queue} 0 --create`"
    )
