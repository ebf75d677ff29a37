"""The console's numbers beside their goals, measured in a pseudo-terminal on a running stack.

    headway up --tasks app.py                  # in its folder, in another terminal
    PYTHONPATH=tests python tests/tui/figures.py [--lines 20000] [--seconds 10]

It needs one run that goes on: its log subject is flooded. Run it on a machine that is otherwise
idle; the load average is printed with the table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import threading
import time
from datetime import UTC, datetime

from headway import bus, subjects
from headway.client import Client
from headway.config import Settings, from_environment
from headway.wire import encode
from headway.wire.commands import RunsQuery
from headway.wire.events import LogChunk
from support.pty_console import Terminal, headway

EVERY = 0.05
"""Seconds between two chunks, as an agent sends them."""


def quantile(values: list[float], part: float) -> float:
    """The value below which that part lies."""
    found = sorted(values)
    return found[min(len(found) - 1, int(len(found) * part))]


async def newest(settings: Settings) -> tuple[str, int]:
    """The newest run that goes on, and its epoch."""
    async with await Client.open(settings) as client:
        page = await client.runs(RunsQuery(status=("running",), n=1))
        if not page.runs:
            raise SystemExit("no run goes on: enqueue one that takes a minute")
        return page.runs[0].run, page.runs[0].epoch


async def flood(settings: Settings, run: str, epoch: int, rate: int, until: threading.Event) -> int:
    """Lines at a rate until told to stop; how many were sent."""
    nc = await bus.connect(settings, kind="agent", ident=("default", "figures"))
    subject = subjects.log(settings.namespace, run, epoch)
    begun, sent = time.perf_counter(), 0
    while not until.is_set():
        due = int((time.perf_counter() - begun) * rate)
        lines = [f"{n} INFO tool search q='limits' 200 412ms" for n in range(sent, due)]
        for at in range(0, len(lines), 1000):
            part = lines[at : at + 1000]
            chunk = LogChunk(100_000_000 + sent + 1, part, datetime.now(UTC))
            await nc.publish(subject, encode(chunk))
            sent += len(part)
        await asyncio.sleep(EVERY)
    await nc.flush()
    await nc.close()
    return sent


def first_paint(url: str, times: int) -> tuple[list[float], list[float]]:
    """Seconds to the first text, and to rows of a server."""
    paints: list[float] = []
    rows: list[float] = []
    for _ in range(times):
        terminal = Terminal(headway("tui"), env={"HEADWAY_NATS_URL": url}, cwd="/")
        terminal.seen(" runs   ", 20)
        rows.append(time.perf_counter() - terminal.begun)
        paints.append(terminal.first)
        terminal.close()
    return paints, rows


def typed(terminal: Terminal, seconds: float) -> list[float]:
    """Seconds from a key to its letter on the screen, in the command line."""
    found: list[float] = []
    terminal.press(":")
    time.sleep(0.5)
    value, end = "", time.perf_counter() + seconds
    while time.perf_counter() < end:
        key = "abcdefghijklmnopqrstuvwxyz"[len(found) % 26]
        value += key
        at = terminal.press(key)
        tail = value[-6:]
        found.append(terminal.seen(tail, 10, at))
        time.sleep(0.11)
        if len(value) > 60:
            terminal.press("\x1b")
            time.sleep(0.4)
            terminal.press(":")
            time.sleep(0.3)
            value = ""
    terminal.press("\x1b")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    settings = from_environment()
    url = settings.nats_url
    load = os.getloadavg()[0]
    paints, rows = first_paint(url, options.starts)
    run, epoch = asyncio.run(newest(settings))
    terminal = Terminal(headway("tui", run), env={"HEADWAY_NATS_URL": url}, cwd="/")
    terminal.seen("timeline", 20)
    time.sleep(2)
    calm = typed(terminal, options.seconds / 2)
    stop, sent = threading.Event(), [0]
    thread = threading.Thread(
        target=lambda: sent.__setitem__(
            0, asyncio.run(flood(settings, run, epoch, options.lines, stop))
        )
    )
    thread.start()
    time.sleep(1)
    process = terminal.process
    process.cpu_percent()
    frames, size = terminal.frames, len(terminal.output)
    begun = time.perf_counter()
    loaded = typed(terminal, options.seconds)
    took = time.perf_counter() - begun
    cpu, frames = process.cpu_percent(), (terminal.frames - frames) / took
    size = int((len(terminal.output) - size) / took)
    stop.set()
    thread.join()
    arrived = terminal.seen(f"{sent[0] + 0:,}"[-7:], 20)
    rss = process.memory_info().rss / 1e6
    terminal.close()
    table = [
        ("exec to first paint, p50 / max", f"{statistics.median(paints) * 1000:.0f} / {max(paints) * 1000:.0f} ms", "300 / 500 ms"),  # noqa: E501
        ("exec to live rows, p50", f"{statistics.median(rows) * 1000:.0f} ms", "700 ms"),
        ("key to paint, calm, p50 / p95", f"{statistics.median(calm) * 1000:.0f} / {quantile(calm, 0.95) * 1000:.0f} ms", "p95 30 ms"),  # noqa: E501
        (f"key to paint at {options.lines:,} lines/s, p50 / p95 / max", f"{statistics.median(loaded) * 1000:.0f} / {quantile(loaded, 0.95) * 1000:.0f} / {max(loaded) * 1000:.0f} ms", "p95 50, max 150 ms"),  # noqa: E501
        ("CPU of one core", f"{cpu:.0f} %", "40 %"),
        ("frames/s, bytes/s to the terminal", f"{frames:.0f}, {size / 1000:.0f} kB/s", "200 kB/s"),
        (f"all {sent[0]:,} lines counted after", f"{arrived * 1000:.0f} ms", "none lost"),
        ("memory with 100k lines", f"{rss:.0f} MB", "100 MB"),
    ]  # fmt: skip
    sys.stdout.write(f"load average at the start {load:.1f}\n")
    for what, found, goal in table:
        sys.stdout.write(f"{what:<50} {found:<24} goal {goal}\n")


if __name__ == "__main__":
    main()
