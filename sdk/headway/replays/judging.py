"""What became of a job's items, judged by the checks of its plan and of its script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headway.errors import Refused
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
    """Judge what has ended; `upto`: the first items alone (the canary).

    A job that only moves runs (cancel, acknowledge, resume without following) is judged by that
    alone: moved or not. Raises Refused for a `check` then: there is nothing to compare.
    """
    detail, items = await all_items(client, job)
    if upto:
        items = items[:upto]
    if not detail.row.follow and check is not None:
        told = f"job {detail.row.job} made no new runs: a check has nothing to compare"
        raise Refused(told, "refused")
    checks = detail.checks or (() if check is not None else DEFAULT)
    if not detail.row.follow:
        checks = ()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: JobItem) -> Judged:
        async with gate:
            if item.state == "ended" and not detail.row.follow:
                return Judged(item, "ok")
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
    if item.fork == item.run:  # resumed: it is compared with itself
        one = view(await client.run(item.run))
        return judged(item, one, one, checks, check)
    a, b = await asyncio.gather(client.run(item.run), client.run(item.fork))
    return judged(item, view(a), view(b), checks, check)
