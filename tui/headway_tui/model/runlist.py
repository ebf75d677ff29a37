"""One run as a row of the list and as a preview; which columns fit. Pure.

On narrow terminals columns go in this order: queue, time, the checkpoint's name, age.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.looks import MARKS, look
from headway.texts import age, span, took, tries
from headway_tui.model.cells import Cell, Column
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from headway.wire import ErrorInfo
    from headway.wire.events import Event
    from headway.wire.runs import RunDetail, RunRow


class Paper(NamedTuple):
    """What a row is written on."""

    now: datetime
    ascii_only: bool = False
    wide: bool = True
    """Ids from their beginning; else their end, which differs most."""
    names: bool = True
    """Checkpoints with their names."""
    cut: frozenset[str] = frozenset()
    """Sites that are cut off: what is known of their runs is old."""

    def sign(self, name: str) -> str:
        """A sign."""
        return MARKS[name][self.ascii_only]


WIDE = 100
"""Cells from which ids and names are shown at length."""
_LAST = 20
"""Cells that the last column should have."""


def columns_for(width: int, *, sites: bool = False) -> tuple[Column, ...]:
    """The columns of a list of this width; `sites`: with the site that owns each run."""
    mark, state = Column(" ", 1), Column("  STATE", 7)
    if width < 60:
        return (mark, state, Column("RUN", 10), Column("TASK", 0))
    wide = width >= WIDE
    columns = [
        mark, state, Column("RUN", 14 if wide else 10), Column("TASK", 18 if wide else 14),
        Column("TRY", 5 if wide else 4, True), Column("LAST CHECKPOINT", 17),
        Column("TIME", 7, True), Column("AGE", 4, True), Column("QUEUE", 9),
        Column("TAGS / ERROR" if wide else "ERROR", 0),
    ]  # fmt: skip
    if sites:
        columns.insert(3, Column("SITE", 10 if wide else 8))

    def room() -> int:
        return width - sum(c.width + 1 for c in columns) + 1

    for title in ("QUEUE", "TIME", "LAST CHECKPOINT", "AGE"):
        if room() >= _LAST and (wide or title == "AGE"):
            break
        at = next(i for i, c in enumerate(columns) if c.title == title)
        if title == "LAST CHECKPOINT":
            columns[at] = Column("CKPT", 5)
        else:
            del columns[at]
    return tuple(columns)


def _site(row: RunRow, paper: Paper) -> Cell:
    if row.site in paper.cut:
        return Cell(f"{paper.sign('cut off')} {safe(row.site, 64)}", "warning")
    return Cell(safe(row.site, 64) or "-", "text" if row.site else "muted")


def _point(row: RunRow, paper: Paper) -> Cell:
    return Cell(f"{paper.sign('checkpoint')}{row.checkpoint}" if row.checkpoint else "-", "mark")


def _named_point(row: RunRow, paper: Paper) -> Cell:
    point = _point(row, paper)
    return point._replace(text=f"{point.text} {safe(row.checkpoint_name, 40)}".rstrip())


def _words(error: ErrorInfo) -> str:
    return f"{error.type}: {error.message}" if error.message else error.type


def _last(row: RunRow, paper: Paper) -> Cell:
    if row.status == "retrying" and row.due_at is not None:
        left = max(0.0, (row.due_at - paper.now).total_seconds())
        kind = safe(row.error.type if row.error else "", 60)
        return Cell(f"next in {span(left)}  {kind}", "warning")
    if row.error is not None and row.status not in {"succeeded", "cancelled"}:
        flag = f"{paper.sign('dead')} " if row.failure and not row.acked else ""
        return Cell(flag + safe(_words(row.error), 200), "bad-soft")
    if row.reason and row.status in {"review", "queued", "waiting"}:
        return Cell(safe(row.reason, 200), "warning")
    return Cell(safe(" ".join(row.tags), 200), "muted")


def _state(row: RunRow, paper: Paper) -> Cell:
    shape = look(row.status)
    return Cell(f"{shape.ascii if paper.ascii_only else shape.glyph} {shape.word}", shape.role)


_CELLS: dict[str, Callable[[RunRow, Paper], Cell]] = {
    "  STATE": _state,
    "RUN": lambda r, p: Cell(safe(r.run[:14] if p.wide else r.run[4:14])),
    "TASK": lambda r, p: Cell(safe(r.task, 64)),
    "TRY": lambda r, p: Cell(tries(r), "muted"),
    "LAST CHECKPOINT": _named_point,
    "CKPT": _point,
    "TIME": lambda r, p: Cell(took(r, p.now), "muted"),
    "AGE": lambda r, p: Cell(age(r.created_at, p.now), "muted"),
    "SITE": _site,
    "QUEUE": lambda r, p: Cell(safe(r.queue, 64), "muted"),
    "TAGS / ERROR": _last,
    "ERROR": _last,
}


def cells_of(row: RunRow, columns: tuple[Column, ...], mark: str, paper: Paper) -> list[Cell]:
    """The row in these columns."""
    return [Cell(mark, "accent"), *(_CELLS[c.title](row, paper) for c in columns[1:])]


def facts_of(row: RunRow, now: datetime) -> list[tuple[str, str]]:
    """A run in some lines: (text, role)."""
    shape = look(row.status)
    facts = [f"{row.status}", f"attempt {tries(row, ' of ')}" if row.attempt else "",
             f"agent {row.agent}" if row.agent else "",
             f"queue {row.queue}" if row.queue else "",
             f"site {row.site}" if row.site else "",
             f"version {row.version}" if row.version else ""]  # fmt: skip
    lines = [(safe("   ".join(f for f in facts if f), 300), shape.role)]
    if row.error is not None and row.status != "succeeded":
        lines.append((safe(_words(row.error), 500), "bad"))
        trace = [t for t in row.error.traceback.splitlines() if t.strip()][-4:]
        lines += [(safe(t, 300), "muted") for t in trace]
    if row.reason:
        lines.append((safe(f"reason {row.reason}", 300), "warning"))
    if row.checkpoint:
        lines.append((safe(f"checkpoint {row.checkpoint} {row.checkpoint_name}", 300), "mark"))
    made = f"made {age(row.created_at, now)} ago"
    if row.started_at is not None:
        made += f"   {'took' if row.ended_at else 'runs for'} {took(row, now)}"
    if row.tags:
        made += f"   tags {' '.join(row.tags)}"
    if row.origin:
        made += f"   replays {row.origin}"
    if row.job:
        made += f"   job {row.job}"
    if row.cost_usd:
        made += f"   ${row.cost_usd:.2f}"
    lines.append((safe(made, 300), "muted"))
    return lines


def story_of(detail: RunDetail, paper: Paper) -> list[tuple[str, str]]:
    """What only the whole run tells: its attempts in one line each, and why it is where it is."""
    lines: list[tuple[str, str]] = []
    if detail.why and detail.row.ended_at is None:
        lines.append((safe(detail.why, 300), "warning"))
    attempts: list[str] = []
    for event in detail.events:
        if event.kind == "starting":
            attempts.append(f"attempt {event.epoch}")
        elif attempts:
            attempts[-1] += _sign(event, paper)
    if attempts:
        lines.append((safe("   ".join(attempts[-8:]), 500), "info"))
    return lines


def _sign(event: Event, paper: Paper) -> str:
    if event.kind == "checkpoint":
        return f" {paper.sign('checkpoint')}{event.data.get('number', '')}"
    if event.kind in {"retrying", "failed", "timed_out", "lost"}:
        error = event.data.get("error")
        kind = error.get("type", "") if isinstance(error, dict) else event.data.get("why", "")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] data of an event is open
        return f" {paper.sign('error')} {kind or event.kind}"
    if event.kind == "once" and event.data.get("status") == "done":
        return f" {paper.sign('once')}"
    return " done" if event.kind == "succeeded" else ""
