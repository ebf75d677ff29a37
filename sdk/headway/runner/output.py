"""File descriptors 1 and 2 through pipes; prints and log records of each run by its context.

A thread reads the pipes, so that a flood is counted and dropped at the cost of this process alone
and never blocks on the agent. In a shared runner `sys.stdout` and `sys.stderr` find the run by its
context; what is written past them (C code, child processes) has no run: stream `process`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import logging
import os
import select
import selectors
import sys
import threading
import time
from typing import TYPE_CHECKING

from headway.context import current_or_none
from headway.runner.lines import Lines

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from headway.wire.frames import Log

COALESCE = 0.02
"""Seconds in which lines gather into one frame."""
_READ = 65536


class Output:
    """The process's output, from `start` until the end of the process.

    `emit` is called from the reader thread and returns False if the frame could not be sent.
    """

    def __init__(
        self, emit: Callable[[Log], bool], rate: float, burst: float, *, shared: bool
    ) -> None:
        self._emit, self._rate, self._burst, self._shared = emit, rate, burst, shared
        self._lock = threading.Lock()
        self._main = 0
        """Isolation `run`: the slot of the one run; 0 until it is known, and lines are held."""
        self._slots: dict[int, Lines] = {}
        self._asked: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._woken = False

    def start(self) -> int:
        """Take fd 1 and 2; returns a duplicate of the real stderr (for faulthandler)."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.stderr = os.dup(2)
        faulthandler.enable(self.stderr)
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pipes: dict[int, str] = {}
        for fd, stream in ((1, "out"), (2, "err")):
            r, w = os.pipe2(os.O_CLOEXEC)
            os.dup2(w, fd)
            os.close(w)
            os.set_blocking(r, False)
            self._pipes[r] = "process" if self._shared else stream
        if self._shared:
            sys.stdout = _SlotText(self, "out")
            sys.stderr = _SlotText(self, "err")
        else:
            # New ones: the old may believe that they write to a file in which they can seek.
            sys.stdout, sys.stderr = _text(1), _text(2)
        root = logging.getLogger()
        root.addHandler(_SlotHandler(self))
        root.setLevel(logging.INFO)
        threading.Thread(target=self._read, name="headway-output", daemon=True).start()
        return self.stderr

    def bind(self, slot: int) -> None:
        """Isolation `run`: all output, also what came before, belongs to this slot."""
        with self._lock:
            self._main = slot
            early = self._slots.pop(0, None)
            if early is not None:
                early.rename(slot)
                self._slots[slot] = early
        if early is not None:
            self._wake()

    def write(self, stream: str, data: bytes) -> None:
        """Lines of the run whose context this is; from any thread."""
        ctx = current_or_none()
        slot = self._main if not self._shared else ctx.slot if ctx is not None else 0
        with self._lock:
            self._feed(slot, stream if slot or not self._shared else "process", data)
            wake, self._woken = not self._woken, True
        if wake:
            self._wake()

    def _feed(self, slot: int, stream: str, data: bytes) -> None:
        lines = self._slots.get(slot)
        now = time.monotonic()
        if lines is None:
            lines = self._slots[slot] = Lines(slot, self._rate, self._burst, now)
        lines.feed(stream, data, now)

    def end(self, slot: int) -> None:
        """A shared runner's run is over: send its last lines now and forget it."""
        with self._lock:
            lines = self._slots.pop(slot, None)
            if lines is not None:
                lines.finish()
                for frame in lines.take():
                    self._emit(frame)

    async def flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until everything written so far, to the pipes too, has been sent; ends open lines."""
        sys.stdout.flush()
        sys.stderr.flush()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            # Bytes are in a pipe or in `_slots`, never between: they are moved under the lock.
            if not any(x.waiting or x.partial for x in self._slots.values()) and self._drained():
                return
            self._asked.append((loop, future))
        self._wake()
        await future

    def _drained(self) -> bool:
        poll = select.poll()
        for fd in self._pipes:
            poll.register(fd, select.POLLIN)
        return not poll.poll(0)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then it has enough to wake up for
            os.write(self._wake_w, b"x")

    # --- the reader thread

    def _read(self) -> None:
        selector = selectors.DefaultSelector()
        for fd in (*self._pipes, self._wake_r):
            selector.register(fd, selectors.EVENT_READ)
        due: float | None = None
        while True:
            timeout = None if due is None else max(0.0, due - time.monotonic())
            ready = [key.fd for key, _ in selector.select(timeout)]
            if self._wake_r in ready:
                os.read(self._wake_r, 4096)
            asked, self._asked = self._asked, []
            for fd in self._pipes if asked else ready:
                if fd in self._pipes:
                    self._pump(fd, until_empty=bool(asked))
            now = time.monotonic()
            if due is None:
                due = now + COALESCE
            if asked or now >= due:
                due = self._send(finish=bool(asked))
            for loop, future in asked:
                loop.call_soon_threadsafe(_resolve, future)

    def _pump(self, fd: int, *, until_empty: bool) -> None:
        while True:
            with self._lock:
                try:
                    data = os.read(fd, _READ)
                except BlockingIOError:
                    return
                if not data:
                    return
                self._feed(self._main, self._pipes[fd], data)
            if not until_empty:
                return

    def _send(self, *, finish: bool) -> float | None:
        """Emit what is ready; returns when to look again, None = when something comes."""
        with self._lock:
            self._woken = False
            for slot, lines in self._slots.items():
                if slot == 0 and not self._shared:
                    continue
                if finish:
                    lines.finish()
                for frame in lines.take():
                    if not self._emit(frame):
                        lines.lost(frame)
            waiting = any(x.waiting for s, x in self._slots.items() if s or self._shared)
        return time.monotonic() + 10 * COALESCE if waiting else None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _text(fd: int) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True
    )


class _SlotText(io.TextIOBase):
    """`sys.stdout` of a shared runner."""

    def __init__(self, output: Output, stream: str) -> None:
        self._output, self._stream = output, stream

    def write(self, text: str, /) -> int:
        """Attributed to the run whose context this is."""
        self._output.write(self._stream, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # read only
        """What child processes and libraries ask for."""
        return "utf-8"


class _SlotHandler(logging.Handler):
    """Log records of a run: stream `log`."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """One record, maybe of many lines."""
        try:
            text = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        self._output.write("log", text.encode("utf-8", "backslashreplace"))
