"""Tasks for the runner's tests, imported by real runner processes."""

# ruff: noqa: T201, ASYNC240, ASYNC251 - what users write

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import msgspec

from headway import (
    RetryIn,
    StopRun,
    attempt,
    checkpoint,
    once,
    resume,
    sleep,
    step,
    sync,
    task,
    token,
)
from headway.retry import Retry

print("module imported")


class Count(msgspec.Struct):
    """A state."""

    n: int = 0
    pad: str = ""


@task
async def counting(to: int, pad: int = 0) -> int:
    state = await resume(Count())
    while state.n < to:
        state.n += 1
        state.pad = "x" * pad
        await checkpoint(f"n-{state.n}", state)
    return state.n


@task
async def crowd(count: int) -> int:
    async def one(i: int) -> int:
        return i

    return sum(await asyncio.gather(*(step(f"s-{i}", one, i) for i in range(count))))


@task
async def forever() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await checkpoint("cleanup", Count(1))
        print("cleaned up")


@task
async def exits_at_once() -> None:
    os._exit(7)


@task
async def flood(lines: int) -> str:
    text = "x" * 99
    for _ in range(lines):
        print(text)
    print("the last line")
    return "flooded"


@task
async def talk() -> None:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    logging.getLogger("mine").info("to the log")
    os.write(1, b"past python\n")
    sys.stdout.write("no newline")


def stamp(path: str) -> str:
    with Path(path).open("a") as f:
        f.write(f"{token()}\n")
    return token()


async def hang(path: str) -> None:
    stamp(path)
    await asyncio.Event().wait()


@task
async def once_hanging(path: str) -> None:
    await once("effect", hang, path)


@task
async def once_quick(path: str) -> str:
    return await once("effect", stamp, path)


@task
async def noop(value: int) -> int:
    return value


@task
async def says(name: str) -> str:
    print(f"I am {name}")
    await asyncio.sleep(0)
    print(f"still {name}")
    return name


@task
async def fails() -> None:
    raise ValueError("no \x00 luck")


@task
async def stops() -> None:
    raise StopRun("enough")


@task
async def later() -> None:
    raise RetryIn(7)


@task(retry=Retry(retry_on=(OSError,)))
async def picky() -> None:
    raise ValueError("not an OSError")


@task(retry=Retry(retry_on=(TimeoutError,)))
async def patient() -> None:
    await asyncio.Event().wait()


@task
async def naps() -> str:
    await sleep("1h", "nap")
    return "rested"


@task
async def exits() -> None:
    sys.exit(3)


@task
async def blocks(path: str) -> None:
    Path(path).touch()
    time.sleep(60)


@task
async def leaves() -> str:
    async def straggler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            print("straggler ended")

    left = asyncio.create_task(straggler())
    await asyncio.sleep(0)
    return str(left.done())


@task
def plain(to: int) -> int:
    state = sync.resume(Count())
    while state.n < to:
        state.n += 1
        sync.step(f"s{state.n}", str, state.n)
        sync.checkpoint(f"n-{state.n}", state)
    return state.n


@task
def plain_forever() -> None:
    while True:
        sync.sleep(0.01)


@task
async def environment() -> list[str]:
    ours = sorted(k for k in os.environ if k.startswith("HEADWAY_CHANNEL"))
    return [*ours, os.environ["GREETING"]]


@task
async def who() -> list[str]:
    info = attempt()
    return [info.run, str(info.epoch), str(info.resumed_from)]


@task
async def large(size: int) -> str:
    return await step("big", "y".ljust, size, "y")


@task
async def calls(values: list[int]) -> list[int]:
    return await asyncio.gather(*(noop.call(v) for v in values))


@task
async def calls_under_a_key(value: int) -> int:
    return await noop.options(step="the call", tags=["t"]).call(value)


@task(isolation="shared")
async def leaves_a_child() -> str:
    run = await says.enqueue("x" * 200_000)
    waiting = asyncio.create_task(run.result())
    await asyncio.sleep(0)
    del waiting
    return run.id


@task
async def impatient() -> str:
    run = await says.enqueue("slow")
    first = "it was in time"
    try:
        await run.result(timeout=0.01)
    except TimeoutError as e:
        first = str(e).replace(run.id, "it")
        await checkpoint("gave up", 1)
    return f"{first}; then {await run.result()}"


@task
async def naps_beside_a_call() -> None:
    await asyncio.gather(sleep("10h", "long"), says.call("me"))


async def _enqueues() -> str:
    return (await noop.enqueue(1)).id


@task
async def calls_in_a_step() -> str:
    return await step("inner", _enqueues)
