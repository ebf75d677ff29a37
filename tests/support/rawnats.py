"""A NATS client by hand: says anything to the server, and hears what it refuses."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from headway.nkeys import Key


class Heard(NamedTuple):
    """A message that came."""

    subject: str
    sid: str
    reply: str
    data: bytes


class Raw:
    """One connection. `refused` and `heard` grow until the next `sync`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.heard: list[Heard] = []
        self.errors: list[str] = []
        self._sid = 0

    async def sync(self) -> None:
        """The server has seen everything so far, and we what it says to it."""
        self._writer.write(b"PING\r\n")
        await self._until_pong()

    async def _until_pong(self) -> None:
        await self._writer.drain()
        while (line := await self._line()) != "PONG":
            if line.startswith("-ERR"):
                self.errors.append(line)
            elif line.startswith(("MSG", "HMSG")):
                await self._message(line)
            elif line == "PING":
                self._writer.write(b"PONG\r\n")

    async def _line(self) -> str:
        async with asyncio.timeout(10):
            line = await self._reader.readline()
        if not line:
            raise ConnectionError(f"closed by the server: {self.errors[-1:]}")
        return line.decode(errors="replace").rstrip("\r\n")

    async def _message(self, line: str) -> None:
        parts = line.split()
        size = int(parts[-1])
        skip = int(parts[-2]) if parts[0] == "HMSG" else 0
        body = (await self._reader.readexactly(size + 2))[skip:-2]
        with_reply = len(parts) > (5 if parts[0] == "HMSG" else 4)
        self.heard.append(Heard(parts[1], parts[2], parts[3] if with_reply else "", body))

    def send(
        self,
        subject: str | bytes,
        body: bytes = b"",
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish; `sync` then tells."""
        name = subject.encode() if isinstance(subject, str) else subject
        to = f" {reply}".encode() if reply else b""
        if headers is None:
            self._writer.write(b"PUB %b%b %d\r\n%b\r\n" % (name, to, len(body), body))
            return
        head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        block = f"NATS/1.0\r\n{head}\r\n".encode()
        sizes = b"%d %d" % (len(block), len(block) + len(body))
        self._writer.write(b"HPUB %b%b %b\r\n%b%b\r\n" % (name, to, sizes, block, body))

    def listen(self, subject: str) -> str:
        """Subscribe; the subscription's id."""
        self._sid += 1
        self._writer.write(f"SUB {subject} {self._sid}\r\n".encode())
        return str(self._sid)

    async def may_publish(self, subjects: Sequence[str], reply: str = "") -> list[bool]:
        """For each subject: did the server take it?"""
        return await self._each([f"PUB {s} {reply} 0\r\n\r\n" for s in subjects])

    async def may_listen(self, subjects: Sequence[str]) -> list[bool]:
        """For each subject: did the server let us subscribe? Nothing stays subscribed."""
        sids = range(self._sid + 1, self._sid + 1 + len(subjects))
        self._sid += len(subjects)
        return await self._each(
            [f"SUB {s} {sid}\r\nUNSUB {sid}\r\n" for s, sid in zip(subjects, sids, strict=True)]
        )

    async def _each(self, commands: Iterable[str]) -> list[bool]:
        answers: list[bool] = []
        waiting = 0
        for command in commands:
            self._writer.write(f"{command}PING\r\n".encode())
            waiting += 1
        for _ in range(waiting):
            before = len(self.errors)
            await self._until_pong()
            new = self.errors[before:]
            assert all("Permissions Violation" in e for e in new), new
            answers.append(not new)
        return answers

    async def request(
        self, subject: str, body: bytes, inbox: str, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Ask and wait for one answer on an inbox that is ours."""
        sid = self.listen(inbox)
        self.send(subject, body, inbox, headers)
        async with asyncio.timeout(10):
            while True:
                await self.sync()
                for one in self.heard:
                    if one.sid == sid:
                        return one.data

    async def until_closed(self) -> None:
        """Raises ConnectionError once the server has cut it; TimeoutError if it does not."""
        while True:
            await self.sync()

    def close(self) -> None:
        """Leave."""
        self._writer.close()


@asynccontextmanager
async def raw(
    port: int, *, key: Key | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Raw]:
    """A connection to a server of this host; with a key, as the user of this key."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        info = json.loads(re.sub(r"^INFO ", "", (await reader.readline()).decode()))
        if tls is not None:
            await writer.start_tls(tls, server_hostname="127.0.0.1")
        hello: dict[str, object] = {
            "verbose": False, "pedantic": False, "headers": True, "no_responders": True,
            "protocol": 1, "lang": "raw", "version": "1",
        }  # fmt: skip
        if key is not None:
            signed = base64.urlsafe_b64encode(key.sign(info["nonce"].encode())).rstrip(b"=")
            hello |= {"nkey": key.public, "sig": signed.decode()}
        writer.write(f"CONNECT {json.dumps(hello)}\r\n".encode())
        made = Raw(reader, writer)
        await made.sync()
        yield made
    finally:
        writer.close()
