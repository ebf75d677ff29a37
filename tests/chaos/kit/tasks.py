"""Tasks of chaos tests; copied into a folder of their own, where the effect server's socket lies.

A run of the storm adds up a chain over five checkpoints, with one once block in the middle, and
tells the outside world what it does. SDK and standard library alone: it runs in containers too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from headway import (
    Done,
    NotDone,
    Retry,
    RetryIn,
    attempt,
    checkpoint,
    once,
    resume,
    sleep,
    step,
    task,
    token,
)

SOCKET = Path(__file__).with_name("effects.sock")
STEPS = 5


class Plan(Struct):
    """What one run shall do."""

    number: int
    policy: str = "raise"
    """once: raise, rerun, skip, or check."""
    fails: int = 0
    """So often it raises."""
    crash: str = ""
    """before or after: its process dies there, around the effect, the first time."""
    nap: float = 0.0
    child: bool = False
    pace: float = 0.05


class Place(Struct):
    """The state: how far, and the chain so far."""

    at: int = 0
    total: int = 0
    effect: str | None = None
    child: int = 0


def link(total: int, number: int, at: int) -> int:
    """The next link of the chain: any lost or doubled step changes all that follow."""
    return (total * 31 + number * 7 + at + 1) % 1_000_003


def chain(number: int, until: int = STEPS) -> int:
    """The chain after so many steps."""
    total = 0
    for at in range(until):
        total = link(total, number, at)
    return total


async def tell(kind: str, **fields: Any) -> int:
    """One line in the ledger; how many of the kind there are with this run and token."""
    info = attempt()
    body = json.dumps({"run": info.run, "epoch": info.epoch, **fields}).encode()
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(str(SOCKET))
        except OSError:
            await asyncio.sleep(0.1)
            continue
        try:
            head = f"POST /{kind} HTTP/1.1\r\nHost: effects\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.read()
        finally:
            writer.close()
        return int(json.loads(answer.partition(b"\r\n\r\n")[2])["count"])


async def effect(plan: Plan) -> str:
    """What must not happen twice."""
    await tell("enter", key="effect")
    if plan.crash == "before" and await tell("crash") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(plan.pace)
    await tell("effect", key="effect", token=token(), data={"policy": plan.policy})
    if plan.crash == "after" and await tell("crash") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(plan.pace)
    return f"done-{plan.number}"


async def happened(plan: Plan, mine: str) -> Done | NotDone:
    """Asks the outside world."""
    return Done(f"done-{plan.number}") if await tell("ask", token=mine) else NotDone()


async def double(number: int) -> int:
    """A step."""
    return 2 * number


async def work(plan: Plan) -> Place:
    """The body of the tasks; the result is the last state."""
    info = attempt()
    place = await resume(Place())
    await tell("begin", number=info.resumed_from, data={"at": place.at, "total": place.total})
    while place.at < STEPS:
        at = place.at
        if at == 1 and plan.fails and await tell("raise") <= plan.fails:
            raise RuntimeError("as planned")
        if at == 2:
            place.effect = await guarded(plan)
            await tell("acked", key="effect")
        if at == 3 and plan.nap:
            await sleep(plan.nap, key="nap")
        if at == 4 and plan.child:
            place.child = await storm_child.options(step="child").call(number=plan.number)
        if await step(f"double-{at}", double, at) != 2 * at:
            raise RuntimeError("the step's recorded result is another one")
        place.total, place.at = link(place.total, plan.number, at), at + 1
        await checkpoint(f"c{place.at}", place)
        await tell("saved", number=place.at)
        await asyncio.sleep(plan.pace)
    return place


async def guarded(plan: Plan) -> str | None:
    """The once block under the plan's policy."""
    if plan.policy == "check":
        return await once("effect", effect, plan, check=partial(happened, plan))
    policy: Literal["rerun", "skip", "raise"] = "raise"
    if plan.policy == "rerun" or plan.policy == "skip":
        policy = plan.policy
    return await once("effect", effect, plan, on_ambiguous=policy)


RETRY = Retry(max_attempts=6, min_delay=0.3, max_delay=1.0)


@task(isolation="shared", retry=RETRY, timeout="5m", suspend_after="0.5s", grace="2s")
async def storm(plan: Plan) -> Place:
    """One of many in a live process."""
    return await work(plan)


@task(retry=RETRY, timeout="5m", suspend_after="0.5s", grace="2s")
async def storm_alone(plan: Plan) -> Place:
    """In a process or container of its own."""
    return await work(plan)


@task(isolation="shared", retry=RETRY)
async def storm_child(number: int) -> int:
    """A child run."""
    await tell("child")
    return chain(number)


@task(timeout="5m")
async def beats(beats: int, pace: float) -> int:
    """A checkpoint now and then, until it is killed; then it goes on."""
    info = attempt()
    place = await resume(Place())
    await tell("begin", number=info.resumed_from, data={"pid": os.getpid()})
    while place.at < beats:
        place.at += 1
        await checkpoint(f"b{place.at}", place)
        await tell("saved", number=place.at)
        await asyncio.sleep(pace)
    return info.epoch


@task(isolation="shared")
async def later(delay: float) -> float:
    """Asks for a retry the first time; the second time it says when its first line ran."""
    now = time.time()
    if attempt().attempt == 1:
        raise RetryIn(delay)
    return now
