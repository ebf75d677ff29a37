"""The channel between runner and agent, both ends: frames of u32 big-endian length + JSON.

`Frames` (framing.py) cuts bytes into frames and does no I/O. `Conn` is one connection over a unix
socket or TCP (with TLS if a context is given): what is sent within one tick of the loop leaves in
one write, and one read may bring many frames. Sockets are used directly, not through asyncio's
transports, so that a thread can answer a ping while user code blocks the loop
(`serve_from_thread`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from headway import wire
from headway.framing import FrameError, Frames, framed
from headway.tls import TlsBuffer
from headway.wire import Malformed

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    import msgspec

__all__ = [
    "Conn", "FrameError", "Frames", "accept", "dial", "framed", "keep_alive", "listen",
    "parse_address",
]  # fmt: skip

READ_SIZE = 256 * 1024
HIGH_WATER = 1024 * 1024
"""`drain` waits above this many unsent bytes."""
INBOX_FRAMES = 4096
"""Undelivered frames at which reading pauses."""


class Conn:
    """One connection. Made by `dial` and `serve`; used from one event loop.

    `send` never blocks; `async for frame in conn` gives decoded frames until the other side
    closes. A violation (framing, malformed JSON) ends the iteration by FrameError or Malformed.
    With `on_frames`, frames go to that callback instead, many at a time, and the end to `on_end`.
    """

    def __init__(
        self,
        sock: socket.socket,
        decoder: msgspec.json.Decoder[Any],
        tls: TlsBuffer | None = None,
    ) -> None:
        self._sock, self._decoder, self._tls = sock, decoder, tls
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._inbox: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._out = bytearray()
        self._cipher = bytearray() if tls is not None else self._out
        self._lock = threading.Lock()
        self._scheduled = self._writing = self._paused = self._ended = False
        self._error: BaseException | None = None
        self._on_frames: Callable[[list[Any]], None] | None = None
        self._on_end: Callable[[BaseException | None], None] | None = None
        self.frames_in = self.bytes_in = 0
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._readable)

    # --- sending

    def send(self, frame: Any) -> None:
        """Queue a frame; it leaves at the end of this tick. Nothing happens once closed."""
        data = framed(wire.encode(frame))
        with self._lock:
            if self._ended:
                return
            self._out += data
            if self._scheduled or self._writing:
                return
            self._scheduled = True
        self._loop.call_soon(self._flush)

    def send_from_thread(self, frame: Any) -> None:
        """As `send`, from any thread, at once; raises nothing if the connection is gone."""
        data = framed(wire.encode(frame))
        with self._lock:
            if self._ended:
                return
            self._out += data
            self._write()
            if not self._cipher or self._writing or self._scheduled:
                return
            self._scheduled = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._flush)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket."""
        return len(self._cipher)

    async def drain(self, below: int = HIGH_WATER) -> None:
        """Wait until fewer than `below` bytes are unsent; returns at once when closed."""
        while self.unsent >= below and not self._ended:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def _flush(self) -> None:
        with self._lock:
            self._scheduled = False
            if self._ended:
                return
            self._write()
            if self._cipher and not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock.fileno(), self._flush)
            elif not self._cipher and self._writing:
                self._writing = False
                self._loop.remove_writer(self._sock.fileno())
        if self._drained is not None and self.unsent < HIGH_WATER:
            done, self._drained = self._drained, None
            if not done.done():
                done.set_result(None)

    def _write(self) -> None:
        """Hand bytes to the kernel, with the lock held. An error shows at the next read."""
        if self._tls is not None and self._out:
            self._cipher += self._tls.encrypt(bytes(self._out))
            self._out.clear()
        buffer = self._cipher
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while buffer:
                try:
                    n = self._sock.send(buffer)
                except (BrokenPipeError, ConnectionError, OSError) as e:
                    if isinstance(e, (BlockingIOError, InterruptedError)):
                        raise
                    buffer.clear()
                    return
                del buffer[:n]

    # --- receiving

    def _pull(self) -> tuple[list[bytes], bool]:
        """Read what is there, with the lock held: frames, and whether the other side closed."""
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return [], False
        except OSError:
            return [], True
        if not data:
            return [], True
        self.bytes_in += len(data)
        if self._tls is not None:
            data = self._tls.decrypt(data)
        return self._frames.feed(data), False

    def _readable(self) -> None:
        frames: list[Any] = []
        error: BaseException | None = None
        over = False
        try:
            with self._lock:
                bodies, over = self._pull()
            for body in bodies:
                # One by one: what came before a bad frame is delivered.
                frames.append(wire.decode(self._decoder, body))  # noqa: PERF401
        except (FrameError, Malformed, OSError) as e:
            error = e
        self.frames_in += len(frames)
        if frames:
            self._deliver(frames)
        if over or error is not None:
            self._end(error)

    def serve_from_thread(self, answer: Callable[[Any], bool]) -> bool:
        """Read from another thread while the loop is blocked; False if the other side is gone.

        Frames that `answer` returns True for are done with; the rest reach the loop in order.
        """
        with self._lock:
            if self._ended:
                return False
            try:
                bodies, over = self._pull()
                frames = [wire.decode(self._decoder, b) for b in bodies]
                error = None
            except (FrameError, Malformed, OSError) as e:
                frames, over, error = [], True, e
        kept = [f for f in frames if not answer(f)]
        with contextlib.suppress(RuntimeError):
            if kept:
                self._loop.call_soon_threadsafe(self._deliver, kept)
            if over:
                self._loop.call_soon_threadsafe(self._end, error)
        return not over

    def _deliver(self, frames: list[Any]) -> None:
        if self._on_frames is not None:
            self._on_frames(frames)
            return
        self._inbox.extend(frames)
        if len(self._inbox) >= INBOX_FRAMES and not self._paused and not self._ended:
            self._paused = True
            self._loop.remove_reader(self._sock.fileno())
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def on_frames(
        self, frames: Callable[[list[Any]], None], end: Callable[[BaseException | None], None]
    ) -> None:
        """Deliver by callback from now on: `frames` many at a time; `end` once, with the error."""
        self._on_frames, self._on_end = frames, end
        waiting = list(self._inbox)
        self._inbox.clear()
        if waiting:
            frames(waiting)
        if self._ended:
            self._loop.call_soon(end, self._error)

    async def receive(self) -> list[Any]:
        """All frames that are there, at least one; an empty list when the other side closed.

        Raises FrameError or Malformed after the frames that came before the violation.
        """
        while not self._inbox:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return []
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        frames = list(self._inbox)
        self._inbox.clear()
        if self._paused and not self._ended:
            self._paused = False
            self._loop.add_reader(self._sock.fileno(), self._readable)
        return frames

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Decoded frames one by one, until the other side closes."""
        while frames := await self.receive():
            for frame in frames:
                yield frame

    # --- the end

    @property
    def closed(self) -> bool:
        """True after `close`, or when the other side went away."""
        return self._ended

    def close(self) -> None:
        """Send what the kernel takes now and close. Safe to repeat."""
        with self._lock:
            if not self._ended:
                self._write()
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._error = error
            fd = self._sock.fileno()
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            self._sock.close()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._wake()
        if self._on_end is not None:
            self._on_end(error)


def keep_alive(sock: socket.socket) -> None:
    """TCP: no delay, and an other side that is gone without a word is noticed within 20 s.

    Until then its end would be no EOF, and a redial would be taken for a second connection.
    """
    if sock.family == socket.AF_UNIX:
        return
    with contextlib.suppress(OSError):  # it is gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3),
            ("TCP_USER_TIMEOUT", 20_000),
        ):  # fmt: skip
            if (option := getattr(socket, name, None)) is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def parse_address(address: str) -> tuple[str, str, int]:
    """`unix:/path` or `tcp:host:port` as (kind, path or host, port); raises ValueError."""
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        return kind, rest, 0
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdigit():
        return kind, host.strip("[]"), int(port)
    raise ValueError(f"a channel address is unix:/path or tcp:host:port, not {address!r}")


async def dial(
    address: str, decoder: msgspec.json.Decoder[Any], tls: ssl.SSLContext | None = None
) -> Conn:
    """Connect to `unix:/path` or `tcp:host:port`; raises OSError (ssl.SSLError is one)."""
    kind, host, port = parse_address(address)
    loop = asyncio.get_running_loop()
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        target: Any = host
    else:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, target = infos[0][0], infos[0][4]
        sock = socket.socket(family)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, target)
        return await _opened(sock, decoder, tls, server=False, host=host)
    except BaseException:
        sock.close()
        raise


async def _opened(
    sock: socket.socket,
    decoder: msgspec.json.Decoder[Any],
    context: ssl.SSLContext | None,
    *,
    server: bool,
    host: str | None,
) -> Conn:
    keep_alive(sock)
    if context is None:
        return Conn(sock, decoder)
    layer = TlsBuffer(context, server=server, host=host)
    await layer.handshake(sock)
    return Conn(sock, decoder, layer)


async def accept(
    listener: socket.socket, decoder: msgspec.json.Decoder[Any], tls: ssl.SSLContext | None = None
) -> Conn:
    """The next connection on a listening, non-blocking socket; raises OSError once it is closed."""
    loop = asyncio.get_running_loop()
    sock, _ = await loop.sock_accept(listener)
    try:
        sock.setblocking(False)
        return await _opened(sock, decoder, tls, server=True, host=None)
    except BaseException:
        sock.close()
        raise


def listen(address: str, backlog: int = 16) -> socket.socket:
    """A listening, non-blocking socket on the address. A stale unix socket file is replaced."""
    kind, host, port = parse_address(address)
    if kind == "unix":
        import os

        with contextlib.suppress(FileNotFoundError):
            os.unlink(host)
        listener = socket.socket(socket.AF_UNIX)
        target: Any = host
    else:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        target = (host, port)
    try:
        listener.bind(target)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
