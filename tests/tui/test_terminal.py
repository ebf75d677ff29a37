"""The console as people meet it: the command in a pseudo-terminal, on real servers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from headway import bus, subjects
from headway.wire import encode
from headway.wire.events import LogChunk
from headway.wire.fleet import TaskSpec
from support.engines import calling, config_for, running_engine
from support.pty_console import Terminal, foreign_escapes, headway
from support.servers import settings_for
from support.terminal_tasks import CORPUS
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from headway_ops.local.nats import NatsServer

from contextlib import asynccontextmanager
from datetime import UTC, datetime


@asynccontextmanager
async def terminal(
    url: str, *arguments: str, size: tuple[int, int] = (120, 40)
) -> AsyncGenerator[Terminal]:
    """The console on this server; closed in the end."""
    opened = await asyncio.to_thread(
        Terminal, headway("tui", *arguments), size, {"HEADWAY_NATS_URL": url}, "/"
    )
    try:
        yield opened
    finally:
        await asyncio.to_thread(opened.close)


async def seen(opened: Terminal, text: str, within: float = 15.0, since: int = 0) -> float:
    """Awaits `Terminal.seen`."""
    return await asyncio.to_thread(opened.seen, text, within, since)


async def test_it_paints_without_a_server_and_says_what_is_wrong() -> None:
    async with terminal("nats://127.0.0.1:1") as opened:
        await seen(opened, "all runs")
        await seen(opened, "NO NATS LINK")


async def test_what_happens_is_shown_as_it_happens(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database)), calling(nats) as caller:
        await caller.deploy(TaskSpec("noop"))
        first = await caller.enqueue("noop")
        async with terminal(nats) as opened:
            await seen(opened, first.run[:14])
            at = len(opened.output)
            second = await caller.enqueue("noop")
            await seen(opened, "1 new", since=at)
            at = opened.press("gg")
            await seen(opened, second.run[:14], since=at)
            at = opened.press("c")
            await seen(opened, f"$ headway cancel {second.run}", since=at)
            at = opened.press("\r")
            await seen(opened, "cancelled", since=at)
            await seen(opened, "CANC", since=at)


async def test_what_is_counted_can_be_filtered_and_cancelled_together(
    nats: str, database: str
) -> None:
    async with running_engine(config_for(nats, database)), calling(nats) as caller:
        await caller.deploy(TaskSpec("noop"))
        for i in range(13):
            await caller.enqueue("noop", tags=("even" if i % 2 == 0 else "odd",))
        async with terminal(nats) as opened:
            await seen(opened, "QUE 13")
            at = opened.press("/tag:odd status:qu\t\r")
            await seen(opened, "6 runs", since=at)
            at = opened.press("*c")
            await seen(opened, "6 runs on default", since=at)
            at = opened.press("\r")
            await seen(opened, "6 cancelled", since=at)
            at = opened.press(":runs status:live\r")
            await seen(opened, "7 runs", since=at)
            at = opened.press("*R")
            await seen(opened, "nothing to resume", since=at)


async def test_a_killed_server_is_a_band_and_nothing_is_missed(
    nats_server: NatsServer, database: str
) -> None:
    url = nats_server.url
    async with running_engine(config_for(url, database)), calling(url) as caller:
        await caller.deploy(TaskSpec("noop"))
        known = await caller.enqueue("noop")
        async with terminal(nats_server.url) as opened:
            await seen(opened, known.run[:14])
            at = len(opened.output)
            nats_server.kill()
            await seen(opened, "NATS LINK LOST", since=at)
            at = len(opened.output)
            await nats_server.start()
            await seen(opened, "live", since=at)
            await until(lambda: caller.nc.is_connected, what="the caller is back")
            after = await caller.enqueue("noop")

            def listed() -> bool:
                opened.press("\x12")
                return after.run[:14].encode() in bytes(opened.output[at:])

            await until(listed, what="the list is read anew", every=0.5)


async def test_no_foreign_escape_reaches_the_terminal(nats: str, database: str) -> None:
    hostile = "|".join(CORPUS)
    async with running_engine(config_for(nats, database)), calling(nats) as caller:
        await caller.deploy(TaskSpec("noop"))
        run = (await caller.enqueue("noop", tags=tuple(w[:200] for w in CORPUS[:20]))).run
        nc = await bus.connect(settings_for(nats), kind="agent", ident=("default", "a1"))
        async with terminal(nats) as opened:
            await seen(opened, run[:14])
            at = opened.press("\r")
            await seen(opened, "timeline", since=at)
            lines = [*CORPUS, hostile, "x" * 1_000_000, "the last line"]
            chunk = LogChunk(1, lines[:-2], datetime.now(UTC))
            await nc.publish(subjects.log("default", run, 1), encode(chunk))
            chunk = LogChunk(len(lines) - 1, lines[-1:], datetime.now(UTC))
            await nc.publish(subjects.log("default", run, 1), encode(chunk))
            await seen(opened, "the last line", since=at)
            await asyncio.to_thread(opened.press, "\tgG:")
            await asyncio.to_thread(opened.press, "\x1b")
            output = bytes(opened.output)
        await nc.close()
    assert foreign_escapes(output) == []
    for word in ("\x1b]52", "\x1b]0;", "\x1bP", "\x1b[2J\x1b[H", "\u202e", "\u200b", "\x9b"):
        assert word.encode() not in output


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not here")
async def test_it_works_in_tmux(nats: str, database: str, tmp_path: Any) -> None:
    socket = str(tmp_path / "tmux")

    def tmux(*words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", socket, *words], capture_output=True, text=True, check=False, timeout=10
        )
        return done.stdout

    async def shows(what: Callable[[str], bool], why: str) -> None:
        await until(lambda: what(tmux("capture-pane", "-p")), 15, what=why, every=0.1)

    async with running_engine(config_for(nats, database)), calling(nats) as caller:
        await caller.deploy(TaskSpec("noop"))
        run = (await caller.enqueue("noop")).run
        line = f"HEADWAY_NATS_URL={nats} {sys.executable} -m headway_ops tui"
        tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", f"cd /; {line}; read")
        try:
            await shows(lambda t: run[4:14] in t, "the run")
            tmux("send-keys", "/", "status:queued", "Enter")
            await shows(lambda t: "/ status:queued" in t and run[4:14] in t, "the filter")
            tmux("send-keys", "y", "y")
            await until(lambda: tmux("show-buffer") == run, 10, what="copied", every=0.1)
            tmux("send-keys", "Enter")
            await shows(lambda t: "timeline" in t, "the run's screen")
            tmux("send-keys", "c")
            await shows(lambda t: "headway cancel" in t, "the sheet")
            tmux("send-keys", "Enter")
            await shows(lambda t: "cancelled" in t, "cancelled")
        finally:
            tmux("kill-server")
