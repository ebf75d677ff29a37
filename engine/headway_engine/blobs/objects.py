"""Blobs on the JetStream object store, in its standard layout, with our own chunk reader.

nats-py's reader joins bytes quadratically (64 MiB in nine seconds) and knows no ranges. Here the
chunks' stream sequences are kept in the object's metadata, so that a range is a few direct gets;
objects that another client wrote are read by their chunk subject. `nats object ls` shows them all.
"""

from __future__ import annotations

import asyncio
import base64
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from headway.bus import JetStreamRefused, ask, jsapi, publish_acked
from headway.errors import HeadwayError, NotReachable
from headway.history import API, history, last
from headway.natspy import NUID
from headway_engine.blobs import BlobsDown, NoBlob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from nats.aio.client import Client as NatsClient

CHUNK = 256 * 1024
"""Bytes a message: well below the server's 1 MB."""
AT_ONCE = 16
"""Chunks in flight."""


class _Options(msgspec.Struct):
    max_chunk_size: int = CHUNK


class _Info(msgspec.Struct, omit_defaults=True):
    """The standard's ObjectInfo."""

    name: str
    bucket: str
    nuid: str
    size: int = 0
    chunks: int = 0
    digest: str = ""
    deleted: bool = False
    mtime: str = "0001-01-01T00:00:00Z"
    options: _Options | None = None
    metadata: dict[str, str] = {}


_INFO = msgspec.json.Decoder(_Info)


class ObjectBlobs:
    """One bucket on the given connection.

    `api`: another server's, by a link: such a bucket is read alone (`size`, `get`).
    """

    def __init__(
        self, nc: NatsClient, bucket: str, *, timeout: float = 10.0, api: str = API
    ) -> None:
        self._nc, self._bucket, self._timeout, self._api = nc, bucket, timeout, api
        self._stream = f"OBJ_{bucket}"
        self._nuid = NUID()

    async def open(self) -> None:
        """Make the bucket if it is not there."""
        config: dict[str, Any] = {
            "name": self._stream,
            "subjects": [f"$O.{self._bucket}.C.>", f"$O.{self._bucket}.M.>"],
            "discard": "new",
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "storage": "file",
            "max_consumers": -1,
            "num_replicas": 1,
        }
        await self._guard(self._ensure, config)

    async def _ensure(self, config: dict[str, Any]) -> None:
        try:
            await jsapi(self._nc, f"STREAM.INFO.{self._stream}")
        except JetStreamRefused as e:
            if e.err_code != 10059:  # stream not found
                raise
            await jsapi(self._nc, f"STREAM.CREATE.{self._stream}", config)

    async def close(self) -> None:
        """The connection is not ours."""

    async def _guard(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        try:
            return await call(*args)
        except NoBlob:
            raise
        except (HeadwayError, TimeoutError, OSError) as e:
            raise BlobsDown(f"the object store is not reachable: {e}") from None

    def _meta(self, key: str) -> str:
        token = base64.urlsafe_b64encode(key.encode()).decode()
        return f"$O.{self._bucket}.M.{token}"

    async def put(self, key: str, body: bytes) -> None:
        """Chunks first, then the entry that names them; the old entry's chunks go last."""
        await self._guard(self._put, key, body)

    async def _put(self, key: str, body: bytes) -> None:
        old = await self._info(key)
        nuid = self._nuid.next().decode()
        subject = f"$O.{self._bucket}.C.{nuid}"
        seqs: list[int] = []
        chunks = [body[i : i + CHUNK] for i in range(0, len(body), CHUNK)]
        for i in range(0, len(chunks), AT_ONCE):
            acks = await asyncio.gather(
                *(
                    publish_acked(self._nc, subject, chunk, timeout=self._timeout)
                    for chunk in chunks[i : i + AT_ONCE]
                )
            )
            seqs.extend(ack.seq for ack in acks)
        digest = "SHA-256=" + base64.urlsafe_b64encode(sha256(body).digest()).decode()
        info = _Info(
            key,
            self._bucket,
            nuid,
            len(body),
            len(chunks),
            digest,
            options=_Options(),
            metadata={"headway-seqs": ",".join(map(str, seqs))},
        )
        await self._write(info)
        if old is not None and not old.deleted:
            await self._purge(old.nuid)

    async def _write(self, info: _Info) -> None:
        await publish_acked(
            self._nc,
            self._meta(info.name),
            msgspec.json.encode(info),
            {"Nats-Rollup": "sub"},
            timeout=self._timeout,
        )

    async def _purge(self, nuid: str) -> None:
        subject = f"$O.{self._bucket}.C.{nuid}"
        await jsapi(self._nc, f"STREAM.PURGE.{self._stream}", {"filter": subject})

    async def _info(self, key: str) -> _Info | None:
        found = await last(
            self._nc, self._stream, self._meta(key), timeout=self._timeout, api=self._api
        )
        return None if found is None else _INFO.decode(found.data)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The chunks that the range touches, by their sequences."""
        return await self._guard(self._get, key, offset, length)

    async def _get(self, key: str, offset: int, length: int | None) -> bytes:
        info = await self._info(key)
        if info is None or info.deleted:
            raise NoBlob(key)
        end = info.size if length is None else min(info.size, offset + length)
        if offset >= end:
            return b""
        size = info.options.max_chunk_size if info.options else CHUNK
        seqs = [int(s) for s in info.metadata.get("headway-seqs", "").split(",") if s]
        if len(seqs) != info.chunks:
            return (await self._scan(info))[offset:end]
        first, final = offset // size, (end - 1) // size
        parts: list[bytes] = []
        for i in range(first, final + 1, AT_ONCE):
            wanted = seqs[i : min(i + AT_ONCE, final + 1)]
            parts.extend(await asyncio.gather(*(self._chunk(key, seq) for seq in wanted)))
        body = b"".join(parts)
        return body[offset - first * size : end - first * size]

    async def _chunk(self, key: str, seq: int) -> bytes:
        msg = await ask(
            self._nc,
            f"{self._api}.DIRECT.GET.{self._stream}",
            b'{"seq":%d}' % seq,
            timeout=self._timeout,
        )
        headers: dict[str, str] = msg.headers or {}
        if "Nats-Sequence" not in headers:
            if headers.get("Status") == "404":
                raise NoBlob(key)
            raise NotReachable(f"chunk {seq}: {headers.get('Description', 'no answer')}")
        return msg.data

    async def _scan(self, info: _Info) -> bytes:
        """An object of another client: all messages on its chunk subject."""
        subject = f"$O.{self._bucket}.C.{info.nuid}"
        read = history(self._nc, self._stream, subject, timeout=self._timeout, api=self._api)
        parts = [m.data async for m in read]
        body = b"".join(parts)
        if len(body) != info.size:
            raise NoBlob(info.name)
        return body

    async def size(self, key: str) -> int | None:
        """From the entry."""
        info: _Info | None = await self._guard(self._info, key)
        return None if info is None or info.deleted else info.size

    async def delete(self, *prefixes: str) -> int:
        """All entries are read once, whatever the number of prefixes."""
        gone = [key async for key in self.keys("") if key.startswith(prefixes)]
        await self.remove(gone)
        return len(gone)

    async def remove(self, keys: Sequence[str]) -> None:
        """Chunks first, then the entry: a crash between leaves an entry to remove again."""
        for key in keys:
            await self._guard(self._delete, key)

    async def _delete(self, key: str) -> None:
        info = await self._info(key)
        if info is None:
            return
        await self._purge(info.nuid)
        # The entry itself goes too: nobody replays it, and a dead entry a run would pile up.
        await jsapi(self._nc, f"STREAM.PURGE.{self._stream}", {"filter": self._meta(key)})

    async def keys(self, prefix: str, before: datetime | None = None) -> AsyncIterator[str]:
        """All entries of the bucket are read: for purges and checks, not for the hot path."""
        try:
            async for m in history(self._nc, self._stream, f"$O.{self._bucket}.M.*"):
                if before is not None and datetime.fromisoformat(m.time) >= before:
                    continue
                info = _INFO.decode(m.data)
                if not info.deleted and info.name.startswith(prefix):
                    yield info.name
        except (HeadwayError, TimeoutError, OSError) as e:
            raise BlobsDown(f"the object store is not reachable: {e}") from None
