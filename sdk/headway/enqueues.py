"""The way of an enqueue from the caller to INGEST, and *recorded* back.

What is enqueued at the same moment travels in one message: with fsync always one message costs the
same as fifty. While two messages wait for their ack, the next one gathers. Every step can be
repeated: the run's id, made by the caller, says that it is the same.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from typing import TYPE_CHECKING

from headway import faults, subjects
from headway.bus import publish_acked
from headway.errors import HeadwayError, NotAllowed, NotReachable
from headway.wire import encode
from headway.wire.enqueue import Ended, EnqueueBatch, Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import Raw

    from headway.bus import Connection
    from headway.config import Settings

log = logging.getLogger("headway.client")

MESSAGE_ITEMS = 500
"""Enqueues in one message at most; the wire allows 2000."""
MESSAGE_BYTES = 700 * 1024
"""Bytes of items in one message at most; the server takes 1 MB."""
IN_FLIGHT = 2
"""Messages that wait for their ack at once: the next one gathers meanwhile."""


class RunRecord:
    """What this client knows of one run; shared by all handles to it."""

    __slots__ = (
        "__weakref__", "ended", "future", "id", "interval", "next_at", "own", "refusal", "state",
        "submission", "unwatch", "waiters", "winner",
    )  # fmt: skip

    def __init__(self, run: str, *, own: bool) -> None:
        self.id = run
        self.own = own
        """Its end is pushed to us; others are watched on `hw.live`."""
        self.state = "accepted"
        """accepted | recorded | duplicate | rejected."""
        self.winner = ""
        self.refusal: Recorded | None = None
        self.ended: Ended | None = None
        self.submission: Submission | None = None
        # Who waits for the end (results.py).
        self.future: asyncio.Future[None] | None = None
        self.waiters = 0
        self.next_at = self.interval = 0.0
        self.unwatch: asyncio.Task[None] | None = None


class Submission:
    """One call of submit: its runs wait together."""

    __slots__ = ("done", "left", "progress_at", "timer", "unsent")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.left = self.unsent = count
        self.done: asyncio.Future[bool] = loop.create_future()
        """True: all is recorded; False: the engine was silent for too long."""
        self.progress_at = loop.time()
        self.timer: asyncio.TimerHandle | None = None

    def fail(self, error: HeadwayError) -> None:
        """None of it can be promised."""
        if not self.done.done():
            self.done.set_exception(error)

    def watch(self, patience: float, loop: asyncio.AbstractEventLoop) -> None:
        """Give up after `patience` seconds without a word of the engine."""
        if self.done.done():
            return
        # What is not sent yet has its own time limit, and its error.
        rest = patience if self.unsent else self.progress_at + patience - loop.time()
        if rest <= 0:
            self.done.set_result(False)
        else:
            self.timer = loop.call_later(rest, self.watch, patience, loop)


class Outbox:
    """Gathers enqueues into messages, publishes them, and books what the engine says of them."""

    def __init__(self, nc: Connection, settings: Settings, client: str, reply: str) -> None:
        self._nc, self._settings = nc, settings
        self._client = client
        self.reply = reply
        """Where the engine answers us."""
        self._subject = subjects.ingest(settings.namespace)
        self._waiting: deque[tuple[RunRecord, Raw]] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._kicked = False
        self.records: weakref.WeakValueDictionary[str, RunRecord] = weakref.WeakValueDictionary()
        self.messages = 0
        """INGEST messages sent."""

    def record(self, run: str, *, own: bool = False) -> RunRecord:
        """The record of a run, made if nobody holds one."""
        found = self.records.get(run)
        if found is None:
            found = self.records[run] = RunRecord(run, own=own)
        return found

    def submission(self, count: int) -> Submission:
        """Begin a call of submit with so many runs."""
        return Submission(count, asyncio.get_running_loop())

    def put(
        self, submission: Submission, records: Sequence[RunRecord], bodies: Sequence[Raw]
    ) -> None:
        """Send these soon, with whatever else is enqueued at this moment."""
        for record in records:
            record.submission = submission
        self._waiting.extend(zip(records, bodies, strict=True))
        self._kick()

    async def recorded(self, submission: Submission, patience: float) -> bool:
        """Wait until all is recorded; False if the engine was silent for `patience` seconds.

        Raises what the publish raised (QueueFull, NotReachable ...).
        """
        submission.watch(patience, asyncio.get_running_loop())
        try:
            return await submission.done
        finally:
            if submission.timer is not None:
                submission.timer.cancel()

    def note(self, answer: Recorded) -> None:
        """The engine's word on one enqueue."""
        record = self.records.get(answer.run)
        if record is None:
            return
        record.state = answer.outcome
        if answer.outcome == "duplicate":
            record.winner = answer.winner
        elif answer.outcome == "rejected":
            record.refusal = answer
        submission, record.submission = record.submission, None
        if submission is None:
            return
        submission.left -= 1
        submission.progress_at = asyncio.get_running_loop().time()
        if not submission.left and not submission.done.done():
            submission.done.set_result(True)

    def _kick(self) -> None:
        # One tick later, so that everything enqueued in this one travels together.
        if not self._kicked and self._waiting and len(self._sending) < IN_FLIGHT:
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._launch)

    def _launch(self) -> None:
        self._kicked = False
        while self._waiting and len(self._sending) < IN_FLIGHT:
            task = asyncio.get_running_loop().create_task(self._send(self._take()))
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _take(self) -> list[tuple[RunRecord, Raw]]:
        chunk: list[tuple[RunRecord, Raw]] = []
        size = 0
        while self._waiting and len(chunk) < MESSAGE_ITEMS:
            size += len(bytes(self._waiting[0][1])) + 1
            if chunk and size > MESSAGE_BYTES:
                break
            chunk.append(self._waiting.popleft())
        return chunk

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("sending enqueues failed", exc_info=error)
        self._kick()

    async def _send(self, chunk: list[tuple[RunRecord, Raw]]) -> None:
        batch = EnqueueBatch(
            items=[body for _, body in chunk], client=self._client, reply=self.reply
        )
        submissions = [r.submission for r, _ in chunk]
        if faults.armed:
            await faults.point("sdk.enqueue.gathered")
        try:
            await self._publish(encode(batch))
        except HeadwayError as e:
            for submission in submissions:
                if submission is not None:
                    submission.fail(e)
            return
        if faults.armed:
            await faults.point("sdk.enqueue.acked")
        now = asyncio.get_running_loop().time()
        for submission in submissions:
            if submission is not None:
                submission.unsent -= 1
                submission.progress_at = now

    async def _publish(self, body: bytes) -> None:
        """Until it is acked or the time is over; intake takes a repeated run as the same."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.request_timeout
        self.messages += 1
        while True:
            rest = max(0.05, deadline - loop.time())
            try:
                await publish_acked(self._nc, self._subject, body, timeout=rest, again=True)
                return
            except NotAllowed:
                raise
            except NotReachable:
                # No stream at this moment: the server is just starting.
                if deadline - loop.time() < 0.1:
                    raise
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Wait for what is being sent."""
        while self._sending or self._waiting:
            await asyncio.sleep(0) if not self._sending else await asyncio.wait(self._sending)
