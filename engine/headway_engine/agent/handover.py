"""Hands an assignment to a worker: the run frame, and before it what is too large for a frame."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from headway import faults
from headway.wire import BLOB_PART, BlobRef, Malformed, decode, encode
from headway.wire.frames import Ack, Fetch, Marks, Run
from headway.wire.rpc import LOADED, Load, MarkRecord
from headway_engine.agent.bodies import BlobRefused, Carrier, parts_of
from headway_engine.agent.port import NoAnswer
from headway_engine.agent.uplink import Uplink, jittered

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.rpc import Assignment
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.worker import Worker

MARKS_BYTES = 256 * 1024
"""Marks in one frame, by size of their values."""
PATIENCE = 20.0
"""Seconds in which all of it must be read: sooner than the engine gives up the start (30 s)."""
LOAD_TRIES = 8
LOAD_PAUSE = 0.5
"""Seconds between two of them, and longer each time: about a quarter of a minute in all."""


class Handover:
    """Sends runs, and values of marks that lie in blobs."""

    def __init__(
        self, carrier: Carrier, uplink: Uplink, ns: str, clock: Callable[[], float]
    ) -> None:
        self._carrier, self._uplink, self._ns, self._clock = carrier, uplink, ns, clock
        self._blobs = itertools.count(1)

    def send(
        self, attempt: Attempt, worker: Worker, failed: Callable[[Attempt, str, str], None]
    ) -> None:
        """Send the run at once if all of it is inline; else first read the rest."""
        a = attempt.assignment
        for mark in a.marks:
            if mark.ref is not None:
                attempt.refs[mark.key] = mark.ref
        if a.payload_ref is None and a.state_ref is None and not a.marks_more:
            self._send(attempt, worker, 0, 0, a.marks)
        else:
            self._uplink.spawn(self._send_large(attempt, worker, failed))

    async def _send_large(
        self, attempt: Attempt, worker: Worker, failed: Callable[[Attempt, str, str], None]
    ) -> None:
        a = attempt.assignment
        try:
            async with asyncio.timeout(PATIENCE):
                payload = await self._body(attempt, worker, a.payload_ref)
                state = await self._body(attempt, worker, a.state_ref)
                marks = list(a.marks)
                if a.marks_more:
                    marks += await self._more(attempt, marks[-1].key if marks else "")
        except BlobRefused as e:
            failed(attempt, f"cannot read what the run needs: {e}", e.outcome)
            return
        except (NoAnswer, Malformed, TimeoutError) as e:
            # It is not the run's fault that the blob store or the engines do not answer.
            why = str(e) or "the blob store does not answer"
            failed(attempt, f"cannot read what the run needs: {why}", "away")
            return
        if worker.slots.get(attempt.slot) is attempt:
            self._send(attempt, worker, payload, state, marks)

    async def _body(self, attempt: Attempt, worker: Worker, ref: BlobRef | None) -> int:
        if ref is None:
            return 0
        data = await self._carrier.get(attempt.run, attempt.epoch, attempt.engine, ref)
        return self.parts(worker, data)

    def parts(self, worker: Worker, data: bytes) -> int:
        """Send a body in parts; the number under which a frame may name it."""
        blob = next(self._blobs)
        for part in parts_of(blob, data):
            worker.send(part)
        return blob

    async def _more(self, attempt: Attempt, after: str) -> list[MarkRecord]:
        marks: list[MarkRecord] = []
        tries = 0
        engine: str | None = attempt.engine or None
        while True:
            body = encode(Load(attempt.run, attempt.epoch, after))
            try:
                raw = await self._uplink.link.request("load", body, engine, self._uplink.timeout)
                loaded = decode(LOADED, raw)
            except (NoAnswer, Malformed):  # nobody there, or an engine whose store is away
                tries, engine = tries + 1, None
                if tries >= LOAD_TRIES:
                    raise
                await asyncio.sleep(jittered(LOAD_PAUSE * tries))
                continue
            marks += loaded.marks
            for mark in loaded.marks:
                if mark.ref is not None:
                    attempt.refs[mark.key] = mark.ref
            if not loaded.more or not loaded.marks:
                return marks
            after = loaded.marks[-1].key

    def _send(
        self, attempt: Attempt, worker: Worker, payload: int, state: int, marks: list[MarkRecord]
    ) -> None:
        a, plan = attempt.assignment, attempt.plan
        attempt.sent_at = self._clock()
        pages = _pages(marks)
        worker.send(
            Run(
                slot=attempt.slot,
                run=a.run,
                epoch=a.epoch,
                task=a.task,
                attempt=a.attempt,
                payload=a.payload,
                payload_blob=payload,
                checkpoint=a.checkpoint,
                checkpoint_name=a.checkpoint_name,
                schema=a.schema,
                state=a.state,
                state_blob=state,
                marks=pages[0],
                marks_more=len(pages) > 1,
                root=a.root,
                parent=a.parent,
                timeout=a.timeout,
                deadline_at=a.deadline_at,
                grace=plan.grace,
                suspend_after=plan.suspend_after,
                trace=a.trace,
                max_attempts=a.max_attempts,
                queue=a.queue,
                tags=a.tags,
                created_ms=a.created_ms,
                ns=self._ns,
                unconfirmed=a.unconfirmed,
                budget=a.budget,
            )
        )
        for i, page in enumerate(pages[1:], 2):
            worker.send(Marks(attempt.slot, page, more=i < len(pages)))
        if faults.armed:
            faults.here("agent.run.sent")

    def fetch(self, attempt: Attempt, worker: Worker, frame: Fetch) -> None:
        """The value of a mark that lies in blobs: parts, then the answer that names them."""
        ref = attempt.refs.get(frame.key)
        if ref is None:
            worker.send(Ack(frame.slot, frame.seq, "refused", f"no large value of {frame.key!r}"))
        else:
            self._uplink.spawn(self._fetch(attempt, worker, frame, ref))

    async def _fetch(self, attempt: Attempt, worker: Worker, frame: Fetch, ref: BlobRef) -> None:
        try:
            data = await self._carrier.get(attempt.run, attempt.epoch, attempt.engine, ref)
        except BlobRefused as e:
            worker.send(Ack(frame.slot, frame.seq, e.outcome, str(e)))
            return
        blob = self.parts(worker, data)
        worker.send(Ack(frame.slot, frame.seq, "ok", blob=blob))


def size_of(a: Assignment) -> int:
    """Bytes that travel in parts before its run frame."""
    return sum(ref.size for ref in (a.payload_ref, a.state_ref) if ref is not None)


def _pages(marks: list[MarkRecord]) -> list[list[MarkRecord]]:
    """Marks in frames of a bounded size; at least one, maybe empty."""
    pages: list[list[MarkRecord]] = [[]]
    size = 0
    for mark in marks:
        weight = 600 + len(bytes(mark.value))
        if mark.error is not None:
            weight += len(mark.error.message) + len(mark.error.traceback)
        if pages[-1] and size + weight > min(MARKS_BYTES, BLOB_PART):
            pages.append([])
            size = 0
        pages[-1].append(mark)
        size += weight
    return pages
