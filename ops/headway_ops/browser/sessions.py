"""One console process for one browser: started when it comes, ended when it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from textual_serve.app_service import AppService

from headway.safe import safe_line

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

log = logging.getLogger("headway.serve")

QUIT_WITHIN = 5.0
"""Seconds that a console gets to close its connections; then it is killed."""
ERRORS = 16_000
"""Bytes of its last words that are logged."""
_NOT_THEIRS = ("TMUX", "STY", "SSH_CONNECTION", "NO_COLOR", "DISPLAY", "WAYLAND_DISPLAY")
"""Variables of the terminal that serves: they say nothing of the browser."""


class Session(AppService):
    """textual-serve's driver of a process, with an end that is sure."""

    def __init__(self, argv: Sequence[str], **more: Any) -> None:
        super().__init__(" ".join(argv), **more)
        self._argv = argv
        self._errors: asyncio.Task[None] | None = None

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        """The process, without a shell and in a group of its own: Ctrl+C is for the server."""
        environment = self._build_environment(width=width, height=height)
        for name in _NOT_THEIRS:
            environment.pop(name, None)
        environment["TEXTUAL_FPS"] = os.environ.get("TEXTUAL_FPS", "30")
        self._process = process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._stdin = process.stdin
        assert process.stderr is not None
        self._errors = asyncio.create_task(_tell(process.stderr))
        # The base would print it on our terminal, foreign texts and all.
        process.stderr = asyncio.StreamReader()
        process.stderr.feed_eof()
        return process

    async def run(self) -> None:
        """Pass on what it paints until it ends, in whichever way; then the browser is told."""
        try:
            await super().run()
        finally:
            with contextlib.suppress(ConnectionError):
                await self.remote_close()

    async def set_terminal_size(self, width: int, height: int) -> None:
        """A size that a window may have, whatever the browser says."""
        await super().set_terminal_size(cells(width), cells(height))

    async def stop(self) -> None:
        """End the process; idempotent. It is gone when this returns."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIT_WITHIN):
                    await super().stop()
                    await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if self._errors is not None:
                await self._errors


def cells(said: int) -> int:
    """Columns or lines that a terminal may have."""
    return min(1000, max(1, int(said)))


async def _tell(stream: asyncio.StreamReader) -> None:
    """Log the last of what a console says on stderr: nothing, unless it crashed."""
    said = b""
    while data := await stream.read(4096):
        said = (said + data)[-ERRORS:]
    for line in said.decode("utf-8", "replace").splitlines():
        log.warning("a console: %s", safe_line(line, 500))
