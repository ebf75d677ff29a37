"""A TCP proxy that makes faults: delays, silence, resets, half-open connections, cuts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Proxy:
    """Passes bytes to `host:port` until told otherwise. `async with Proxy(...) as p: p.port`."""

    def __init__(self, port: int, host: str = "127.0.0.1", path: str = "") -> None:
        """`path`: a unix socket instead of host and port."""
        self.target_host, self.target_port, self.target_path = host, port, path
        self.port = 0
        self.delay = 0.0
        """Seconds added to each piece, in both directions."""
        self.refusing = False
        """New connections are closed at once."""
        self.cut_after: int | None = None
        """Bytes towards the server after which each connection is reset: a write cut in half."""
        self.narrow = False
        """The socket towards the server takes next to nothing that is not read at once, on any
        machine: the kernel would let it grow to megabytes."""
        self.connections = 0
        """Connections accepted so far."""
        self._flow = asyncio.Event()
        self._flow.set()
        self._up, self._down = True, True
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def blackhole(self) -> None:
        """Connections stay open and nothing passes: a firewall that drops."""
        self._up = self._down = False
        self._flow.clear()

    def half_open(self) -> None:
        """What the client sends arrives, answers do not: the ack that was lost."""
        self._up, self._down = True, False
        self._flow.clear()

    def heal(self) -> None:
        """Everything passes again, what was held back included."""
        self._up = self._down = True
        self.refusing, self.delay, self.cut_after = False, 0.0, None
        self._flow.set()

    def reset(self) -> None:
        """Break all connections with RST."""
        for w in list(self._writers):
            sock = w.get_extra_info("socket")
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            w.transport.abort()

    def cut(self) -> None:
        """Break all connections and take no new ones until `heal`."""
        self.refusing = True
        self.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            writer.transport.abort()
            return
        try:
            if self.target_path:
                there = await asyncio.open_unix_connection(self.target_path)
            else:
                there = await asyncio.open_connection(sock=await self._connected())
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there[1]}
        for task in (
            asyncio.create_task(self._pump(reader, there[1], up=True)),
            asyncio.create_task(self._pump(there[0], writer, up=False)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connected(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            if self.narrow:  # before the handshake, where both sides fix what they may hold
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
            where = self.target_host, self.target_port
            await asyncio.get_running_loop().sock_connect(sock, where)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        passed = 0
        try:
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                while not (self._up if up else self._down):
                    await self._flow.wait()
                if up and self.cut_after is not None and passed + len(data) >= self.cut_after:
                    writer.write(data[: self.cut_after - passed])
                    await writer.drain()
                    self.reset()
                    return
                passed += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if reader.exception() else writer.close()
