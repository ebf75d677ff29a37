"""What became of a job's items, judged by the checks of its plan and of its script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from headway.replays.expect import Unknown, holds
from headway.replays.jobs import all_items
from headway.replays.runs import view
from headway.wire.replays import Check, JobDetail, JobItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.client import Client
    from headway.replays.runs import RunView

AT_ONCE = 16
"""Items that are read at the same time."""
DEFAULT = (Check("status == 'succeeded'"),)
"""What is expected where a plan expects nothing."""

Verdict = Literal["ok", "warn", "fail", "open"]


class Judged(Struct):
    """One item with its verdict."""

    item: JobItem
    verdict: Verdict
    reasons: list[str] = []
    seconds: float = 0.0
    was: str = ""
    """How the original ended."""
    cells: list[Verdict] = []
    """What each of the report's checks said."""


class JobReport(Struct):
    """A job, judged."""

    detail: JobDetail
    items: list[Judged]
    checks: list[str]
    """What was looked at, in words: the columns of a matrix of runs and checks."""
    failed: int
    green: bool
    """No more failed than the gate allows, and the job was not stopped."""


async def report(
    client: Client, job: str, check: Callable[..., Any] | None = None, upto: int = 0
) -> JobReport:
    """Judge what has ended; `upto`: the first items alone (the canary)."""
    detail, items = await all_items(client, job)
    if upto:
        items = items[:upto]
    checks = detail.checks or (() if check is not None else DEFAULT)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: JobItem) -> Judged:
        async with gate:
            return await _judge(client, item, checks, check)

    judged = await asyncio.gather(*(one(item) for item in items))
    failed = sum(j.verdict == "fail" for j in judged)
    green = failed <= detail.max_failed and detail.row.state != "stopped"
    columns = [c.expect for c in checks] + (["check()"] if check is not None else [])
    return JobReport(detail, judged, columns, failed, green)


async def _judge(
    client: Client, item: JobItem, checks: Sequence[Check], check: Callable[..., Any] | None
) -> Judged:
    if item.state == "refused":
        return Judged(item, "fail", [item.reason])
    if item.state != "ended":
        return Judged(item, "open")
    a, b = await asyncio.gather(client.run(item.run), client.run(item.fork))
    return judged(item, view(a), view(b), checks, check)


def judged(
    item: JobItem,
    original: RunView,
    fork: RunView,
    checks: Sequence[Check],
    check: Callable[..., Any] | None = None,
) -> Judged:
    """The verdict on a fork that has ended: pure, but for an operator's own `check`."""
    cells: list[Verdict] = []
    bad: list[str] = []
    warned: list[str] = []
    for one in checks:
        why = ""
        try:
            if not holds(one.expect, original, fork):
                why = f"not as expected: {one.expect}"
        except Unknown as e:
            why = f"{one.expect}: {e}"
        cells.append("ok" if not why else one.severity)
        if why:
            (bad if one.severity == "fail" else warned).append(why)
    if check is not None:
        try:
            answer = check(original, fork)
        except Exception as e:  # an operator's own code
            answer = f"check: {type(e).__name__}: {e}"
        if answer is not None:
            bad.append(str(answer))
        cells.append("ok" if answer is None else "fail")
    verdict: Verdict = "fail" if bad else "warn" if warned else "ok"
    was = f"{original.status} {original.error_class}".strip()
    return Judged(item, verdict, bad + warned, fork.duration or 0.0, was, cells)
