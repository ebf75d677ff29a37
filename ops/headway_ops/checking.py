"""headway check: print what `headway_ops.check` found."""

from __future__ import annotations

import asyncio

from rich.text import Text

from headway.safe import safe_line
from headway.texts import span
from headway_ops import render, say
from headway_ops.check import Report, examine
from headway_ops.say import Exit


def run(targets: list[str], *, as_json: bool) -> None:
    """Check the targets; exit 1 if a definition is wrong."""
    report = asyncio.run(examine(targets))
    if as_json:
        say.data(report)
    else:
        print_report(report)
    if not report.ok:
        raise SystemExit(int(Exit.FAILED))


def print_report(report: Report) -> None:
    """Findings on stderr, the tasks as a table on stdout."""
    for problem in report.problems:
        say.tell(str(problem))
        if problem.todo:
            say.tell(f"  try: {problem.todo}")
    if not report.tasks:
        return
    table = render.a_table("TASK", "FUNCTION", "QUEUE", "TRIES", "TIMEOUT", "ISOLATION", wide=1)
    for spec in sorted(report.tasks, key=lambda s: s.task):
        table.add_row(
            Text(safe_line(spec.task, 32)), render.cut(spec.module),
            Text(safe_line(spec.queue, 20)), str(spec.max_attempts), span(spec.timeout),
            spec.isolation,
        )  # fmt: skip
    say.show(table)
