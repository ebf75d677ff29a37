"""A proxy on a unix socket that holds back requests whose head contains some words."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class HoldingProxy:
    """Passes bytes to `target`; what `hold` names waits until `release`, and goes on then."""

    def __init__(self, target: Path, words: bytes) -> None:
        self._target, self._words = target, words
        self._folder = Path(tempfile.mkdtemp(prefix="hwp"))
        self.url = f"unix://{self._folder / 'p.sock'}"
        self._left = 0
        self._held, self._free = asyncio.Event(), asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, str(self._folder / "p.sock"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._folder)

    def hold(self, count: int) -> asyncio.Event:
        """Hold the next so many requests; the event is set when the last of them is held."""
        self._left = count
        self._held.clear()
        self._free.clear()
        return self._held

    def release(self) -> None:
        """Let them go on, although nobody may wait for their answers any more."""
        self._free.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            to_reader, to_writer = await asyncio.open_unix_connection(str(self._target))
            writers.append(to_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._upward(reader, to_writer))
                group.create_task(_pass(to_reader, writer))
        except* OSError:
            pass
        except* asyncio.CancelledError:
            pass  # the test is over; asyncio's own server would complain
        finally:
            self._tasks.discard(task)
            for made in writers:
                made.close()

    async def _upward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                if self._left and self._words in data:
                    self._left -= 1
                    if not self._left:
                        self._held.set()
                    await self._free.wait()
                writer.write(data)
                await writer.drain()
        finally:
            with contextlib.suppress(OSError):
                writer.write_eof()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
