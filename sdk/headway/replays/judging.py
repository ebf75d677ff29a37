"""What became of a job's items, judged by the checks of its plan and of its script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headway.replays.jobs import all_items
from headway.replays.runs import view
from headway.replays.verdicts import DEFAULT, JobReport, Judged, judged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.client import Client
    from headway.wire.replays import Check, JobItem

AT_ONCE = 16
"""Items that are read at the same time."""


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

    told = await asyncio.gather(*(one(item) for item in items))
    failed = sum(j.verdict == "fail" for j in told)
    green = failed <= detail.max_failed and detail.row.state != "stopped"
    columns = [c.expect for c in checks] + (["check()"] if check is not None else [])
    return JobReport(detail, told, columns, failed, green)


async def _judge(
    client: Client, item: JobItem, checks: Sequence[Check], check: Callable[..., Any] | None
) -> Judged:
    if item.state == "refused":
        return Judged(item, "fail", [item.reason])
    if item.state != "ended":
        return Judged(item, "open")
    a, b = await asyncio.gather(client.run(item.run), client.run(item.fork))
    return judged(item, view(a), view(b), checks, check)
