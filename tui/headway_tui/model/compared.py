"""Two runs side by side as rows of a pane: pure; what is different is decided in the SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.looks import look
from headway.replays.moving import became
from headway.texts import plural, span
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.replays.compare import Change, Line, LogPair, Number
    from headway.replays.verdicts import JobReport
    from headway.wire.runs import RunRow

VIEWS = ("timeline", "state", "output", "logs", "checks")
CELLS = {"ok": "✓", "fail": "✗", "warn": "~", "open": " "}
"""A cell of the matrix of runs and checks."""


_LABELS = {"status": "", "cost_usd": "cost ", "error_class": "error "}


class Row(NamedTuple):
    """One row: a sign, and what each of the two sides has."""

    mark: str
    left: str
    right: str = ""
    role: str = "text"
    wide: bool = False
    right_role: str = ""
    """Of the right side, where it is another one."""
    """One text over both columns (`left`)."""


def figure(name: str, value: object) -> str:
    """A figure for people."""
    if value is None or value == "":
        return "-"
    if name == "duration" and isinstance(value, float):
        return span(value)
    if name == "cost_usd" and isinstance(value, int | float):
        return f"${value:.2f}"
    return f"{value:,}" if isinstance(value, int) else safe(value, 60)


def numbers_line(numbers: Sequence[Number]) -> list[tuple[str, str]]:
    """The figures of both on one line: (text, role); those that differ come first."""
    same: list[tuple[str, str]] = []
    different: list[tuple[str, str]] = []
    for n in numbers:
        if n.original in (None, "", 0) and n.fork in (None, "", 0):
            continue
        a, b = figure(n.name, n.original), figure(n.name, n.fork)
        label = _LABELS.get(n.name, f"{n.name} ")
        if n.original == n.fork:
            same.append((f" {label}{a} ", "muted"))
        else:
            different.append((f" {label}{a} → {b} ", "text"))
    return different + same


def head_row(a: RunRow, b: RunRow) -> Row:
    """Which two runs are beside each other, and how they ended."""
    words = ("ORIGINAL", "FORK" if b.origin == a.run else "OTHER")
    sides = [f"{look(row.status).glyph} {look(row.status).word}  {word} {safe(row.run, 26)}"
             for word, row in zip(words, (a, b), strict=True)]  # fmt: skip
    return Row(" ", *sides, role=look(a.status).role, right_role=look(b.status).role)


def timeline_rows(lines: Sequence[Line]) -> list[Row]:
    """Checkpoints, and what happened after each, beside each other."""
    rows: list[Row] = []
    for line in lines:
        sides: list[str] = []
        for side in (line.a, line.b):
            if side is None:
                sides.append("")
            elif line.kind == "checkpoint":
                sides.append(f"◆{side.number} {safe(side.text, 100)}")
            elif line.kind == "start":
                sides.append("start")
            else:
                glyph = "◈ " if line.kind == "once" else "✗ " if side.bad else ""
                sides.append(f"  {glyph}{safe(side.text, 200)}  {side.note}".rstrip())
        if line.shared:
            sides[0] += "   (shared)"
            sides[1] += "   (shared + edit)" if line.mark == "~" else "   (shared)"
        usual = "mark" if line.kind == "checkpoint" else "text"
        one, two = ("bad-soft" if s is not None and s.bad else usual for s in (line.a, line.b))
        rows.append(Row(line.mark, sides[0], sides[1], one, right_role=two))
    return rows


def change_rows(title: str, changes: Sequence[Change]) -> list[Row]:
    """What is different in one pair of bodies; a title, then member by member."""
    if not changes:
        return []
    rows = [Row(" ", f"{safe(title, 100)}   {plural(len(changes), 'difference')}", role="muted",
                wide=True)]  # fmt: skip
    for c in changes:
        path = f"{safe(c.path, 80)}: " if c.path else ""
        old = f"{path}{safe(c.old, 100)}" if c.old else ""
        new = f"{path}{safe(c.new, 100)}" if c.new else ""
        rows.append(Row(c.mark, old, new))
    return rows


def log_rows(pairs: Sequence[LogPair]) -> list[Row]:
    """Both outputs."""
    return [
        Row(p.mark, "" if p.a is None else safe(p.a), "" if p.b is None else safe(p.b))
        for p in pairs
    ]


def matrix_rows(report: JobReport) -> list[Row]:
    """Runs and checks: one row per run, one cell per check; the checks by number above."""
    rows = [
        Row(" ", f"{i}  {safe(check, 160)}", role="muted", wide=True)
        for i, check in enumerate(report.checks, 1)
    ]
    head = " ".join(str(i % 10) for i in range(1, len(report.checks) + 1))
    rows.append(Row(" ", f"{'RUN':<14} {head}  OUTCOME", role="muted", wide=True))
    for j in report.items:
        cells = j.cells or ["open"] * len(report.checks)
        signs = " ".join(CELLS[c] for c in cells)
        why = "; ".join(j.reasons) or became(report.detail.row.mode, j.item)
        mark = "~" if j.verdict in ("fail", "warn") else " "
        role = {"fail": "bad-soft", "warn": "warning", "ok": "good"}.get(j.verdict, "muted")
        text = f"{j.item.run[:14]:<14} {signs}  {safe(why, 200)}"
        rows.append(Row(mark, text, role=role, wide=True))
    return rows
