"""The console's numbers and their goals: measured in a pseudo-terminal on real servers.

`figures.py` prints them, a nightly test holds them to the goals, and the normal run does a short
round of each without looking at a clock.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from headway import bus, subjects
from headway.wire import encode
from headway.wire.events import LogChunk
from headway.wire.fleet import TaskSpec
from headway_tui.model.loglines import matcher
from headway_tui.model.logs import LogStore
from support.engines import calling, config_for, running_engine
from support.pty_console import Terminal, headway
from support.servers import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_ops.local.nats import NatsServer

EVERY = 0.05
"""Seconds between two chunks, as an agent sends them."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Figure(NamedTuple):
    """One number beside its goal."""

    what: str
    measured: float
    goal: float
    unit: str

    @property
    def ok(self) -> bool:
        """Not above the goal."""
        return self.measured <= self.goal

    def __str__(self) -> str:
        mark = "" if self.ok else "   MISSED"
        return f"{self.what:<52} {self.measured:>9,.0f} {self.unit:<5} goal {self.goal:,.0f}{mark}"


class Amount(NamedTuple):
    """How much is done for each number."""

    starts: int = 9
    seconds: float = 10.0
    rate: int = 20_000
    rounds: int = 3


SHORT = Amount(1, 1.0, 5_000, 0)


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


async def started(url: str, run: str, amount: Amount) -> list[Figure]:
    """From exec to the first text, and to rows of the engine."""
    paints: list[float] = []
    rows: list[float] = []
    for _ in range(amount.starts):
        async with console_on(url) as opened:
            await seen(opened, run[:14])
            rows.append(time.perf_counter() - opened.begun)
            paints.append(opened.first)
    return [
        Figure("exec to first paint, p50", part(paints, 50), 300, "ms"),
        Figure("exec to first paint, p95", part(paints, 95), 500, "ms"),
        Figure("exec to live rows, p50", part(rows, 50), 700, "ms"),
    ]


async def typed(opened: Terminal, seconds: float) -> list[float]:
    """Seconds from a key to its letter on the screen, in the command line."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not found:
        opened.press(":")
        await asyncio.sleep(0.4)
        value = ""
        while len(value) < 60 and (time.perf_counter() < end or len(value) < 8):
            value += _LETTERS[len(value) % 26]
            at = opened.press(value[-1])
            took = await seen(opened, value[-6:], 10, at)
            if len(value) >= 6:  # fewer letters may be part of an escape sequence
                found.append(took)
            await asyncio.sleep(0.11)
        opened.press("\x1b")
        await asyncio.sleep(0.2)
    return found


async def flood(url: str, run: str, rate: int, done: asyncio.Event) -> int:
    """Lines at a rate until told to stop, a last one with its name; how many there were."""
    nc = await bus.connect(settings_for(url), kind="agent", ident=("default", "a1"))
    subject = subjects.log("default", run, 1)
    begun, sent = time.perf_counter(), 0
    while not done.is_set():
        due = int((time.perf_counter() - begun) * rate)
        while sent < due:
            lines = [f"{n} INFO tool search q='limits' 200 412ms"
                     for n in range(sent, min(due, sent + 1000))]  # fmt: skip
            await nc.publish(subject, encode(LogChunk(sent + 1, lines, datetime.now(UTC))))
            sent += len(lines)
        await asyncio.sleep(EVERY)
    await nc.publish(subject, encode(LogChunk(sent + 1, ["the last line"], datetime.now(UTC))))
    await nc.flush()
    await nc.close()
    return sent + 1


async def flooded(url: str, run: str, amount: Amount) -> list[Figure]:
    """Keys while nothing happens and while lines pour in; CPU, bytes, memory, lines lost."""
    async with console_on(url, run) as opened:
        await seen(opened, "timeline")
        await asyncio.sleep(1)
        process = opened.process
        before = sum(process.cpu_times()[:2])
        await asyncio.sleep(amount.seconds / 2)
        idle = (sum(process.cpu_times()[:2]) - before) / (amount.seconds / 2) * 100
        calm = await typed(opened, amount.seconds / 2)
        done = asyncio.Event()
        sending = asyncio.create_task(flood(url, run, amount.rate, done))
        await asyncio.sleep(0.5)
        begun, cpu, size = time.perf_counter(), sum(process.cpu_times()[:2]), len(opened.output)
        keys = await typed(opened, amount.seconds)
        took = time.perf_counter() - begun
        cpu = (sum(process.cpu_times()[:2]) - cpu) / took * 100
        size = (len(opened.output) - size) / took / 1000
        at = len(opened.output)
        done.set()
        sent = await sending
        await seen(opened, "the last line", since=at)
        await seen(opened, f"{sent:,} lines", since=at)
        missing = float(b"missing" in bytes(opened.output[at:]))
        memory = process.memory_info().rss / 1e6
    rate = f"{amount.rate:,} lines/s"
    return [
        Figure("idle, CPU of one core", idle, 3, "%"),
        Figure("key to paint, idle, p95", part(calm, 95), 30, "ms"),
        Figure(f"key to paint at {rate}, p95", part(keys, 95), 50, "ms"),
        Figure(f"key to paint at {rate}, max", max(keys) * 1000, 150, "ms"),
        Figure(f"CPU of one core at {rate}", cpu, 40, "%"),
        Figure(f"to the terminal at {rate}", size, 200, "kB/s"),
        Figure(f"lines missing of {sent:,}", missing, 0, ""),
        Figure("memory with the last 100,000 lines", memory, 100, "MB"),
    ]


async def cut(server: NatsServer, run: str, amount: Amount) -> list[Figure]:
    """From the broker's death to the band, and from its return to live again."""
    if not amount.rounds:
        return []
    away: list[float] = []
    back: list[float] = []
    async with console_on(server.url) as opened:
        await seen(opened, run[:14])
        for _ in range(amount.rounds):
            at = len(opened.output)
            server.kill()
            away.append(await seen(opened, "NATS LINK LOST", since=at))
            at = len(opened.output)
            await server.start()
            back.append(await seen(opened, " live", since=at))
    return [
        Figure("broker killed to band, max", max(away) * 1000, 1000, "ms"),
        Figure("broker there again to live, max", max(back) * 1000, 2000, "ms"),
    ]


def searched(count: int = 100_000) -> list[Figure]:
    """A search through all lines that finds nothing."""
    store = LogStore()
    lines = [f"{n} INFO tool search q='limits' 200 412ms" for n in range(count)]
    store.add(1, LogChunk(1, lines, datetime.now(UTC)))
    took: list[float] = []
    for text in ("nowhere", "/no(w|t)here/"):
        begun = time.perf_counter()
        assert store.find(matcher(text), store.end - 1, -1) is None
        took.append(time.perf_counter() - begun)
    return [Figure(f"search of {count:,} lines, text", took[0] * 1000, 60, "ms"),
            Figure(f"search of {count:,} lines, expression", took[1] * 1000, 60, "ms")]  # fmt: skip


async def all_of_them(server: NatsServer, dsn: str, amount: Amount) -> list[Figure]:
    """Every figure, on this broker and an engine of our own."""
    url = server.url
    async with running_engine(config_for(url, dsn)), calling(url) as caller:
        await caller.deploy(TaskSpec("noop"))
        run = (await caller.enqueue("noop")).run
        return [
            *await started(url, run, amount),
            *await flooded(url, run, amount),
            *await cut(server, run, amount),
            *searched(),
        ]


def load() -> str:
    """What else the machine does: said beside every figure."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
