"""Runs as JSON lines into a command of this machine's shell, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import NamedTuple

PATIENCE = 60.0
"""Seconds after which the command is ended."""
KEPT = 256 * 1024
"""Bytes of its output that are kept; it runs on."""


class Said(NamedTuple):
    """What came of a command."""

    text: str
    code: int | None
    """None = it took too long, and was ended."""
    cut: bool


async def pipe(command: str, given: bytes, patience: float = PATIENCE) -> Said:
    """Run it with `given` on its stdin; output and errors together. Raises OSError.

    It gets a session of its own, which is ended as a whole: with this call, or when it takes long.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    out = bytearray()
    cut = False

    async def feed(stdin: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # it need not read what it does not want
            stdin.write(given)
            await stdin.drain()
        stdin.close()

    async def read(stdout: asyncio.StreamReader) -> None:
        nonlocal cut
        while part := await stdout.read(65536):
            cut = cut or len(out) + len(part) > KEPT
            out.extend(part[: max(0, KEPT - len(out))])

    code: int | None = None
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.gather(feed(process.stdin), read(process.stdout))
                code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Said(out.decode("utf-8", "replace"), code, cut)
