"""The engine's side of a projection that is made aside: starts the process, hears it, ends it."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

from msgspec import Struct

from headway.config import Settings
from headway.errors import HeadwayError
from headway.wire import encode
from headway_engine.store.edge.damage import Damaged

if TYPE_CHECKING:
    from asyncio import StreamReader
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("headway.engine.edge")

COMMAND = (sys.executable, "-P", "-m", "headway_engine.store.edge.filler")


FAILED, DAMAGED = 1, 3
"""Exit codes: the next may go on where it was; it must begin again."""


class Job(Struct):
    """What is to be made."""

    nats: Settings
    projection: str
    """The path of the file that the engine works with."""
    watermark: int
    """How far that one is: what it has is copied; 0 = nothing that is of use."""
    stream: str
    """When RUNS was made."""
    last: int
    """Where RUNS ends, or later."""


def aside(projection: Path) -> Path:
    """Where the file is made that takes the place of this one."""
    return projection.with_name(f"{projection.stem}.filling{projection.suffix}")


class NotFilled(HeadwayError):
    """The process has ended before it was done; its text says why. The next one goes on."""

    code = "not_filled"


async def fill_aside(job: Job, reached: Callable[[int], None]) -> None:
    """Have the file made (`aside`); `reached` hears how far it is.

    Raises NotFilled, Damaged (what it has copied cannot be trusted), OSError if no process can be
    started. Cancelled: the process is gone when this returns.
    """
    # A session of its own: Ctrl-C in a terminal is the engine's.
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    try:
        why = await _heard(process, job, reached)
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code == DAMAGED:
        raise Damaged(why)
    if code:
        raise NotFilled(why or f"its process ended with exit code {code}")


async def _heard(process: Process, job: Job, reached: Callable[[int], None]) -> str:
    """Its last words, once it has said all."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    # Standard input stays open: its end would say that there is no engine any more.
    process.stdin.write(encode(job) + b"\n")
    _, words = await asyncio.gather(_numbers(process.stdout, reached), _words(process.stderr))
    return words


async def _numbers(said: StreamReader, reached: Callable[[int], None]) -> None:
    async for line in said:
        reached(int(line))


async def _words(said: StreamReader) -> str:
    last = ""
    async for line in said:
        last = line.decode(errors="replace").rstrip()
        log.warning("the projection is being filled: %s", last)
    return last
