"""Requests to the agent: each is kept until the store's answer and sent again after a redial.

The future of a request belongs to this module, not to the verb: cancelling a verb never loses a
save. When the agent goes away, the runner dials again (20 ms, growing to 1 s) and says in `hello`
which attempts live here; after `orphan_after` without an agent it gives up.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from headway._version import __version__
from headway.channel import Conn, dial
from headway.wire import BLOB_PART, INLINE_LIMIT, PROTOCOL
from headway.wire.frames import (
    TO_RUNNER,
    WINDOW,
    Ack,
    Await,
    Checkpoint,
    Enqueue,
    Fetch,
    Finish,
    Freeze,
    Hello,
    Mark,
    Part,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from headway.wire.frames import Fail, Usage, Wait

FIRST_DELAY, LAST_DELAY = 0.02, 1.0
SETTLED = 1.0
"""Seconds after which a connection counts although the agent said nothing on it."""
FROZEN_AGAIN = 0.5
"""Seconds until a save that was answered `frozen` is sent again without being told."""


class Kept:
    """A request without an answer."""

    __slots__ = ("body", "frame", "future", "sent")

    def __init__(self, frame: Any, body: bytes, future: asyncio.Future[Ack]) -> None:
        self.frame, self.body, self.future = frame, body, future
        self.sent = False

    @property
    def windowed(self) -> bool:
        """Does it count in the window of its slot?"""
        return not isinstance(self.frame, Await)


class AgentCalls:
    """The runner's end of the channel; implements `headway.context.Calls`."""

    def __init__(
        self,
        address: str,
        token: str,
        tls: ssl.SSLContext | None,
        *,
        on_frame: Callable[[Any], None],
        on_stale: Callable[[int], None],
        on_orphan: Callable[[], None],
        slots: Callable[[], list[tuple[int, str, int]]],
    ) -> None:
        self._address, self._token, self._tls = address, token, tls
        self._on_frame, self._on_stale, self._on_orphan = on_frame, on_stale, on_orphan
        self._slots = slots
        self._loop = asyncio.get_running_loop()
        self._seq = 0
        self._kept: dict[int, Kept] = {}
        self._under_way: dict[int, int] = {}
        """Per slot: requests that were sent and have no answer."""
        self._queued: dict[int, deque[int]] = {}
        """Per slot: `seq` of requests for which there is no room in the window yet."""
        self._bodies: dict[int, bytearray] = {}
        self._frozen = False
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._dialling: asyncio.Task[None] | None = None
        self._delay = 0.0
        """Seconds until the next call."""
        self._heard_at = time.monotonic()
        """When an agent was last known to be there."""
        self._connected_at = 0.0
        self._welcome = False
        """The agent has answered on this connection."""
        self.conn: Conn | None = None
        self.ready: Any = None
        """The `ready` frame, repeated after each redial."""
        self.orphan_after = 30.0

    # --- the connection

    def connect(self) -> None:
        """Dial in the background, now and whenever the connection is lost."""
        self._dialling = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        while True:
            delay = self._delay
            if delay and time.monotonic() + delay > self._heard_at + self.orphan_after:
                self._on_orphan()
                return
            await asyncio.sleep(delay)
            self._delay = max(FIRST_DELAY, min(LAST_DELAY, delay * 1.6))
            try:
                conn = await dial(self._address, TO_RUNNER, self._tls)
                break
            except OSError:
                continue
        self.conn, self._connected_at = conn, time.monotonic()
        self._frozen = False
        self._thawed.set()  # the agent that answers now says so again if its lease is overdue
        conn.send(
            Hello(
                protocol=PROTOCOL,
                sdk=__version__,
                python=sys.version.split()[0],
                pid=os.getpid(),
                token=self._token,
                slots=self._slots(),
            )
        )
        if self.ready is not None:
            conn.send(self.ready)
        for kept in list(self._kept.values()):  # in order of seq
            self._put(kept)
        conn.on_frames(self._received, self._lost)

    def _lost(self, error: BaseException | None) -> None:
        now = time.monotonic()
        if self._welcome or now - self._connected_at > SETTLED:
            # The agent was there until now; one that takes a call and hangs up at once was not.
            self._welcome, self._delay, self._heard_at = False, 0.0, now
        self.conn = None
        self._bodies.clear()
        for kept in self._kept.values():
            kept.sent = False
        self._under_way.clear()
        self._queued.clear()
        self.connect()

    def send(self, frame: Any) -> None:
        """Send what need not be answered; lost if there is no connection."""
        if self.conn is not None:
            self.conn.send(frame)

    def send_now(self, frame: Any) -> None:
        """As `send`, in the kernel's hands when this returns: what follows may end the process."""
        if self.conn is not None:
            self.conn.send_from_thread(frame)

    async def drained(self) -> None:
        """Until everything has left for the kernel."""
        if self.conn is not None:
            await self.conn.drain(1)

    # --- requests

    def next_seq(self) -> int:
        """The next sequence number."""
        self._seq += 1
        return self._seq

    def save(
        self,
        frame: Checkpoint | Mark | Wait | Enqueue | Await | Usage | Finish | Fail,
        body: bytes = b"",
    ) -> asyncio.Future[Ack]:
        """See `headway.context.Calls`. `body` becomes the frame's state, value, payload ..."""
        future: asyncio.Future[Ack] = self._loop.create_future()
        kept = Kept(frame, body, future)
        self._kept[frame.seq] = kept
        self._put(kept)
        return future

    def _put(self, kept: Kept) -> None:
        conn = self.conn
        if conn is None or self._frozen:
            return
        frame, body = kept.frame, kept.body
        if kept.windowed:
            if self._under_way.get(frame.slot, 0) >= WINDOW:
                self._queued.setdefault(frame.slot, deque()).append(frame.seq)
                return
            self._under_way[frame.slot] = self._under_way.get(frame.slot, 0) + 1
        if len(body) > INLINE_LIMIT:
            count = (len(body) + BLOB_PART - 1) // BLOB_PART
            for i in range(count):
                data = body[i * BLOB_PART : (i + 1) * BLOB_PART]
                conn.send(Part(blob=frame.seq, index=i, data=data, last=i == count - 1))
            frame.blob = frame.seq
        elif body:
            raw = msgspec.Raw(body)
            if isinstance(frame, Checkpoint):
                frame.state = raw
            elif isinstance(frame, Mark):
                frame.value = raw
            elif isinstance(frame, Enqueue):
                frame.payload = raw
            elif isinstance(frame, Finish):
                frame.result = raw
        kept.sent = True
        conn.send(frame)

    async def fetch(self, slot: int, key: str) -> bytes:
        """The recorded value of a mark that lies in blobs; asks again after a redial."""
        future: asyncio.Future[Ack] = self._loop.create_future()
        frame = Fetch(slot=slot, seq=self.next_seq(), key=key)
        kept = Kept(frame, b"", future)
        self._kept[frame.seq] = kept
        self._put(kept)
        ack = await asyncio.shield(future)
        if ack.outcome != "ok":
            from headway.errors import Refused

            raise Refused(f"the recorded value of {key!r}: {ack.message or ack.outcome}")
        return bytes(ack.value)

    async def thawed(self) -> None:
        """Return when the lease is in order."""
        await self._thawed.wait()

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(UTC)

    def time(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    def body(self, blob: int) -> bytes:
        """A body that came in parts; forgotten here afterwards."""
        return bytes(self._bodies.pop(blob, b""))

    # --- answers

    def _received(self, frames: list[Any]) -> None:
        self._welcome = True
        for frame in frames:
            if isinstance(frame, Ack):
                self._answered(frame)
            elif isinstance(frame, Part):
                self._bodies.setdefault(frame.blob, bytearray()).extend(frame.data)
            elif isinstance(frame, Freeze):
                self._freeze(frame.on)
            else:
                self._on_frame(frame)

    def _answered(self, ack: Ack) -> None:
        kept = self._kept.get(ack.seq)
        if kept is None:
            return  # the answer of a repeat
        self._make_room(kept)
        if ack.outcome == "frozen":
            kept.sent = False
            self._loop.call_later(FROZEN_AGAIN, self._again, ack.seq)
            return
        del self._kept[ack.seq]
        if ack.blob:  # at once: a lost connection forgets what came in parts
            ack.value, ack.blob = msgspec.Raw(self.body(ack.blob)), 0
        if not kept.future.done():
            kept.future.set_result(ack)
        if ack.outcome == "stale_epoch":
            self._on_stale(ack.slot)

    def _make_room(self, kept: Kept) -> None:
        """One that was under way is answered: the next one of its slot goes out."""
        slot = kept.frame.slot
        if not kept.sent or not kept.windowed or slot not in self._under_way:
            return
        self._under_way[slot] -= 1
        queued = self._queued.get(slot)
        while queued and self._under_way[slot] < WINDOW and not self._frozen:
            self._again(queued.popleft())

    def drop(self, slot: int) -> None:
        """The attempt is over: nobody hears the ends of its children any more."""
        self._under_way.pop(slot, None)
        self._queued.pop(slot, None)
        for seq, kept in list(self._kept.items()):
            if isinstance(kept.frame, Await) and kept.frame.slot == slot:
                del self._kept[seq]

    def _again(self, seq: int) -> None:
        kept = self._kept.get(seq)
        if kept is not None and not kept.sent:
            self._put(kept)

    def _freeze(self, on: bool) -> None:
        self._frozen = on
        self._queued.clear()  # with the thaw, all that was not sent is looked at again, in order
        if on:
            self._thawed.clear()
            return
        self._thawed.set()
        for kept in list(self._kept.values()):
            if not kept.sent:
                self._put(kept)
