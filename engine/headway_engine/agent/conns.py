"""One runner's connection to the agent, and the rules on it.

Frames are decoded here, strictly and with a size cap before anything is kept; a sender that breaks
the rules is cut off and reported. On the hot path nothing is awaited: frames that arrived together
are handed on together, and what is sent in one turn of the loop leaves in one write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

from headway.channel import FrameError, Frames, framed, keep_alive
from headway.wire import PROTOCOL, Malformed, decode, encode
from headway.wire.frames import FROM_RUNNER, Hello, Log

if TYPE_CHECKING:
    from headway.wire.frames import ToRunner
    from headway_engine.runtime import Grant

HELLO_TIMEOUT = 5.0
HELLO_LIMIT = 64 * 1024
"""Bytes kept for a connection that has not said who it is; it may say so in several segments."""


class Rates:
    """What one runner may send a second, by kind.

    What is over pauses reading until the window ends: an eager task is slowed, not punished. Only
    log frames over their rate are strikes, since a runner bounds its output by itself; whoever
    earns `strikes` in a row is cut off. Requests without an answer are counted by the worker.
    """

    def __init__(self, slots: int = 1, strikes: int = 10) -> None:
        self.frames = 2_000 + 200 * slots
        self.logs = 500 + 20 * slots
        self.size = 64 * 1024 * 1024
        self.strikes = strikes
        self._window = 0.0
        self._frames = self._logs = self._size = 0
        self._row = 0

    def count(self, now: float, frames: int, logs: int, size: int) -> float:
        """Count what arrived; gives the seconds to pause (0 = go on, negative = cut it off)."""
        if now - self._window >= 1.0:
            if self._logs <= self.logs:
                self._row = 0
            self._window = now
            self._frames = self._logs = self._size = 0
        fresh = self._logs <= self.logs
        self._frames += frames
        self._logs += logs
        self._size += size
        if not self._over():
            return 0.0
        if fresh and self._logs > self.logs:
            self._row += 1
        if self._row >= self.strikes:
            return -1.0
        return max(0.001, self._window + 1.0 - now)

    def _over(self) -> bool:
        return self._frames > self.frames or self._logs > self.logs or self._size > self.size


class Peer(Protocol):
    """Who hears one runner: its worker. Called in the event loop, must not block."""

    def opened(self, conn: Conn, hello: Hello) -> None:
        """The runner has dialled (the first time, or again after an EOF)."""
        ...

    def arrived(self, frames: list[Any]) -> None:
        """Frames after `hello`, in order."""
        ...

    def closed(self) -> None:
        """End of the connection; the runner may be dead, or dial again."""
        ...

    def violated(self, why: str) -> None:
        """It broke the channel's rules and was cut off; nothing of it comes any more."""
        ...


class Endpoint:
    """Where one runner dials. One connection at a time; a second only after the first one's EOF."""

    def __init__(self, owner: Endpoints, name: str, grant: Grant, peer: Peer, rates: Rates) -> None:
        self.name, self.grant, self.peer, self.rates = name, grant, peer, rates
        self.conn: Conn | None = None
        self.banned = False
        self._owner = owner

    def take(self, conn: Conn, hello: Hello) -> bool:
        """A connection said hello: bind it, or refuse it."""
        if self.conn is not None or self.banned:
            return False
        if not 1 <= hello.protocol <= PROTOCOL:
            self.ban(f"protocol {hello.protocol} is not spoken here")
            return False
        self.conn = conn
        self.peer.opened(conn, hello)
        return True

    def lost(self, conn: Conn) -> None:
        """A connection ended."""
        if self.conn is conn:
            self.conn = None
            if not self.banned:
                self.peer.closed()

    def ban(self, why: str) -> None:
        """Cut the runner off for good."""
        if self.banned:
            return
        self.cut()
        self.peer.violated(why)

    def cut(self) -> None:
        """Close the socket at once: from here on nothing of this runner can be stamped."""
        self.banned = True
        if self.conn is not None:
            self.conn.abort()
            self.conn = None

    async def close(self) -> None:
        """Cut it and take away its directory or token."""
        self.cut()
        self._owner.forget(self)


class Conn(asyncio.Protocol):
    """One connection of one runner."""

    def __init__(self, owner: Endpoints, endpoint: Endpoint | None) -> None:
        self._owner = owner
        self.endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._frames = Frames()
        self._out: list[bytes] = []
        self._hello = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    # --- sending

    def send(self, frame: ToRunner) -> None:
        """Queue a frame; all of this turn of the loop go out in one write. Lost if it is closed."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(framed(encode(frame)))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def abort(self) -> None:
        """Close without sending what waits."""
        if self._transport is not None:
            self._transport.abort()

    # --- receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A runner, or a stranger on TCP, has connected."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = stream = cast("asyncio.Transport", transport)
        refused = self.endpoint is not None and (self.endpoint.conn or self.endpoint.banned)
        if refused or not self._owner.admit(self):
            stream.abort()
            return
        if (sock := stream.get_extra_info("socket")) is not None:
            keep_alive(sock)
        self._timer = self._loop.call_later(HELLO_TIMEOUT, self._silent)

    def _silent(self) -> None:
        if not self._hello:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """EOF or an error: the same to us."""
        if self._timer is not None:
            self._timer.cancel()
        self._owner.dismiss(self)
        if self.endpoint is not None:
            self.endpoint.lost(self)

    def data_received(self, data: bytes) -> None:
        """Cut frames out of what arrived, decode and hand them on."""
        if self._transport is None or self._transport.is_closing():
            return
        frames: list[Any] = []
        logs, why = 0, ""
        try:
            for body in self._frames.feed(data):
                frame = decode(FROM_RUNNER, body)
                if type(frame) is Log:
                    logs += 1
                frames.append(frame)
        except (FrameError, Malformed) as e:
            why = str(e)
        count = len(frames)
        if frames:
            frames = self._greet(frames)
        endpoint = self.endpoint
        if endpoint is None or not self._hello:
            if not why and self._frames.held > HELLO_LIMIT:
                why = f"a hello of more than {HELLO_LIMIT} bytes"
            if why:
                if endpoint is not None:  # else a stranger, of whom nobody is to be warned
                    endpoint.ban(why)
                self.abort()
            return
        if frames and not endpoint.banned:
            endpoint.peer.arrived(frames)
        if endpoint.banned:
            return
        if why:
            endpoint.ban(why)
            return
        pause = endpoint.rates.count(self._loop.time(), count, logs, len(data))
        if pause < 0:
            endpoint.ban("it sends more than its channel allows")
        elif pause > 0:
            self._transport.pause_reading()
            self._loop.call_later(pause, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _greet(self, frames: list[Any]) -> list[Any]:
        """The first frame must be `hello`; gives the frames after it."""
        if self._hello:
            if any(type(f) is Hello for f in frames):
                if self.endpoint is not None:
                    self.endpoint.ban("a second hello")
                return []
            return frames
        hello = frames[0]
        if not isinstance(hello, Hello):
            if self.endpoint is not None:
                self.endpoint.ban("its first frame is not hello")
            self.abort()
            return []
        endpoint = self.endpoint or self._owner.identify(hello)
        if endpoint is None or not endpoint.take(self, hello):
            self.endpoint = None
            self.abort()
            return []
        self.endpoint = endpoint
        self._hello = True
        self._owner.dismiss(self)
        return self._greet(frames[1:]) if len(frames) > 1 else []


class Endpoints(Protocol):
    """One kind of channel: makes the endpoint of each runner."""

    async def start(self) -> None:
        """Open what all endpoints share."""
        ...

    async def listen(
        self, name: str, peer: Peer, *, slots: int = 1, grant: Grant | None = None
    ) -> Endpoint:
        """An endpoint for a runner that will be started; with `grant`, again for one that runs."""
        ...

    def fits(self, grant: Grant) -> bool:
        """Does a runner that was started with this grant dial here?"""
        ...

    def forget(self, endpoint: Endpoint) -> None:
        """Remove its directory or token."""
        ...

    def admit(self, conn: Conn) -> bool:
        """May this new connection stay until it says hello?"""
        ...

    def dismiss(self, conn: Conn) -> None:
        """It said hello, or is gone."""
        ...

    def identify(self, hello: Hello) -> Endpoint | None:
        """Whose token is this?"""
        ...

    def sweep(self) -> None:
        """Take away what earlier agents left of channels that nobody listens on now."""
        ...

    async def close(self) -> None:
        """Stop listening. Directories of runners that go on stay."""
        ...
