"""Tasks whose effects go into an append-only file, and which may arm faults in their own process.

A run's first attempt arms what its payload says; a file `arm` beside the module arms the next
process that imports it, for what happens before user code.
"""

# ruff: noqa: ASYNC110 - what users write

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from headway import (
    Done,
    NotDone,
    Retry,
    Unknown,
    attempt,
    checkpoint,
    faults,
    once,
    resume,
    step,
    task,
    token,
)

HERE = Path(__file__).parent
with contextlib.suppress(FileNotFoundError):
    taken = HERE / f"armed-{os.getpid()}"
    (HERE / "arm").rename(taken)  # one process alone gets it
    os.environ["HEADWAY_FAULTS_SEEN"] = str(HERE / "seen")
    faults.arm(taken.read_text())


def arm(rules: str) -> None:
    """In a run's first attempt."""
    if rules and attempt().epoch == 1:
        os.environ["HEADWAY_FAULTS_SEEN"] = str(HERE / "seen")
        faults.arm(rules)


def write(ledger: str, key: str) -> str:
    """The effect: one line, in one write."""
    fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{key} {token()}\n".encode())
    os.close(fd)
    return key


async def counted(ledger: str, key: str, steps: int, pace: float, **options: Any) -> int:
    """Checkpoints, a step, an effect."""
    n = await resume(0, type=int)
    while n < steps:
        n += 1
        await checkpoint(f"n-{n}", n)
        await asyncio.sleep(pace)
    assert await step("look", str, n) == str(n)
    assert await once("effect", write, ledger, key, **options) in (key, None)
    return n


@task
async def work(
    ledger: str, key: str, steps: int = 2, pace: float = 0.0, rules: str = "", policy: str = "raise"
) -> int:
    """In a process of its own."""
    arm(rules)
    return await counted(ledger, key, steps, pace, on_ambiguous=policy)


@task(isolation="shared")
async def quick(ledger: str, key: str, steps: int = 2, pace: float = 0.0) -> int:
    """With others in one process."""
    return await counted(ledger, key, steps, pace)


@task(isolation="shared", retry=Retry(3, min_delay="200ms", jitter=0))
async def flaky(ledger: str, key: str) -> int:
    """Fails once."""
    if attempt().attempt == 1:
        raise RuntimeError("the first time")
    return await counted(ledger, key, 1, 0.0)


@task(isolation="shared")
async def large(ledger: str, key: str) -> int:
    """Its state goes through the blob store."""
    await resume("", type=str)
    await checkpoint("large", "x" * 200_000)
    await once("effect", write, ledger, key)
    return 1


@task(isolation="shared")
async def held(ledger: str, key: str, gates: str, policy: str = "raise", found: str = "") -> str:
    """Inside its effect until `<gates>/<key>.go` is there; `found`: what its check answers."""

    async def effect() -> str:
        (Path(gates) / f"{key}.inside").touch()
        while not (Path(gates) / f"{key}.go").exists():
            await asyncio.sleep(0.01)
        return write(ledger, key)

    def look(_token: str) -> Any:
        verdicts: dict[str, Any] = {"done": Done("seen"), "no": NotDone(), "unknown": Unknown()}
        return verdicts[found]

    options: dict[str, Any] = {"on_ambiguous": policy, "check": look if found else None}
    result: str | None = await once("effect", effect, **options)
    return str(result)


@task
async def held_alone(ledger: str, key: str, gates: str, policy: str = "raise") -> str:
    """The same in a process of its own."""
    return await held.fn(ledger, key, gates, policy)
