"""Children of this agent's attempts: what a runner enqueues and awaits.

A runner names a child by its key alone; the engine knows which run that is. The end of a child is
pushed to `hw.reply.<agent>.children`. A push may be lost, or go to the agent that the parent was on
before, so all that is awaited here is also asked for, in one request: at once where no push is to
come, else after 2 s growing to 30 s, and after a reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from headway.states import TERMINAL
from headway.wire import PAYLOAD_LIMIT, BlobRef, Malformed, decode, encode
from headway.wire.children import CHILDREN_ENDS, ChildAsk, ChildOutcome, ChildrenAsk, ChildrenEnds
from headway.wire.children import Child as ChildToBe
from headway.wire.enqueue import ANSWERS, Ended
from headway.wire.frames import Ack, Await
from headway_engine.agent.bodies import BlobRefused
from headway_engine.agent.port import NoAnswer
from headway_engine.agent.uplink import jittered

if TYPE_CHECKING:
    from headway.wire.children import ChildEnd
    from headway.wire.frames import Enqueue
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.attempts import Attempts
    from headway_engine.agent.worker import Worker

log = logging.getLogger("headway.agent")

ASK_FIRST, ASK_MAX = 2.0, 30.0
"""Seconds between questions about one child."""
ASK_LIMIT = 500
SMALL = 8 * 1024
"""Ends up to this size are kept for a runner that has not asked yet; larger ones are read again."""


class Child:
    """A child of a live attempt."""

    __slots__ = ("attempt", "ended", "interval", "key", "next_at", "run", "seqs")

    def __init__(self, attempt: Attempt, key: str) -> None:
        self.attempt, self.key = attempt, key
        self.run = ""
        """Its id, or that of the run whose end counts; empty = not known yet."""
        self.ended: Ended | None = None
        """Known before anybody asked."""
        self.seqs: list[tuple[Worker, int]] = []
        """Who waits."""
        self.next_at = 0.0
        self.interval = ASK_FIRST


class Children:
    """The children of one agent's attempts."""

    def __init__(self, attempts: Attempts) -> None:
        self._a = attempts
        self._loop = asyncio.get_running_loop()
        self._by_run: dict[str, list[Child]] = {}
        self._waiting: dict[tuple[str, int, str], Child] = {}
        self._wake = asyncio.Event()
        self.ask_first = ASK_FIRST

    def take(self, worker: Worker, frame: Enqueue | Await) -> None:
        """One frame of a runner, unless it came before."""
        attempt = self._a.attempt_of(worker, frame.slot, frame.seq)
        if attempt is None or worker.seen(frame.seq, awaits=isinstance(frame, Await)):
            return
        if isinstance(frame, Await):
            self._wait(worker, attempt, frame)
        else:
            self._enqueue(worker, attempt, frame)

    # --- enqueue

    def _enqueue(self, worker: Worker, attempt: Attempt, frame: Enqueue) -> None:
        """A large payload goes to blobs first."""
        if frame.blob:
            self._a.saving.upload(worker, attempt, frame, PAYLOAD_LIMIT, self._send)
        elif flaw := self._a.flaw_of(frame.payload) or self._a.flaw_of(frame.item):
            self._a.violation(worker, flaw, attempt)
        else:
            self._send(worker, attempt, frame, None)

    def _send(self, worker: Worker, attempt: Attempt, frame: Enqueue, ref: BlobRef | None) -> None:
        child = ChildToBe(
            attempt.run, attempt.epoch, frame.key, frame.item, frame.payload, ref, frame.after
        )
        size = len(bytes(frame.item)) + len(bytes(frame.payload))
        done = partial(self._enqueued, worker, attempt, frame.key, frame.seq)
        send = partial(self._a.uplink.enqueue, attempt.engine, child, size, done)
        self._a.saving.in_turn(attempt, send)

    def _enqueued(
        self, worker: Worker, attempt: Attempt, key: str, seq: int, outcome: ChildOutcome
    ) -> None:
        if outcome.outcome == "ok" and self._a.live.get(attempt.run) is attempt:
            child = self._child(attempt, key)
            self._known_as(child, outcome.run)
            # Of an older run the end may have been pushed before, to somebody else.
            child.next_at = self._loop.time() + self.ask_first if outcome.fresh else 0.0
        worker.answer(
            Ack(
                attempt.slot,
                seq,
                outcome.outcome,
                outcome.message,
                run=outcome.run,
                code=outcome.code,
            )
        )
        if outcome.outcome == "stale_epoch":
            self._a.stopping.stop(attempt, "stale")

    def _child(self, attempt: Attempt, key: str) -> Child:
        child = attempt.children.get(key)
        if child is None:
            child = attempt.children[key] = Child(attempt, key)
        return child

    def _known_as(self, child: Child, run: str) -> None:
        if run and child.run != run:
            self._unlist(child)
            child.run = run
            self._by_run.setdefault(run, []).append(child)

    def _unlist(self, child: Child) -> None:
        those = self._by_run.get(child.run)
        if those is not None and child in those:
            those.remove(child)
            if not those:
                del self._by_run[child.run]

    # --- ends

    def _wait(self, worker: Worker, attempt: Attempt, frame: Await) -> None:
        """A runner awaits a child; it is answered with its end."""
        child = self._child(attempt, frame.key)
        child.seqs.append((worker, frame.seq))
        if (ended := child.ended) is not None:
            child.ended = None
            self._end(child, ended)
            return
        now = self._loop.time()
        if child.next_at:
            # The push may have been lost, but hardly before anybody could hear it.
            child.next_at = max(child.next_at, now + self.ask_first)
        child.interval = self.ask_first
        self._waiting[attempt.run, attempt.epoch, frame.key] = child
        self._wake.set()

    def heard(self, body: bytes) -> None:
        """Pushed by an engine: runs have ended."""
        try:
            answers = decode(ANSWERS, body)
        except Malformed as e:
            log.warning("an answer that nobody can read: %s", e)
            return
        for ended in answers.ended:
            for child in list(self._by_run.get(ended.run, ())):
                self._end(child, ended)

    def _end(self, child: Child, ended: Ended) -> None:
        child.next_at = 0.0  # whoever asks later is told what the engine says then
        if child.seqs:
            self._waiting.pop((child.attempt.run, child.attempt.epoch, child.key), None)
            waiters, child.seqs = child.seqs, []
            for worker, seq in waiters:
                if ended.result_ref is not None:
                    self._a.spawn(self._large(child, worker, seq, ended, ended.result_ref))
                else:
                    self._tell(child, worker, seq, ended)
            return
        size = len(bytes(ended.result)) if ended.error is None else 4 * len(ended.error.traceback)
        if size <= SMALL and ended.result_ref is None:
            child.ended = ended

    def _tell(self, child: Child, worker: Worker, seq: int, ended: Ended, blob: int = 0) -> None:
        # Not kept for a repetition: whoever asks again after a redial is answered anew.
        worker.awaiting.discard(seq)
        worker.send(
            Ack(
                child.attempt.slot,
                seq,
                value=ended.result,
                blob=blob,
                run=ended.run,
                status=ended.status.lower(),
                error=ended.error,
            )
        )

    async def _large(
        self, child: Child, worker: Worker, seq: int, ended: Ended, ref: BlobRef
    ) -> None:
        a = child.attempt
        try:
            data = await self._a.carrier.get(a.run, a.epoch, a.engine, ref, child.key)
        except BlobRefused as e:
            worker.awaiting.discard(seq)
            worker.send(Ack(a.slot, seq, e.outcome, str(e)))
            return
        self._tell(child, worker, seq, ended, self._a.handover.parts(worker, data))

    def forget(self, attempt: Attempt) -> None:
        """The attempt is over: nobody waits any more. The children go on."""
        for key, child in attempt.children.items():
            self._unlist(child)
            self._waiting.pop((attempt.run, attempt.epoch, key), None)
        attempt.children.clear()

    # --- asking

    def ask_all(self) -> None:
        """After a reconnect: what was pushed meanwhile is gone."""
        for child in self._waiting.values():
            child.next_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Ask for what is awaited and due, for the life of the agent."""
        while True:
            self._wake.clear()
            now = self._loop.time()
            due = [c for c in self._waiting.values() if c.next_at <= now]
            for i in range(0, len(due), ASK_LIMIT):
                await self._ask(due[i : i + ASK_LIMIT])
            nearest = min((c.next_at for c in self._waiting.values()), default=None)
            # What is due soon after joins the same request.
            rest = None if nearest is None else max(0.02, nearest - self._loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._wake.wait()

    async def _ask(self, children: list[Child]) -> None:
        now = self._loop.time()
        for c in children:
            c.next_at = now + jittered(c.interval)
            c.interval = min(ASK_MAX, c.interval * 2)
        asks = [ChildAsk(c.attempt.run, c.attempt.epoch, c.key) for c in children]
        body = encode(ChildrenAsk(self._a.uplink.agent, asks))
        try:
            raw = await self._a.uplink.link.request("ends", body, None, self._a.uplink.timeout)
            answer: ChildrenEnds = decode(CHILDREN_ENDS, raw)
        except (NoAnswer, Malformed) as e:
            log.debug("ends of %d children: %s", len(asks), e)
            return
        for child, told in zip(children, answer.children, strict=False):
            if child.seqs:
                self._told(child, told, more=answer.more)

    def _told(self, child: Child, told: ChildEnd, *, more: bool) -> None:
        self._known_as(child, told.run)
        if told.ended is not None:
            self._end(child, told.ended)
        elif told.status == "unknown":
            waiters, child.seqs = child.seqs, []
            self._waiting.pop((child.attempt.run, child.attempt.epoch, child.key), None)
            why = f"no run {told.run}: it was removed after its retention"
            for worker, seq in waiters:
                worker.answer(Ack(child.attempt.slot, seq, "refused", why, code="not_found"))
        elif more and told.status in _ENDED:
            child.next_at = 0.0  # it did not fit into the answer


_ENDED = {s.status for s in TERMINAL}
