"""Tasks that the agent's tests run in real runners."""

# ruff: noqa: ASYNC110, ASYNC240, T201 - what users write, and output is what some are for
from __future__ import annotations

import asyncio
import os
import sys
import time

from headway import checkpoint, resume, step, task


@task
async def add(a: int, b: int) -> int:
    print("adding", a, b)
    return a + b


@task
async def fails() -> None:
    raise ValueError("no good")


@task
async def counts(until: int) -> int:
    n = await resume(0, type=int)
    while n < until:
        n += 1
        await checkpoint(f"n-{n}", n)
    await asyncio.sleep(600)
    return n


@task
async def steps() -> int:
    async def one(i: int) -> int:
        return i

    got = await asyncio.gather(*(step(f"s-{i}", one, i) for i in range(20)))
    return sum(got)


@task
async def crowd(count: int, children: bool) -> int:
    async def one(i: int) -> int:
        return i

    if children:
        runs = [noop.options(step=f"c-{i}").enqueue() for i in range(count)]
        return len(await asyncio.gather(*runs))
    return sum(await asyncio.gather(*(step(f"s-{i}", one, i) for i in range(count))))


@task
async def large(size: int) -> str:
    await checkpoint("big", "x" * size)
    return "y" * size


@task
def stubborn() -> None:
    while True:
        time.sleep(0.05)


@task
async def sleeps() -> None:
    print("sleeping", flush=True)
    await asyncio.sleep(600)


@task
async def leaks() -> str:
    print("the secret is " + os.environ["API_KEY"] + " indeed")
    return os.environ["PLAIN"]


@task
async def noop() -> None:
    return None


@task
async def eats() -> None:
    kept = []
    while True:
        kept.append(bytearray(b"x") * 4_000_000)


@task
async def feeds() -> int:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "kept = bytearray(b'x') * 1_000_000_000"
    )
    code = await child.wait()
    await asyncio.sleep(1)
    return code


@task
async def dies() -> None:
    os._exit(0)


@task
async def waits(path: str) -> str:
    await checkpoint("before", 1)
    while not os.path.exists(path):
        await asyncio.sleep(0.02)
    await checkpoint("after", 2)
    return "went on"


@task
async def calls(keys: list[str]) -> list[int]:
    return await asyncio.gather(*(add.options(step=k).call(1, b=2) for k in keys))


@task(isolation="shared")
async def calls_large(size: int) -> str:
    return str(len(await large.call(size)))


@task(isolation="shared")
async def leaves_a_child() -> str:
    run = await noop.enqueue()
    waiting = asyncio.create_task(run.result())
    await asyncio.sleep(0.01)
    return f"{run.id} {waiting.done()}"


@task
async def echoes(size: int) -> int:
    await checkpoint("text", "x" * size)
    return size


@task
async def looks() -> dict[str, object]:
    return {
        "stdin": sys.stdin.read(),
        "env": sorted(k for k in os.environ if k.startswith("HEADWAY_")),
    }


@task
async def chatty(lines: int) -> None:
    for number in range(lines):
        print(f"line {number}")
