"""What the console changes: requests that are safe to repeat. Raises HeadwayError.

Many runs are the engine's work: it counts them first, and a job of it does what is to be done.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Raw

from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.replays import jobs
from headway.replays.moving import PAST
from headway.replays.plans import name_of
from headway.texts import plural
from headway.wire.api import Done
from headway.wire.replays import JobAsk, JobDetail, JobRow, PlanStart
from headway.wire.steering import AckAsk, CancelAsk, ResumeAsk
from headway_tui.sending import AGAIN, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Struct

    from headway_tui.link import Link

IDS = 100
"""Runs named in one line for a shell."""


async def write(link: Link, verb: str, run: str, told: Callable[[str], None]) -> str:
    """Carry out one verb on one run; what happened, in words.

    A request whose answer was lost is made again with the same ids, and the engine recognises it;
    `told` hears of that.
    """
    body: Struct
    if verb == "cancel":
        body = CancelAsk(run)
    elif verb == "resume":
        body = ResumeAsk(run, request=new_run_id())
    else:
        body = AckAsk(run)
    done = await send(link, verb, body, Done, told)
    if done.outcome == "sent":
        return f"{run}: {done.message}"
    if done.outcome not in {"ok", "already"}:
        raise HeadwayError(done.message or f"{done.outcome}: the run is {done.status}")
    if done.outcome == "already":
        return f"{run} is {done.status.lower()} already"
    return f"{run} {PAST[verb]}, now {done.status.lower()}"


async def start(link: Link, body: bytes, told: Callable[[str], None]) -> JobRow:
    """The job of a plan; sent twice, it is one."""
    ask = PlanStart(name_of(body), Raw(body))
    if len(body) > jobs.INLINE_PLAN:
        assert link.client is not None
        run = new_run_id()
        ref = await link.client.upload(run, body, "the plan")
        ask = PlanStart(ask.sha256, run=run, ref=ref)
    return await send(link, "plan-start", ask, JobRow, told)


async def carried_out(link: Link, row: JobRow, told: Callable[[JobRow], None]) -> JobRow:
    """The job as it ended; `told` hears of it meanwhile. It goes on if nobody follows it."""
    while row.state not in {"done", "stopped"}:
        if link.client is not None and link.connected:
            try:
                async for now in jobs.follow(link.client, row.job):
                    row = now
                    told(row)
            except HeadwayError:
                pass  # the link has gone: the job has not
            else:
                break
        await asyncio.sleep(AGAIN)
    return row


async def outcome(link: Link, verb: str, row: JobRow) -> str:
    """What a job that moves runs has done, in words."""
    said = [f"{row.job}: {row.succeeded:,} {PAST[verb]}"]
    if row.failed:
        detail = await link.ask("job", JobAsk(row.job), JobDetail)
        first = next((i for i in detail.items if i.state == "refused"), None)
        why = f", the first: {first.run}: {first.reason}" if first is not None else ""
        said.append(f"{row.failed:,} refused{why}")
    if row.waiting:
        said.append(f"{plural(row.waiting, 'run')} left: it is {row.state}")
    return ", ".join(said)
