"""A number beside its goal, and the console in a terminal that is looked at with a clock."""

from __future__ import annotations

import asyncio
import math
import os
import re
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from support.pty_console import Terminal, headway

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_ops.local.nats import NatsServer
    from support.engines import Caller

_ESCAPES = re.compile(rb"\x1b\[[0-9;:?<>=$]*[a-zA-Z]|\x1b\][^\x07]*\x07")


class Figure(NamedTuple):
    """One number beside its goal."""

    what: str
    measured: float
    goal: float
    unit: str
    least: bool = False
    """The goal is the least that is wanted, not the most."""

    @property
    def ok(self) -> bool:
        """The goal is met."""
        return self.measured >= self.goal if self.least else self.measured <= self.goal

    def __str__(self) -> str:
        mark = "" if self.ok else "   MISSED"
        sign = ">=" if self.least else "<="
        return (
            f"{self.what:<56} {self.measured:>9,.0f} {self.unit:<6} {sign} {self.goal:,.0f}{mark}"
        )


class Amount(NamedTuple):
    """How much is done for each number."""

    starts: int = 15
    seconds: float = 60.0
    """Of lines that pour in."""
    rate: int = 20_000
    fast: float = 10.0
    """Seconds at 50,000 lines/s."""
    rounds: int = 3
    lines: int = 10_000_000
    """So many have passed when the memory is looked at."""
    runs: int = 1_000_000
    presses: int = 200


SHORT = Amount(1, 1.0, 5_000, 0.5, 1, 150_000, 3_000, 20)


class Place(NamedTuple):
    """Where it is measured: servers of one's own, an engine, one run that waits."""

    server: NatsServer
    dsn: str
    caller: Caller
    run: str
    amount: Amount

    @property
    def url(self) -> str:
        """Of NATS."""
        return self.server.url


def part(values: list[float], percent: float) -> float:
    """The value at or below which so many percent lie, in milliseconds."""
    found = sorted(values)
    return found[max(0, math.ceil(len(found) * percent / 100) - 1)] * 1000


@asynccontextmanager
async def console_on(url: str, *arguments: str) -> AsyncGenerator[Terminal]:
    """The console in a terminal of 120x40."""
    env = {"HEADWAY_NATS_URL": url, "XDG_STATE_HOME": "/nonexistent"}
    opened = await asyncio.to_thread(Terminal, headway("tui", *arguments), (120, 40), env, "/")
    try:
        yield opened
    finally:
        await asyncio.to_thread(opened.close)


async def seen(opened: Terminal, text: str, within: float = 30.0, since: int = 0) -> float:
    """Seconds until this text was painted in one piece."""
    return await asyncio.to_thread(opened.seen, text, within, since)


async def matched(opened: Terminal, pattern: str, within: float = 30.0, since: int = 0) -> float:
    """Seconds until the output without its colours has this."""
    wanted = re.compile(pattern.encode())

    def test(out: bytes) -> bool:
        return wanted.search(_ESCAPES.sub(b"", out)) is not None

    return await asyncio.to_thread(opened.wait, test, within, since)


def cpu_of(opened: Terminal) -> float:
    """Seconds of processor time that the console has used."""
    return sum(opened.process.cpu_times()[:2])


def memory_of(opened: Terminal) -> float:
    """Megabytes that it holds."""
    return opened.process.memory_info().rss / 1e6


@asynccontextmanager
async def busy(count: int) -> AsyncGenerator[None]:
    """So many other programs that want a processor all the time."""
    command = (sys.executable, "-c", "while True: pass")
    others = [await asyncio.create_subprocess_exec(*command) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            await other.wait()


def since(begun: float) -> float:
    """Seconds."""
    return time.perf_counter() - begun


def load() -> str:
    """What else the machine does: said beside every figure."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
