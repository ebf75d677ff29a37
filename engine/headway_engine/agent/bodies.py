"""Large bodies: parts from a runner to a blob, blobs to parts for a runner.

The agent holds no keys of the blob store: bodies go through the engine in pieces, or straight to S3
by a URL that the engine signs for one body.
"""

from __future__ import annotations

import asyncio
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from headway.direct import Direct
from headway.errors import HeadwayError
from headway.wire import BLOB_PART, CHECKPOINT_LIMIT, BlobRef, Malformed, decode, encode
from headway.wire.blobs import SignedPut
from headway.wire.frames import Part
from headway.wire.rpc import GET_ANSWER, PUT_ANSWER, URL_ANSWER, GetPart, PutPart, UrlAsk
from headway_engine.agent.port import Link, NoAnswer
from headway_engine.agent.uplink import jittered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


READS = 3
"""Times that a body is read which is not what its reference says."""
READ_PAUSE = 0.3
"""Seconds between two of them, and longer each time."""


class BadParts(HeadwayError):
    """Parts of a body came out of order, or are more than a runner may send."""

    code = "bad_parts"


class BlobRefused(HeadwayError):
    """The engine did not take or give a large body."""

    code = "blob_refused"

    def __init__(self, outcome: str, message: str) -> None:
        self.outcome = outcome
        super().__init__(message or outcome)


class Assembly:
    """Parts that one runner has sent and not yet named in a frame; bounded."""

    def __init__(self, limit: int = 2 * CHECKPOINT_LIMIT, bodies: int = 512) -> None:
        self._limit, self._bodies = limit, bodies
        self._parts: dict[int, list[bytes]] = {}
        self._whole: set[int] = set()
        self._size = 0

    def add(self, part: Part) -> None:
        """Take one part; raises BadParts."""
        if len(part.data) > BLOB_PART:
            raise BadParts(f"a part of {len(part.data):,} bytes")
        if part.blob not in self._parts and len(self._parts) >= self._bodies:
            raise BadParts("too many large bodies at once")
        parts = self._parts.setdefault(part.blob, [])
        if part.index != len(parts) or part.blob in self._whole:
            raise BadParts(f"part {part.index} of a body, expected {len(parts)}")
        self._size += len(part.data)
        if self._size > self._limit:
            raise BadParts("too many bytes in large bodies")
        parts.append(part.data)
        if part.last:
            self._whole.add(part.blob)

    def take(self, blob: int) -> list[bytes]:
        """The parts of a whole body, once; raises BadParts for one that is not there."""
        if blob not in self._whole:
            raise BadParts(f"a frame names body {blob}, which did not come")
        self._whole.discard(blob)
        parts = self._parts.pop(blob)
        self._size -= sum(len(p) for p in parts)
        return parts

    def clear(self) -> None:
        """Forget all."""
        self._parts.clear()
        self._whole.clear()
        self._size = 0


def parts_of(blob: int, data: bytes) -> Iterator[Part]:
    """A body as parts."""
    count = max(1, -(-len(data) // BLOB_PART))
    for i in range(count):
        piece = data[i * BLOB_PART : (i + 1) * BLOB_PART]
        yield Part(blob=blob, index=i, data=piece, last=i == count - 1)


class Carrier:
    """Moves large bodies between runners and the engine's blob store."""

    def __init__(
        self,
        link: Link,
        *,
        alive: Callable[[], bool] = lambda: True,
        timeout: float = 10.0,
    ) -> None:
        self._link, self._alive, self._timeout = link, alive, timeout
        self._gate = asyncio.Semaphore(4)
        self.direct = Direct()
        """Large bodies straight to S3, where that works."""

    async def _ask(self, verb: str, body: bytes, engine: str, answers: Any) -> Any:
        target: str | None = engine or None
        pause = 0.05
        while self._alive():
            try:
                raw = await self._link.request(verb, body, target, self._timeout)
                answer = decode(answers, raw)
            except (NoAnswer, Malformed):
                target = None
            else:
                if not answer.busy:
                    return answer
                pause = answer.busy
            await asyncio.sleep(jittered(pause))
            pause = min(2.0, pause * 2)
        raise BlobRefused("stale_epoch", "the session is over")

    async def put(self, run: str, epoch: int, engine: str, parts: list[bytes]) -> BlobRef:
        """Store a body; raises BlobRefused. Repeating it is safe: its key is its hash."""
        whole = sha256()
        for part in parts:
            whole.update(part)
        upload = secrets.token_hex(8)
        async with self._gate:
            ref = await self._put_directly(run, epoch, engine, parts, whole.hexdigest())
            if ref is not None:
                return ref
            for i, data in enumerate(parts):
                last = i == len(parts) - 1
                body = encode(
                    PutPart(run, epoch, upload, i, last, data, whole.hexdigest() if last else "")
                )
                answer = await self._ask("blob_put", body, engine, PUT_ANSWER)
                if answer.outcome != "ok":
                    raise BlobRefused(answer.outcome, answer.message)
                if last and answer.ref is not None:
                    return answer.ref
        raise BlobRefused("refused", "the engine gave no reference")

    async def _put_directly(
        self, run: str, epoch: int, engine: str, parts: list[bytes], digest: str
    ) -> BlobRef | None:
        """Straight to S3 where that is offered and works; None = send parts."""
        size = sum(map(len, parts))
        if not self.direct.worth(size):
            return None
        body = encode(UrlAsk(run, epoch, size, digest))

        async def sign() -> SignedPut:
            answer = await self._ask("blob_url", body, engine, URL_ANSWER)
            if answer.outcome != "ok":
                raise BlobRefused(answer.outcome, answer.message)
            return SignedPut(answer.url, answer.headers)

        async def check() -> BlobRef | None:
            answer = await self._ask("blob_done", body, engine, PUT_ANSWER)
            if answer.outcome == "stale_epoch":
                raise BlobRefused(answer.outcome, answer.message)
            return answer.ref

        return await self.direct.put(parts, sign, check)

    async def get(self, run: str, epoch: int, engine: str, ref: BlobRef, child: str = "") -> bytes:
        """Read a body; raises BlobRefused, with outcome `blob` when it is not there or damaged.

        What does not fit its reference is read again: a proxy may have cut it. `child`: the result
        of the run's child under this key.
        """
        tries = 0
        while True:
            tries += 1
            try:
                return await self._get(run, epoch, engine, ref, child)
            except BlobRefused as e:
                if e.outcome != "blob" or tries == READS:
                    raise
            await asyncio.sleep(jittered(READ_PAUSE * tries))

    async def _get(self, run: str, epoch: int, engine: str, ref: BlobRef, child: str) -> bytes:
        verb = "child_get" if child else "blob_get"
        out: list[bytes] = []
        at = 0
        async with self._gate:
            while at < ref.size:
                body = encode(GetPart(run, epoch, ref.key, at, BLOB_PART, child))
                answer = await self._ask(verb, body, engine, GET_ANSWER)
                if answer.outcome == "not_found":
                    raise BlobRefused("blob", answer.message)
                if answer.outcome != "ok":
                    raise BlobRefused(answer.outcome, answer.message)
                if not answer.data:
                    raise BlobRefused("blob", f"the blob {ref.key} ends early")
                out.append(answer.data)
                at += len(answer.data)
        data = b"".join(out)
        if sha256(data).hexdigest() != ref.sha256:
            raise BlobRefused("blob", f"the blob {ref.key} is damaged: its hash differs")
        return data
