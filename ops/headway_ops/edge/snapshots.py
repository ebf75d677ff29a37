"""One stream out of a nats-server and into another, by its snapshot protocol.

A snapshot is what the server makes of the stream at one moment: configuration, messages with their
numbers and times, consumers. It comes in chunks, each of which waits for our word; what is in them
is the server's affair.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headway.bus import JetStreamRefused, ask, jsapi
from headway.errors import HeadwayError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from nats.aio.msg import Msg

    from headway.bus import Connection

CHUNK = 128 * 1024
"""Bytes of a message: below every `max_payload` that an engine starts with."""
SILENCE = 30.0
"""Seconds without a chunk after which a snapshot is given up."""
NO_STREAM = 10059


class Broken(HeadwayError):
    """A snapshot could not be read or written to its end."""

    code = "snapshot"


async def stream_info(nc: Connection, stream: str) -> dict[str, Any] | None:
    """The stream as the server describes it; None = there is none."""
    try:
        return await jsapi(nc, f"STREAM.INFO.{stream}")
    except JetStreamRefused as e:
        if e.err_code == NO_STREAM:
            return None
        raise


async def take(nc: Connection, stream: str) -> tuple[dict[str, Any], AsyncGenerator[bytes]]:
    """The stream's description (`config`, `state`), and its chunks, which must be read to the end.

    Raises JetStreamRefused here, Broken while it is read.
    """
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = nc.new_inbox()
    sub = await nc.subscribe(inbox, cb=heard.put)
    body = {"deliver_subject": inbox, "chunk_size": CHUNK, "jsck": True}
    try:
        told = await jsapi(nc, f"STREAM.SNAPSHOT.{stream}", body, timeout=SILENCE)
    except BaseException:
        await sub.unsubscribe()
        raise

    async def chunks() -> AsyncGenerator[bytes]:
        try:
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        msg = await heard.get()
                except TimeoutError:
                    raise Broken(
                        f"{stream}: no chunk of its snapshot within {SILENCE:g} s"
                    ) from None
                if not msg.data:
                    status = (msg.headers or {}).get("Status", "204")
                    if status not in {"200", "204"}:
                        why = (msg.headers or {}).get("Description", "")
                        raise Broken(f"{stream}: its snapshot ended early: {status} {why}")
                    return
                yield msg.data
                if msg.reply:
                    await nc.publish(msg.reply, b"")
        finally:
            await sub.unsubscribe()

    return {"config": told["config"], "state": told["state"]}, chunks()


async def put(
    nc: Connection, stream: str, described: dict[str, Any], chunks: AsyncIterable[bytes]
) -> dict[str, Any]:
    """Make the stream of a snapshot; its description then. There must be none of that name."""
    told = await jsapi(nc, f"STREAM.RESTORE.{stream}", described, timeout=SILENCE)
    subject = str(told["deliver_subject"])
    async for chunk in chunks:
        answer = await ask(nc, subject, chunk, timeout=SILENCE)
        if answer.data:
            raise Broken(f"{stream}: the server did not take its snapshot: {answer.data[:300]!r}")
    end = await ask(nc, subject, b"", timeout=SILENCE)
    if b'"error"' in end.data:
        raise Broken(f"{stream}: the server did not take its snapshot: {end.data[:300]!r}")
    info = await stream_info(nc, stream)
    if info is None:
        raise Broken(f"{stream}: not there after its snapshot was restored")
    return info
