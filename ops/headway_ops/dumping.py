"""`headway watch --dump`: all that observers may see, as lines for `headway tui --replay-events`.

A line is an event, a chunk of output, a chunk of spans, or a saved state (`headway_tui.dumps` reads
them). Nothing is redacted: `headway export` does that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Raw

from headway import subjects
from headway.errors import HeadwayError, Refused
from headway.states import TERMINAL
from headway.steadynats import settled
from headway.wire import Malformed, decode
from headway.wire.events import LOG_CHUNK, RUN_EVENTS, SPAN_CHUNK, RunEvents
from headway.wire.runs import SpansAsk, SpansPage
from headway_ops import say

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from headway.client import Client
    from headway.wire.events import Event

ENDED = {state.value for state in TERMINAL}
STATE_LIMIT = 256 * 1024
"""Bytes of a saved state; larger ones are left out, and that is said."""
WAITING = 10_000
"""Messages that may wait to be written."""


async def dump_run(client: Client, run: str) -> str:
    """One run from its first event to its end; the state that it ended in."""

    async def output() -> None:
        async for log in client.handle(run).logs():
            say.data({"run": run, "attempt": log.epoch, "missing": log.missing,
                      "chunk": log.chunk})  # fmt: skip

    printing = asyncio.ensure_future(output())
    task = target = ""
    try:
        async for event in client.handle(run).events():
            task = task or await task_of(client, run)
            say.data({"run": run, "task": task, "event": event})
            await _state(client, run, event)
            target = event.target
        await printing
    finally:
        printing.cancel()
    after, more = 0, True
    while more:
        page = await client.api("spans", SpansAsk(run, after), SpansPage)
        for one in page.spans:
            after = one.seq
            say.data({"run": run, "attempt": one.epoch, "spans": one.chunk})
        more = page.more
    return target if target in ENDED else ""


async def task_of(client: Client, run: str) -> str:
    """The run's task; empty where nobody says it."""
    try:
        return (await client.run(run)).row.task
    except HeadwayError:
        return ""


async def _state(client: Client, run: str, event: Event) -> None:
    """The saved state of a checkpoint's event."""
    if event.kind != "checkpoint":
        return
    number, size = int(event.data.get("number") or 0), int(event.data.get("size") or 0)
    try:
        if size > STATE_LIMIT:
            raise Refused(f"it has {size:,} bytes", "too_large")
        row, body = await client.state(run, number)
    except HeadwayError as e:
        say.tell(f"run {run}, checkpoint {number}: its state is not written: {e}")
        return
    say.data({"run": run, "checkpoint": row, "state": Raw(body)})


async def dump_all(client: Client) -> None:
    """All runs of the namespace as they go on, until Ctrl+C."""
    queue: asyncio.Queue[Msg] = asyncio.Queue(WAITING)
    missed = 0

    async def on_message(msg: Msg) -> None:
        nonlocal missed
        try:
            queue.put_nowait(msg)
        except asyncio.QueueFull:
            missed += 1

    ns = client.namespace
    for subject in (subjects.live_event(ns), subjects.live_log(ns), subjects.live_span(ns)):
        await client.connection.subscribe(subject, cb=on_message)
    await settled(client.connection)
    client.connection.when_back(lambda: say.tell("what happened in between is not written"))
    say.tell(f"writing down namespace {ns}; Ctrl+C ends")
    while True:
        msg = await queue.get()
        if missed:
            say.tell(f"... {missed} messages came too fast and are not written")
            missed = 0
        try:
            await _line(client, msg)
        except Malformed as e:
            say.tell(str(e))


async def _line(client: Client, msg: Msg) -> None:
    kind, run = msg.subject.split(".")[2], subjects.run_of(msg.subject)
    if kind == "run":
        body: RunEvents = decode(RUN_EVENTS, msg.data)
        for event in body.events:
            say.data({"run": run, "task": body.task, "event": event})
            await _state(client, run, event)
        return
    attempt = subjects.epoch_of_log(msg.subject)
    if kind == "log":
        say.data({"run": run, "attempt": attempt, "chunk": decode(LOG_CHUNK, msg.data)})
    else:
        say.data({"run": run, "attempt": attempt, "spans": decode(SPAN_CHUNK, msg.data)})
