"""The outside world of chaos tests: an HTTP server with an append-only ledger, fsynced per answer.

It listens on a unix socket in the folder of the tasks, since that folder is what every runtime
shows to a task: a container without any network reaches it as well. `POST /<kind>` with a JSON body
writes one line

    {"kind", "run", "key", "token", "epoch", "number", "at"}

and answers with the number of lines of that kind with the same run and token so far. The answer
comes after the fsync: what a task was told has happened, whatever is killed next.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

SOCKET = "effects.sock"


class Entry(msgspec.Struct):
    """One line of the ledger."""

    kind: str
    run: str
    key: str = ""
    token: str = ""
    epoch: int = 0
    number: int = 0
    at: float = 0.0
    data: dict[str, Any] = {}


_ENTRY = msgspec.json.Decoder(Entry)


class EffectServer:
    """`async with EffectServer(folder, ledger)`: the socket lies in `folder`."""

    def __init__(self, folder: Path, ledger: Path) -> None:
        self.socket, self.ledger = folder / SOCKET, ledger
        self.entries: list[Entry] = []
        """All that is in the ledger, in its order."""
        self._counts = Counter[tuple[str, str, str]]()
        self._waiting: list[tuple[Entry, asyncio.Future[int]]] = []
        self._wake = asyncio.Event()
        self._fd = -1
        self._server: asyncio.Server | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._fd = os.open(self.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._writer = asyncio.create_task(self._write())
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        self.socket.chmod(0o666)  # a container's user is another one
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._writer is not None
        self._server.close()
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        os.close(self._fd)
        self.socket.unlink(missing_ok=True)

    def count(self, kind: str, token: str) -> int:
        """How often the outside world saw this kind with this token."""
        return sum(n for (k, _, t), n in self._counts.items() if (k, t) == (kind, token))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            request, *headers = head.split("\r\n")
            length = next(
                int(h.split(":")[1]) for h in headers if h.lower().startswith("content-l")
            )
            body = json.loads(await reader.readexactly(length))
            kind = request.split(" ")[1].strip("/")
            if kind == "ask":  # asks, writes nothing
                answer = {"count": self.count("effect", body["token"])}
            else:
                entry = msgspec.convert(body | {"kind": kind, "at": time.time()}, Entry)
                done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                self._waiting.append((entry, done))
                self._wake.set()
                answer = {"count": await done}
            text = json.dumps(answer).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(text), text)
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # whoever asked was killed
        finally:
            writer.close()

    async def _write(self) -> None:
        """Lines that came together share one fsync."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry, _ in batch)

            def append(lines: bytes = lines) -> None:
                os.write(self._fd, lines)
                os.fsync(self._fd)

            await asyncio.to_thread(append)
            for entry, done in batch:
                self.entries.append(entry)
                what = (entry.kind, entry.run, entry.token)
                self._counts[what] += 1
                if not done.done():
                    done.set_result(self._counts[what])


def read_ledger(path: Path) -> list[Entry]:
    """The lines of a ledger, in their order."""
    return [_ENTRY.decode(line) for line in path.read_bytes().splitlines()]
