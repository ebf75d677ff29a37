"""The console's numbers on one run: its start, keys, lines that pour in, memory, a long output."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from headway import bus, subjects
from headway.wire import encode
from headway.wire.events import LogChunk
from headway_tui.model.loglines import matcher
from headway_tui.model.logs import LogStore
from support.figures import (
    Figure,
    Place,
    busy,
    console_on,
    cpu_of,
    matched,
    memory_of,
    part,
    seen,
    since,
)
from support.servers import settings_for

if TYPE_CHECKING:
    from support.pty_console import Terminal

EVERY = 0.05
"""Seconds between two chunks, as an agent sends them."""
CHUNK = 1000
FAST = 50_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
LINE = "{} INFO tool search q='limits' 200 412ms"


def counted(lines: int) -> str:
    """In the title of the output; with a plus where the oldest are not kept."""
    return rf"{lines:,}\+? lines"


async def started(place: Place) -> list[Figure]:
    """From exec to the first text, and to rows of the engine."""
    paints: list[float] = []
    rows: list[float] = []
    for turn in range(place.amount.starts + 1):
        async with console_on(place.url) as opened:
            await seen(opened, place.run[:14])
            if turn:  # the first one may have had bytecode to write
                rows.append(since(opened.begun))
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


class Flood:
    """An agent that sends lines of a run at a rate, numbered on."""

    def __init__(self, place: Place) -> None:
        self._url, self._subject = place.url, subjects.log("default", place.run, 1)
        self.run = place.run
        self.sent = 0
        self._nc: bus.Connection

    async def __aenter__(self) -> Flood:
        self._nc = await bus.connect(settings_for(self._url), kind="agent", ident=("default", "a1"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._nc.close()

    async def send(self, lines: list[str]) -> None:
        """One chunk."""
        chunk = LogChunk(self.sent + 1, lines, datetime.now(UTC))
        await self._nc.publish(self._subject, encode(chunk))
        self.sent += len(lines)

    async def pour(self, rate: int, done: asyncio.Event) -> None:
        """Lines at a rate until told to stop."""
        begun, first = time.perf_counter(), self.sent
        while not done.is_set():
            due = first + int(since(begun) * rate)
            while self.sent < due:
                end = min(due, self.sent + CHUNK)
                await self.send([LINE.format(n) for n in range(self.sent, end)])
            await asyncio.sleep(EVERY)

    async def last(self, opened: Terminal) -> bool:
        """Send a last line and wait until all are told of; False if some were missing."""
        at = len(opened.output)
        word = f"the last line, {self.sent + 1}"
        await self.send([word])
        await self._nc.flush()
        await seen(opened, word, 120, at)
        # Numbers are painted whole only where their box is: with the next line there is another.
        await matched(opened, counted(self.sent), 120, at)
        return b"missing" not in bytes(opened.output[at:])


class Poured(NamedTuple):
    """What was seen while lines poured in."""

    keys: list[float]
    cpu: float
    bytes: float
    frames: float
    gap: float
    complete: bool
    memory: float


async def poured(place: Place, opened: Terminal, flood: Flood, rate: int, seconds: float) -> Poured:
    """Lines at a rate, and keys meanwhile."""
    done = asyncio.Event()
    sending = asyncio.create_task(flood.pour(rate, done))
    await asyncio.sleep(0.5)
    begun, cpu, size = time.perf_counter(), cpu_of(opened), len(opened.output)
    frames = len(opened.painted)
    keys = await typed(opened, seconds)
    took = since(begun)
    cpu = (cpu_of(opened) - cpu) / took
    size = len(opened.output) - size
    shown = [begun, *opened.painted[frames:], time.perf_counter()]
    done.set()
    await sending
    complete = await flood.last(opened)
    return Poured(
        keys, cpu * 100, size / took / 1000, (len(shown) - 2) / took,
        max(b - a for a, b in pairwise(shown)), complete, memory_of(opened),
    )  # fmt: skip


async def keys(place: Place) -> list[Figure]:
    """Keys while nothing else happens."""
    async with console_on(place.url, place.run) as opened:
        await seen(opened, "timeline")
        await asyncio.sleep(1)
        calm = await typed(opened, min(20.0, place.amount.seconds))
    return [Figure("key to paint, idle, p95", part(calm, 95), 30, "ms")]


async def flooded(place: Place) -> list[Figure]:
    """Lines of one run for a minute: keys, CPU, bytes, ticks, lines lost, memory."""
    amount = place.amount
    async with Flood(place) as flood, console_on(place.url, place.run) as opened:
        await seen(opened, "timeline")
        await asyncio.sleep(1)
        found = await poured(place, opened, flood, amount.rate, amount.seconds)
    rate = f"{amount.rate:,} lines/s"
    return [
        Figure(f"key to paint at {rate}, p95", part(found.keys, 95), 50, "ms"),
        Figure(f"key to paint at {rate}, max", max(found.keys) * 1000, 150, "ms"),
        Figure(f"paints a second at {rate}", found.frames, 12, "/s", least=True),
        Figure(f"CPU of one core at {rate}", found.cpu, 40, "%"),
        Figure(f"to the terminal at {rate}, 15 Hz", found.bytes, 200, "kB/s"),
        Figure(f"lines missing of {flood.sent:,}", not found.complete, 0, ""),
        Figure("memory with the last 100,000 lines", found.memory, 100, "MB"),
    ]


async def slow(place: Place) -> list[Figure]:
    """The clock of a slow link."""
    amount, done = place.amount, asyncio.Event()
    async with Flood(place) as flood, console_on(place.url, place.run) as opened:
        await seen(opened, "timeline")
        opened.press(":")
        await asyncio.sleep(0.4)
        opened.press("set clock=4\r")
        await seen(opened, "4 paints a second")
        sending = asyncio.create_task(flood.pour(amount.rate, done))
        await asyncio.sleep(1)
        size, begun = len(opened.output), time.perf_counter()
        await asyncio.sleep(amount.seconds / 4)
        size, took = len(opened.output) - size, since(begun)
        done.set()
        await sending
    what = f"to the terminal at {amount.rate:,} lines/s, 4 Hz"
    return [Figure(what, size / took / 1000, 60, "kB/s")]


async def fast(place: Place) -> list[Figure]:
    """Many more lines, for a short while: nothing stands still."""
    async with Flood(place) as flood, console_on(place.url, place.run) as opened:
        await seen(opened, "timeline")
        found = await poured(place, opened, flood, FAST, place.amount.fast)
    return [
        Figure(f"longest stall at {FAST:,} lines/s", found.gap * 1000, 500, "ms"),
        Figure(f"lines missing of {flood.sent:,} at {FAST:,}/s", not found.complete, 0, ""),
    ]


async def crowded(place: Place) -> list[Figure]:
    """The same on a machine that others use as well."""
    amount = place.amount
    async with Flood(place) as flood, console_on(place.url, place.run) as opened, busy(4):
        await seen(opened, "timeline")
        found = await poured(place, opened, flood, amount.rate, min(20.0, amount.seconds))
    rate = f"{amount.rate:,} lines/s beside 4 busy programs"
    return [Figure(f"key to paint at {rate}, p95", part(found.keys, 95), 120, "ms")]


async def grown(place: Place) -> list[Figure]:
    """Memory when very many lines have passed, above what it was when the window was full."""
    full, total = min(200_000, place.amount.lines // 2), place.amount.lines
    async with Flood(place) as flood, console_on(place.url, place.run) as opened:
        await seen(opened, "timeline")
        sizes: list[float] = []
        for goal in (full, total):
            while flood.sent < goal:
                for _ in range(50):
                    end = flood.sent + CHUNK
                    await flood.send([LINE.format(n) for n in range(flood.sent, end)])
                await flood.last(opened)  # no faster than they are read
            sizes.append(memory_of(opened))
    words = f"memory after {total:,} lines above that at {full:,}"
    return [Figure(words, sizes[1] - sizes[0], 5, "MB")]


async def long_output(place: Place) -> list[Figure]:
    """A run with 100,000 lines is opened: its end is seen, then all of it is there."""
    count = min(100_000, place.amount.lines)
    async with Flood(place) as flood:
        while flood.sent < count - 1:
            end = min(count - 1, flood.sent + CHUNK)
            await flood.send([LINE.format(n) for n in range(flood.sent, end)])
        await flood.send(["the last line of all"])
    ends: list[float] = []
    alls: list[float] = []
    for _ in range(max(1, place.amount.rounds)):
        async with console_on(place.url) as opened:
            await seen(opened, place.run[:14])
            await asyncio.sleep(0.5)
            begun = time.perf_counter()
            at = opened.press("\r")
            await seen(opened, "the last line of all", since=at)
            ends.append(since(begun))
            try:
                await matched(opened, counted(count), 10, at)
                alls.append(since(begun))
            except AssertionError:
                alls.append(math.inf)  # it stops before: the goal is missed, others are measured
    what = f"a run with {count:,} lines opened:"
    return [
        Figure(f"{what} its end seen, p50", part(ends, 50), 150, "ms"),
        Figure(f"{what} all loaded, p50", part(alls, 50), 1000, "ms"),
    ]


async def idle(place: Place) -> list[Figure]:
    """Every screen for a while, with nobody at the keys."""
    found: list[Figure] = []
    for name, key in (("runs", "1"), ("queues", "2"), ("dead", "4"), ("metrics", "5"),
                      ("replay", "6"), ("a run", "1\r")):  # fmt: skip
        async with console_on(place.url) as opened:
            await seen(opened, place.run[:14])
            for one in key:
                opened.press(one)
                await asyncio.sleep(0.5)
            await asyncio.sleep(1)
            cpu, begun = cpu_of(opened), time.perf_counter()
            await asyncio.sleep(place.amount.seconds / 4)
            used = (cpu_of(opened) - cpu) / since(begun) * 100
        found.append(Figure(f"idle, CPU of one core: {name}", used, 3, "%"))
    return found


async def searched(place: Place) -> list[Figure]:
    """A search through all lines that finds nothing."""
    count = 100_000
    store = LogStore()
    store.add(1, LogChunk(1, [LINE.format(n) for n in range(count)], datetime.now(UTC)))
    took: list[float] = []
    for text in ("nowhere", "/no(w|t)here/"):
        begun = time.perf_counter()
        assert store.find(matcher(text), store.end - 1, -1) is None
        took.append(since(begun))
    return [Figure(f"search of {count:,} lines, text", took[0] * 1000, 60, "ms"),
            Figure(f"search of {count:,} lines, expression", took[1] * 1000, 60, "ms")]  # fmt: skip
