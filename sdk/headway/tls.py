"""TLS over two memory buffers: the socket under it stays plain and non-blocking."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    import ssl

READ_SIZE = 256 * 1024


class TlsBuffer:
    """One TLS session; `ssl` is imported only when one is made."""

    def __init__(self, context: ssl.SSLContext, *, server: bool, host: str | None) -> None:
        from ssl import MemoryBIO, SSLWantReadError, SSLZeroReturnError

        self._want, self._zero = SSLWantReadError, SSLZeroReturnError
        self._in, self._out = MemoryBIO(), MemoryBIO()
        self._tls = context.wrap_bio(
            self._in, self._out, server_side=server, server_hostname=None if server else host
        )

    async def handshake(self, sock: socket.socket) -> None:
        """Raises ssl.SSLError or ConnectionError."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
            except self._want:
                await loop.sock_sendall(sock, self._out.read())
                data = await loop.sock_recv(sock, READ_SIZE)
                if not data:
                    raise ConnectionResetError("closed during the TLS handshake") from None
                self._in.write(data)
            else:
                await loop.sock_sendall(sock, self._out.read())
                return

    def decrypt(self, data: bytes) -> bytes:
        """Bytes from the socket to plain bytes."""
        self._in.write(data)
        out = bytearray()
        with contextlib.suppress(self._want, self._zero):
            while piece := self._tls.read(READ_SIZE):
                out += piece
        return bytes(out)

    def encrypt(self, data: bytes) -> bytes:
        """Plain bytes to bytes for the socket."""
        self._tls.write(data)
        return self._out.read()
