"""Runners that a test moves by hand: real sockets of a real agent, and any byte on them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

from headway.framing import Frames, framed
from headway.wire import FRAME_LIMIT, PROTOCOL, decode, encode
from headway.wire.frames import TO_RUNNER, Ack, Env, Hello, Ready, Run, RunStarted
from headway_engine.runtime import Caps, Exited, Handle, RunnerSpec, RuntimeEvent, State, Way
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Puppet:
    """One runner: says hello and ready by itself, then what the test wants."""

    def __init__(self, spec: RunnerSpec, early: bytes = b"") -> None:
        self.spec, self.early = spec, early
        self.run: Run | None = None
        self.acks: dict[int, Ack] = {}
        self.heard: list[Any] = []
        self.ended = False
        self.exit_code = 0
        self.gave_up = asyncio.Event()
        """The agent hung up, or killed it."""
        self.seq = 0
        self.writer: asyncio.StreamWriter | None = None
        self.task = asyncio.create_task(self._live())

    @property
    def path(self) -> str:
        """Its socket."""
        return f"{self.spec.grant.directory}/s.sock"

    @property
    def slot(self) -> int:
        """The slot of its run."""
        assert self.run is not None
        return self.run.slot

    async def _live(self) -> None:
        reader, self.writer = await asyncio.open_unix_connection(self.path)
        self.send(Hello(PROTOCOL, "0", "3", 1))
        frames = Frames(FRAME_LIMIT)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for body in frames.feed(data):
                    self._hear(decode(TO_RUNNER, body))
        self.gave_up.set()

    def _hear(self, frame: Any) -> None:
        self.heard.append(frame)
        if isinstance(frame, Env):
            if self.early:
                self.raw(self.early)
            else:
                self.send(Ready(()))
        elif isinstance(frame, Run):
            self.run = frame
        elif isinstance(frame, Ack):
            self.acks[frame.seq] = frame

    def next(self) -> int:
        """A fresh sequence number."""
        self.seq += 1
        return self.seq

    def send(self, *frames: Any) -> None:
        """Write frames."""
        self.raw(b"".join(framed(encode(f)) for f in frames))

    def raw(self, data: bytes) -> None:
        """Write bytes; lost if the agent has hung up."""
        assert self.writer is not None
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)

    async def drained(self) -> None:
        """Until the agent has read what was written, or has hung up."""
        assert self.writer is not None
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    def start(self) -> None:
        """Say that user code runs."""
        self.send(RunStarted(self.slot))

    async def answer(self, frame: Any) -> Ack:
        """Send a request and wait for its answer."""
        self.send(frame)
        await until(lambda: frame.seq in self.acks, 20, what=f"answer of {frame}")
        return self.acks[frame.seq]

    def stop(self, code: int) -> None:
        """Its process is gone."""
        self.ended, self.exit_code = True, code
        if self.writer is not None:
            self.writer.transport.abort()
        self.gave_up.set()


class Puppets:
    """The runtime port; see there. Nothing is started but a connection to the agent."""

    def __init__(self) -> None:
        self.caps = Caps(
            "process", "process", adoptable=False, exit_code_after_adoption=False,
            oom_signal="none", pids_limit=False, networks=False,
        )  # fmt: skip
        self.all: dict[str, Puppet] = {}
        self.early = b""
        """What the next one says instead of being ready."""
        self._listeners: list[asyncio.Queue[RuntimeEvent]] = []

    async def of(self, run: str) -> Puppet:
        """The puppet that was given this run."""

        def given() -> Puppet | None:
            return next((p for p in self.all.values() if p.run and p.run.run == run), None)

        found = await until(given, 20, what=f"{run} given to a runner")
        assert found is not None
        return found

    async def check(self) -> str:
        """All is well."""
        return ""

    async def reach(self, folder: Path) -> str:
        """They share our file system."""
        del folder
        return ""

    async def ways(self, address: str) -> list[Way]:
        """None."""
        del address
        return []

    async def reach_tcp(self, way: Way, port: int) -> str:
        """Not asked."""
        del way, port
        return ""

    async def ensure_image(self, image: str) -> str:
        """Any."""
        return image

    async def images(self) -> tuple[str, ...]:
        """None."""
        return ()

    async def spawn(self, spec: RunnerSpec) -> Handle:
        """A puppet dials."""
        early, self.early = self.early, b""
        self.all[spec.name] = Puppet(spec, early)
        return Handle(spec.name, spec.name, spec.owner, spec.key, spec.grant.directory)

    async def list_all(self, owner: str) -> list[Handle]:
        """None of an earlier agent."""
        del owner
        return []

    async def signal(self, handle: Handle, number: int) -> bool:
        """SIGKILL ends it."""
        puppet = self.all[handle.name]
        if puppet.ended:
            return False
        if number == signal.SIGKILL:
            puppet.stop(128 + number)
            for queue in self._listeners:
                queue.put_nowait(Exited(handle.name, puppet.exit_code))
        return True

    async def inspect(self, handle: Handle) -> State:
        """As it is."""
        puppet = self.all[handle.name]
        return State(running=not puppet.ended, exit_code=puppet.exit_code if puppet.ended else None)

    async def remove(self, handle: Handle) -> None:
        """Gone."""
        puppet = self.all[handle.name]
        puppet.stop(137)
        await asyncio.wait([puppet.task])

    async def tail(self, handle: Handle, size: int = 4096) -> str:
        """Nothing."""
        del handle, size
        return ""

    async def events(self, owner: str) -> AsyncIterator[RuntimeEvent]:
        """Their ends."""
        del owner
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._listeners.append(queue)
        while True:
            yield await queue.get()

    async def close(self) -> None:
        """Nothing to let go of."""
