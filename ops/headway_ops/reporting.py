"""Replay jobs in words: a line, a report for people, Markdown, JUnit for CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from headway.replays.moving import PAST, became
from headway_ops import say
from headway_ops.say import Exit

if TYPE_CHECKING:
    from headway.replays import JobReport
    from headway.wire.replays import JobRow

SIGNS = {"ok": "ok", "warn": "~", "fail": "FAIL", "open": "..."}


def line_of(row: JobRow) -> str:
    """A job on one line."""
    why = f" ({row.reason})" if row.reason else ""
    if not row.follow:
        return (
            f"{row.job} {row.state}{why}: {row.succeeded} {PAST[row.mode]}, {row.failed} refused,"
            f" {row.waiting} waiting"
        )
    return (
        f"{row.job} {row.state}{why}: {row.succeeded} succeeded, {row.failed} failed,"
        f" {row.running} running, {row.waiting} waiting"
    )


def tell(done: JobReport, junit: str, *, markdown: bool, as_json: bool) -> None:
    """Print a report, and write it as JUnit XML to `junit`; exit code 1 beyond its gate."""
    if junit:
        Path(junit).write_text(junit_of(done), "utf-8")
    row = done.detail.row
    if as_json:
        say.data(done)
    elif markdown:
        for text in (f"# {row.name or row.job}", "", line_of(row), ""):
            say.line(text)
        forks = row.mode == "fork"
        heads = ("verdict", "original", "was", "fork", "status", "why") if forks else (
            "verdict", "run", "status", "why")  # fmt: skip
        say.line(f"| {' | '.join(heads)} |")
        say.line(f"| {' | '.join('---' for _ in heads)} |")
        for j in done.items:
            why = "; ".join(j.reasons).replace("|", "\\|").replace("\n", " ")
            between = (j.was, j.item.fork) if forks else ()
            cells = (SIGNS[j.verdict], j.item.run, *between, became(row.mode, j.item), why)
            say.line(f"| {' | '.join(cells)} |")
    else:
        for j in done.items:
            why = "; ".join(j.reasons)
            new = f" -> {j.item.fork}" if row.mode == "fork" else ""
            word = became(row.mode, j.item)
            say.line(f"{SIGNS[j.verdict]:<5} {j.item.run}{new} {word}  {why}".rstrip())
        may = f"; checks: {done.failed} failed, {done.detail.max_failed} are allowed to"
        say.line(line_of(row) + (may if row.follow else ""))
    if not done.green:
        raise SystemExit(int(Exit.FAILED))


def junit_of(done: JobReport) -> str:
    """The report as JUnit XML: one test case per item."""
    row = done.detail.row
    cases: list[str] = []
    for j in done.items:
        inside = ""
        why = quoteattr(_xml("; ".join(j.reasons)))
        if j.verdict == "fail":
            inside = f"<failure message={why}/>"
        elif j.verdict == "open":
            inside = "<skipped/>"
        elif j.reasons:
            inside = f"<system-out>{why[1:-1]}</system-out>"
        cases.append(
            f"<testcase classname={quoteattr(row.job)} name={quoteattr(j.item.run)}"
            f' time="{j.seconds:.3f}">{inside}</testcase>'
        )
    skipped = sum(j.verdict == "open" for j in done.items)
    head = (
        f'<testsuite name={quoteattr(_xml(row.name or row.job))} tests="{len(done.items)}"'
        f' failures="{done.failed}" skipped="{skipped}">'
    )
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>", ""])


def _xml(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c if c in "\t\n" or " " <= c < "\ud800" or c > "\udfff" else "?" for c in text)
