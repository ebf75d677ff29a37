"""An agent's end of the channel by script: starts real runners and answers their frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import msgspec

from headway.channel import Conn, accept, listen
from headway.ids import new_run_id
from headway.wire import Malformed
from headway.wire.frames import (
    FROM_RUNNER,
    Ack,
    Checkpoint,
    Enqueue,
    Env,
    Fail,
    Finish,
    Hello,
    LoadFailed,
    Log,
    Mark,
    Part,
    Ready,
    Run,
    Wait,
)
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

DURABLE = (Checkpoint, Mark, Wait, Enqueue, Finish, Fail)


class FakeAgent:
    """One unix socket, one runner at a time; every frame that it got is in `frames`.

    `outcome(frame)` decides each answer: "ok" by default, "" = no answer.
    """

    def __init__(self, env: Env) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="hw")
        self.address = f"unix:{self.folder.name}/s.sock"
        self.env = env
        self.frames: list[Any] = []
        self.hellos: list[Hello] = []
        self.bodies: dict[int, bytes] = {}
        self.outcome: Callable[[Any], str] = lambda _: "ok"
        self.conn: Conn | None = None
        self.process: asyncio.subprocess.Process | None = None
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> FakeAgent:
        self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.close()
        self.folder.cleanup()

    def open(self) -> None:
        """Listen (again)."""
        self._listener = listen(self.address)
        self._serving = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Go away: the runner sees EOF and can dial nobody."""
        if self._serving is not None:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.address.removeprefix("unix:"))
        if self.conn is not None:
            self.conn.close()

    async def _serve(self) -> None:
        while True:
            conn = self.conn = await accept(self._listener, FROM_RUNNER)
            with contextlib.suppress(Malformed):
                async for frame in conn:
                    self._on(conn, frame)

    def _on(self, conn: Conn, frame: Any) -> None:
        self.frames.append(frame)
        if isinstance(frame, Hello):
            self.hellos.append(frame)
            if not self.got(Ready):
                conn.send(self.env)
        elif isinstance(frame, Part):
            self.bodies[frame.blob] = self.bodies.get(frame.blob, b"") + frame.data
        elif isinstance(frame, DURABLE) and (outcome := self.outcome(frame)):
            conn.send(Ack(slot=frame.slot, seq=frame.seq, outcome=outcome))

    async def start(self, stdout: Any = None, **env: str) -> None:
        """A runner process, up to its `ready`."""
        self.frames.clear()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headway.runner",
            env={**os.environ, "HEADWAY_CHANNEL": self.address, **env},
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
        )
        await until(lambda: self.got(Ready) or self.got(LoadFailed), 20, what="ready")

    def got(self, kind: type[Any]) -> list[Any]:
        """The frames of that kind so far."""
        return [f for f in self.frames if isinstance(f, kind)]

    async def wait_for(self, kind: type[Any], count: int = 1) -> list[Any]:
        """Until that many frames of the kind have come."""
        return await until(lambda: (g := self.got(kind))[count - 1 :] and g, 20, what=str(kind))

    def send(self, frame: Any) -> None:
        """To the runner."""
        assert self.conn is not None
        self.conn.send(frame)

    def run(self, task: str, payload: bytes = b"{}", **fields: Any) -> Run:
        """Send a `run` frame; epoch 1 and slot 1 unless said."""
        values: dict[str, Any] = {"slot": 1, "epoch": 1, "attempt": 1, "grace": 5.0, **fields}
        frame = Run(run=new_run_id(), task=task, payload=msgspec.Raw(payload), **values)
        self.send(frame)
        return frame

    async def exit_code(self) -> int:
        """Of the process, when it has ended."""
        assert self.process is not None
        await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode is not None
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)

    def log_lines(self, stream: str | None = None, slot: int | None = None) -> list[str]:
        """All lines of output so far."""
        return [
            line
            for f in self.got(Log)
            if (stream is None or f.stream == stream) and (slot is None or f.slot == slot)
            for line in f.lines
        ]
