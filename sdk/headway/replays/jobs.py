"""Replay jobs from a program: start a plan, follow it live, steer it.

The job runs in the engine: whoever follows may leave and come back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec import Raw

from headway import subjects
from headway.ids import new_run_id
from headway.replays.plans import name_of
from headway.wire import Malformed, decode, decoder
from headway.wire.replays import JobAsk, JobDetail, JobItem, JobRow, JobsPage, PlanStart

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.msg import Msg

    from headway.client import Client

_BEAT = decoder(JobRow)
INLINE_PLAN = 512 * 1024
"""Bytes of a plan above which it is uploaded before it is started."""
LOOK_EVERY = 2.0
"""Seconds after which a job is asked for although nothing was heard of it."""


async def start(client: Client, body: bytes) -> JobRow:
    """Start the job of a plan, by its canonical bytes.

    Sending a plan twice starts nothing twice: the answer is the job that it has.
    """
    name = name_of(body)
    if len(body) <= INLINE_PLAN:
        return await client.api("plan-start", PlanStart(name, Raw(body)), JobRow)
    run = new_run_id()
    ref = await client.upload(run, body, "the plan")
    return await client.api("plan-start", PlanStart(name, run=run, ref=ref), JobRow)


async def jobs(client: Client) -> list[JobRow]:
    """The jobs of the namespace, newest first."""
    return (await client.api("jobs", None, JobsPage)).jobs


async def job(client: Client, id_: str, after: int = 0, n: int = 1000) -> JobDetail:
    """A job with at most `n` of its items, those with a number above `after`."""
    return await client.api("job", JobAsk(id_, after, n), JobDetail)


async def all_items(client: Client, id_: str) -> tuple[JobDetail, list[JobItem]]:
    """A job and all of its items."""
    detail = await job(client, id_)
    items = detail.items
    while items and len(items) < detail.row.items:
        page = (await job(client, id_, items[-1].number)).items
        if not page:
            break
        items = items + page
    return detail, items


async def approve(client: Client, id_: str) -> JobRow:
    """Start what is left after a canary or a hold. Raises Refused for a job that has ended."""
    return await client.api("job-approve", JobAsk(id_), JobRow)


async def hold(client: Client, id_: str) -> JobRow:
    """Start nothing more until it is approved; what runs goes on."""
    return await client.api("job-hold", JobAsk(id_), JobRow)


async def stop(client: Client, id_: str) -> JobRow:
    """End the job: nothing more starts, what runs goes on."""
    return await client.api("job-stop", JobAsk(id_), JobRow)


async def follow(client: Client, id_: str) -> AsyncGenerator[JobRow]:
    """The job now and after each change, until it and its forks have ended.

    Pushed by the engine; asked for every 2 s without a push, in case one was lost.
    """
    heard, pushed = asyncio.Event(), list[JobRow]()

    async def hear(msg: Msg) -> None:
        with contextlib.suppress(Malformed):
            pushed[:] = [decode(_BEAT, msg.data)]
            heard.set()

    sub = await client.connection.subscribe(subjects.beat_job(client.namespace, id_), cb=hear)
    last: JobRow | None = None
    try:
        while True:
            row = pushed.pop() if pushed else (await job(client, id_, n=0)).row
            if row != last:
                yield row
                last = row
            if row.state in ("done", "stopped") and not row.running:
                return
            heard.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await heard.wait()
    finally:
        if not client.connection.is_closed:
            await sub.unsubscribe()
