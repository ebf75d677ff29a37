"""The console's numbers on a list of a million runs: pages, the end, keys held, filters, a plan."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import asyncpg

from headway.wire.runs import RunsQuery
from support.figures import Figure, Place, console_on, matched, memory_of, part, seen, since
from support.servers import open_folder

if TYPE_CHECKING:
    from support.pty_console import Terminal

PAGES = 30
HELD = 1 / 60
FILTERS = (
    "status:failed", "task:send-mail", "queue:slow status:failed", "tag:golden", "error:429",
    "status:timed_out", "task:nightly-sums", "status:running",
)  # fmt: skip
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
sys.stderr.write(f"\\n{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}")
sys.exit(code)
"""
"""Runs a command and says its greatest memory in KiB at last. A program of its own: to a child's
peak the kernel adds that of whoever started it, and this one has filled a database."""
SCRIPT = """
[select]
query = "status:succeeded task:send-mail,nightly-sums"
limit = 100000
[replay]
from = "last"
[edit.state]
model = "haiku"
"""


async def ids(place: Place, words: str, *arguments: Any) -> list[str]:
    """Ids out of the store itself."""
    conn: Any = await asyncpg.connect(place.dsn)
    try:
        return [row[0] for row in await conn.fetch(f"SELECT id FROM runs {words}", *arguments)]
    finally:
        await conn.close()


async def listed(place: Place) -> list[Figure]:
    """Pages of the list, its end, a key that is held down, memory."""
    newest = await ids(place, "ORDER BY id DESC LIMIT $1", place.amount.presses + 1)
    (oldest,) = await ids(place, "ORDER BY id LIMIT 1")
    pages: list[float] = []
    after = ""
    for _ in range(PAGES):
        begun = time.perf_counter()
        page = await place.caller.api("runs", RunsQuery(after=after, n=200))
        pages.append(since(begun))
        after = page.get("next", "")  # from the top again after the last one
    async with console_on(place.url) as opened:
        await seen(opened, newest[0])
        await asyncio.sleep(1)
        small = memory_of(opened)
        held = await _held(opened, newest)
        ends: list[float] = []
        for _ in range(place.amount.rounds):
            at = len(opened.output)
            begun = time.perf_counter()
            opened.press("G")
            await seen(opened, oldest, since=at)
            ends.append(since(begun))
            at = opened.press("\x12")  # read anew: the end is not there any more
            opened.press("gg")
            await seen(opened, newest[0], since=at)
            await asyncio.sleep(0.5)
        extra = memory_of(opened) - small
    what = f"list of {place.amount.runs:,} runs:"
    return [
        Figure(f"{what} page from the engine, p95", part(pages, 95), 150, "ms"),
        Figure(f"{what} G to its end, max", max(ends) * 1000, 200, "ms"),
        Figure(f"{what} j held at 60 Hz, time above it", (held - 1) * 100, 5, "%"),
        Figure(f"{what} memory beyond its first page", extra, 20, "MB"),
    ]


async def _held(opened: Terminal, newest: list[str]) -> float:
    """Seconds for so many rows by a key that is held down, in parts of what it should take."""
    presses = len(newest) - 1
    at, begun = len(opened.output), time.perf_counter()
    for n in range(presses):
        await asyncio.sleep(max(0.0, begun + n * HELD - time.perf_counter()))
        opened.press("j")
    await seen(opened, newest[-1], since=at)  # the whole id is in the preview's title alone
    return since(begun) / (presses * HELD)


async def filtered(place: Place) -> list[Figure]:
    """From the last key of a filter to the first of its runs; letters meanwhile."""
    conditions = {
        "status:failed": "state = 'FAILED'", "task:send-mail": "task = 'send-mail'",
        "queue:slow status:failed": "queue = 'slow' AND state = 'FAILED'",
        "tag:golden": "'golden' = ANY(tags)", "error:429": "",
        "status:timed_out": "state = 'TIMED_OUT'", "task:nightly-sums": "task = 'nightly-sums'",
        "status:running": "state = 'RUNNING'",
    }  # fmt: skip
    lists: list[float] = []
    letters: list[float] = []
    async with console_on(place.url) as opened:
        await seen(opened, (await ids(place, "ORDER BY id DESC LIMIT 1"))[0])
        for text in FILTERS:
            condition = conditions[text]
            found = await ids(place, f"WHERE {condition} ORDER BY id DESC LIMIT 1") if condition \
                else await _first(place, text)  # fmt: skip
            if not found:
                continue
            opened.press("/")
            await asyncio.sleep(0.3)
            at, begun = len(opened.output), time.perf_counter()
            for n in range(1, len(text) + 1):
                at, begun = len(opened.output), time.perf_counter()
                opened.press(text[n - 1])
                if n >= 6:
                    await matched(opened, _ending(text[:n]), since=at)
                    letters.append(since(begun))
                else:
                    await asyncio.sleep(0.05)
            await seen(opened, found[0], since=at)
            lists.append(since(begun))
            opened.press("\x1b")
            await asyncio.sleep(0.5)
    runs = f"{place.amount.runs:,} runs"
    return [
        Figure(f"filter key to the new list, {runs}, p95", part(lists, 95), 250, "ms"),
        Figure("key to paint in a filter that is answered, p95", part(letters, 95), 50, "ms"),
    ]


def _ending(text: str) -> str:
    return "".join(f"[{c}]" for c in text[-4:])


async def _first(place: Place, query: str) -> list[str]:
    page = await place.caller.api("runs", RunsQuery(query=query, n=1))
    return [row["run"] for row in page["runs"]]


async def planned(place: Place) -> list[Figure]:
    """A dry run of very many runs: its time and its memory."""
    with open_folder("plan") as folder:
        file = folder / "all.replay.toml"
        file.write_text(SCRIPT)  # a tenth of all runs
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
        words = [sys.executable, "-m", "headway_ops", "replay", "plan", str(file), "--json"]
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PEAK, *words, stdout=PIPE, stderr=PIPE,
            env=env | {"HEADWAY_NATS_URL": place.url},
        )  # fmt: skip
        out, said = await process.communicate()
        took = since(begun)
    assert process.returncode == 0, said.decode()
    told, peak = json.loads(out), int(said.split()[-1])
    what = f"dry run of {told['items']:,} runs:"
    return [Figure(f"{what} time", took, 10, "s"),
            Figure(f"{what} memory", peak / 1024, 200, "MB")]  # fmt: skip
