"""A replay job as rows and bars: pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from headway.replays.moving import PAST
from headway.texts import plural, span
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.replays.plans import Planned
    from headway.wire.replays import JobItem, JobRow
    from headway.wire.runs import RunRow

FINAL = frozenset({"ended", "refused"})
GOOD = frozenset({"succeeded", "done"})
"""Statuses of items that are over as they were meant to be."""
STEPS = 4
"""Functions of steps that run again which are named."""
REASONS = 50
"""Reasons for which runs are skipped that are shown."""


class Words(NamedTuple):
    """A line and its role of colour."""

    text: str
    role: str = "text"


WIDTH = 44
"""Cells of a text beside the form, on the smallest terminal where both are seen."""


def wrapped(text: str, role: str) -> list[Words]:
    """A long text as indented lines."""
    return [Words(f"  {line}", role) for line in textwrap.wrap(safe(text, 600), WIDTH)]


def plan_words(planned: Planned) -> list[Words]:
    """The dry run, line by line."""
    plan, n = planned.plan, len(planned.plan.items)
    total = n + len(planned.dropped)
    starts = ", ".join(
        f"{many} from {'◆' + where[1:] if where.startswith('#') else 'the start'}"
        for where, many in planned.starts.items()
    )
    told = [
        Words(f"PLAN {planned.name[:12]}   dry run, nothing sent", "accent"),
        Words(f"  {plural(total, 'run')}: {starts}"),
    ]
    if plan.mode == "resume":
        told[1] = Words(f"  {plural(total, 'run')}: the next attempt of each, now")
    if planned.edited:
        lack = "".join(f', {n} lack key "{safe(key, 40)}": added'
                       for key, n in planned.lacks.items())  # fmt: skip
        told.append(Words(f"  edit: {planned.edited} change{lack}"))
    told += [
        Words(f"  once: {many} x {safe(key, 60)} kept (not done again)", "good")
        for key, many in planned.kept.items()
    ]
    told += [
        Words(f"  ! once: {many} x {safe(key, 60)} MAY HAPPEN AGAIN", "bad")
        for key, many in planned.again.items()
    ]
    if planned.steps:
        shown = list(planned.steps.items())[:STEPS]
        steps = ", ".join(f"{safe(fn, 40)} {many:,}" for fn, many in shown)
        more = f" and {len(planned.steps) - STEPS} more" if len(planned.steps) > STEPS else ""
        told.append(Words(f"  again after ◆: {steps}{more}"))
    pace = plan.pace
    finish = f", ~{span(planned.seconds)} to finish" if planned.seconds else ""
    told.append(Words(f"  est. {span(n / pace.rate)} to start{finish}", "muted"))
    if pace.canary and pace.canary < n:
        told.append(Words(f"  canary: the first {pace.canary}, then your approval", "muted"))
    told += [
        Words(f"  ! {many:,} already forked by job {safe(job, 20)} → again", "warning")
        for job, many in planned.before.items()
    ]
    skips = planned.skips()
    for why, runs in skips[:REASONS]:
        told.append(Words(f"  ! {len(runs):,} {safe(why, 200)} → skipped", "warning"))
    if rest := sum(len(runs) for _, runs in skips[REASONS:]):
        told.append(Words(f"  ! {rest:,} more → skipped", "warning"))
    told.append(Words(f"= {n:,} will {'go on' if plan.mode == 'resume' else 'start'}", "accent"))
    return told


class Counts(NamedTuple):
    """Items of a job, or of its canary, by what became of them."""

    good: int
    bad: int
    running: int
    waiting: int

    @property
    def all(self) -> int:
        """Together."""
        return sum(self)


def counts(row: JobRow) -> Counts:
    """Of the whole job."""
    return Counts(row.succeeded, row.failed, row.running, row.waiting)


def canary_counts(items: Sequence[JobItem], canary: int) -> Counts:
    """Of its first items."""
    first = items[:canary]
    good = sum(i.status == "succeeded" for i in first)
    return Counts(
        good,
        sum(i.state in FINAL for i in first) - good,
        sum(i.state == "started" for i in first),
        sum(i.state == "waiting" for i in first),
    )


def bar(done: Counts, width: int, full: str, part: str, empty: str) -> str:
    """What has ended, what runs, what waits; something of each that there is any of."""
    total = max(1, done.all)
    ended = (done.good + done.bad) * width // total
    running = min(width - ended, -(-done.running * width // total)) if done.running else 0
    return full * ended + part * running + empty * (width - ended - running)


def state_words(row: JobRow) -> Words:
    """What a job does now, and what is to be done about it."""
    why = f": {safe(row.reason, 200)}" if row.reason else ""
    match row.state:
        case "canary":
            return Words(f"waits for you{why}   a approves the rest, X stops", "warning")
        case "held":
            return Words(f"held{why}   h goes on", "warning")
        case "stopped":
            return Words(f"stopped{why}", "bad")
        case "done":
            return Words("done", "good" if not row.failed else "warning")
        case _:
            return Words("running", "info")


def outcome(item: JobItem, fork: RunRow | None, mode: str = "fork") -> Words:
    """What an item's fork came to, or is at; of a job that moves runs: that it was moved."""
    if item.state == "refused":
        return Words(safe(item.reason, 200), "bad")
    if item.status == "done":
        return Words(PAST.get(mode, item.status), "good")
    if item.state == "waiting":
        return Words("")
    status = item.status or ("" if fork is None else fork.status)
    if status == "succeeded":
        return Words("completed", "good")
    if fork is not None and fork.error is not None and status != "running":
        return Words(safe(f"{fork.error.type}: {fork.error.message}", 200), "bad")
    if fork is not None and fork.checkpoint_name:
        return Words(safe(fork.checkpoint_name, 60), "mark")
    return Words(status, "muted")


def against(original: RunRow | None, fork: RunRow | None) -> Words:
    """How the original ended, and what both cost."""
    if original is None:
        return Words("")
    was = f"was {original.status}"
    if original.error is not None and original.status != "succeeded":
        was = f"was {original.error.type}"
    if fork is not None and (original.cost_usd or fork.cost_usd):
        was += f"   ${original.cost_usd:.2f} → ${fork.cost_usd:.2f}"
    return Words(safe(was, 120), "muted")
