"""What became of a job's items, judged by the checks of its plan and of its script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from headway.replays.expect import Unknown, holds
from headway.replays.runs import view
from headway.wire.replays import Check, JobAsk, JobDetail, JobItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.client import Client

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


class JobReport(Struct):
    """A job, judged."""

    detail: JobDetail
    items: list[Judged]
    failed: int
    green: bool
    """No more failed than the gate allows, and the job was not stopped."""


async def report(
    client: Client, job: str, check: Callable[..., Any] | None = None, upto: int = 0
) -> JobReport:
    """Judge what has ended; `upto`: the first items alone (the canary)."""
    detail = await client.api("job", JobAsk(job), JobDetail)
    items = detail.items
    while items and len(items) < detail.row.items:
        page = await client.api("job", JobAsk(job, items[-1].number), JobDetail)
        items = items + page.items
    if upto:
        items = items[:upto]
    checks = detail.checks or (() if check is not None else DEFAULT)
    judged = [await _judge(client, item, checks, check) for item in items]
    failed = sum(j.verdict == "fail" for j in judged)
    green = failed <= detail.max_failed and detail.row.state != "stopped"
    return JobReport(detail, judged, failed, green)


async def _judge(
    client: Client, item: JobItem, checks: Sequence[Check], check: Callable[..., Any] | None
) -> Judged:
    if item.state == "refused":
        return Judged(item, "fail", [item.reason])
    if item.state != "ended":
        return Judged(item, "open")
    original, fork = view(await client.run(item.run)), view(await client.run(item.fork))
    bad: list[str] = []
    warned: list[str] = []
    for one in checks:
        told = bad if one.severity == "fail" else warned
        try:
            if not holds(one.expect, original, fork):
                told.append(f"not as expected: {one.expect}")
        except Unknown as e:
            told.append(f"{one.expect}: {e}")
    if check is not None:
        try:
            answer = check(original, fork)
        except Exception as e:  # an operator's own code
            answer = f"check: {type(e).__name__}: {e}"
        if answer is not None:
            bad.append(str(answer))
    verdict: Verdict = "fail" if bad else "warn" if warned else "ok"
    was = f"{original.status} {original.error_class}".strip()
    return Judged(item, verdict, bad + warned, fork.duration or 0.0, was)
