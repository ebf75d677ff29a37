"""A run's attempts as rows of a list, its retries and its once marks as lines. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from headway.retry import backoff
from headway.texts import clock, span
from headway_tui.model.nodes import walk
from headway_tui.model.texts import fit, right, safe
from headway_tui.model.timeline import ENDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from headway.retry import RetryPolicy
    from headway.wire.events import Event
    from headway.wire.runs import MarkRow, RunRow
    from headway_tui.model.timeline import Timeline

DELAYS = 6
"""So many delays of a policy are told."""
WIDE = 64
"""Cells from which agent and epoch have columns."""
_OVER = ENDS | {"review"}
"""States in which no further try is due."""


class Try(NamedTuple):
    """One attempt."""

    number: int
    epoch: int
    agent: str
    start: datetime
    end: datetime | None
    resumed: int
    """The checkpoint that it went on from; 0 = from the start."""
    saved: int
    """Checkpoints that it made."""
    said: str
    """How it ended."""
    bad: bool
    message: str
    """Of its error."""


def tries(timeline: Timeline) -> list[Try]:
    """The attempts, oldest first."""
    data: dict[tuple[str, int], dict[str, Any]] = {}
    messages: dict[int, str] = {}
    for event in timeline.events.values():
        data[event.kind, event.epoch] = event.data
        error: Any = event.data.get("error")
        if isinstance(error, dict):
            said = cast("dict[str, Any]", error).get("message")
            messages[event.epoch] = safe(said or "", 300)
    found: list[Try] = []
    for node in walk(timeline.nodes):
        if node.kind == "attempt":
            agent = safe(data.get(("starting", node.epoch), {}).get("agent") or "", 64)
            resumed = data.get(("started", node.epoch), {}).get("resumed_from")
            saved = sum(n.kind == "checkpoint" for n in walk(node.children))
            found.append(
                Try(node.number, node.epoch, agent, node.start, node.end,
                    resumed if isinstance(resumed, int) else 0, saved,
                    node.note if node.end is not None else "runs", node.bad,
                    messages.get(node.epoch, ""))
            )  # fmt: skip
    return found


def try_head(width: int) -> str:
    """The titles of the columns."""
    more = "EPOCH AGENT        " if width >= WIDE else ""
    return f" TRY {more}BEGAN       TOOK FROM  CKPTS ENDED"


def try_row(one: Try, now: datetime, width: int) -> list[tuple[str, str]]:
    """A row of as many columns as fit: (text, role)."""
    took = span(((one.end or max(now, one.start)) - one.start).total_seconds())
    more = f"{one.epoch:>5} {fit(one.agent, 12)} " if width >= WIDE else ""
    resumed = f"◆{one.resumed}" if one.resumed else "start"
    head = f" {one.number or one.epoch:>3} {more}{one.start.astimezone():%H:%M:%S} {right(took, 7)}"
    said = f"{one.said}  {one.message}" if one.message else one.said
    role = "bad" if one.bad else "info" if one.end is None else "text"
    return [(f"{head} {fit(resumed, 5)} {one.saved:>5} ", "text"), (said, role)]


def try_page(one: Try) -> list[str]:
    """All that is known of an attempt."""
    facts = [("attempt", f"{one.number or one.epoch} (epoch {one.epoch})"), ("agent", one.agent),
             ("began", clock(one.start)), ("ended", "" if one.end is None else clock(one.end)),
             ("took", "" if one.end is None else span((one.end - one.start).total_seconds())),
             ("from", f"checkpoint {one.resumed}" if one.resumed else "the start"),
             ("made", f"{one.saved} checkpoints"), ("said", one.said),
             ("error", one.message)]  # fmt: skip
    return [f"{name:<10}{text}" for name, text in facts if text]


def retries(policy: RetryPolicy | None, row: RunRow, now: datetime) -> str:
    """The delays between tries, and when the next one is due; empty = the policy is not known."""
    if policy is None:
        return ""
    count = policy.max_attempts - 1
    if count <= 0:
        return "retries: none"
    delays = [backoff(policy, n, 0.5) for n in range(1, count + 1)]
    told = " ".join(_short(d) for d in delays[:DELAYS]) + (" …" if count > DELAYS else "")
    return f"retries: {told} (\u00d7{policy.factor:g}, cap {_short(policy.max_delay)})" + (
        f" next: {_next(delays, row, now)}"
    )


def _next(delays: Sequence[float], row: RunRow, now: datetime) -> str:
    if row.status in _OVER:
        return "none"
    if row.status == "retrying" and row.due_at is not None:
        return f"in {span(max(0.0, (row.due_at - now).total_seconds()))}"
    if row.attempt > len(delays):
        return "none"
    return f"{_short(delays[max(0, row.attempt - 1)])} after this try"


def _short(seconds: float) -> str:
    return f"{round(seconds, 3):g}s" if seconds < 60 else span(seconds).removesuffix("00s")


class Once(NamedTuple):
    """A once mark as it is now."""

    key: str
    said: str
    at: datetime
    epoch: int


def marks_of(marks: Iterable[MarkRow], events: Iterable[Event]) -> list[Once]:
    """The newest word on each once mark, the last one first.

    Events tell of those of this run, live; marks of those that a fork has kept as well.
    """
    known = {m.key: Once(m.key, m.status, m.at, m.epoch) for m in marks if m.kind == "once"}
    for e in sorted(events, key=lambda e: e.n):
        key = e.data.get("key")
        if isinstance(key, str) and e.kind in {"once", "resolved"}:
            said = e.data.get("status" if e.kind == "once" else "decision")
            known[key] = Once(key, str(said or ""), e.at, e.epoch)
    return sorted(known.values(), key=lambda o: o.at, reverse=True)


def once_line(one: Once, attempt: int) -> str:
    """One of them, in a line."""
    return (
        f"once: ◈ {safe(one.key, 60)} {safe(one.said, 20)} {one.at.astimezone():%H:%M:%S}"
        f" attempt {attempt or one.epoch}"
    )
