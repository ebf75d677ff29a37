"""Takes enqueue requests off INGEST: check, commit, answer *recorded*, ack; in batches.

The JetStream message is acked only after the commit, so a crash anywhere means one more delivery,
which the store recognises by the run ids (DECISIONS C). While the store is down messages stay in
INGEST, and callers keep their *accepted*.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from headway import faults, subjects
from headway.ids import is_run_id
from headway.natspy import nats_errors
from headway.pull import LateAcks, PullLoop, delivery_of, nak, term, working
from headway.wire import Malformed, decode, encode
from headway.wire.enqueue import ENQUEUE, ITEM, Answers, EnqueueItem, Recorded
from headway_engine.blobs import BlobsDown
from headway_engine.checks import Unfit
from headway_engine.clock import on_grid
from headway_engine.counters import Counters
from headway_engine.declared import INTAKE_ACK_WAIT
from headway_engine.recorder import Specs
from headway_engine.service import STORE_PAUSE, Health, Service
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.msg import Msg

    from headway.bus import Connection
    from headway_engine.post import Post
    from headway_engine.recorder import Recorder
    from headway_engine.relay import Relay
    from headway_engine.store import Store
    from headway_engine.store.records import NewRun

log = logging.getLogger("headway.engine")

BATCH_ITEMS = 1000
"""Runs that go into one commit, about."""
HOLD = 20.0
"""Seconds that messages are held while the store is down; then another engine may have them."""
MARK_EVERY = INTAKE_ACK_WAIT / 4
"""Seconds between two marks that messages are held, or the server would deliver them again."""


class _Head(msgspec.Struct):
    run: str = ""


_HEAD = msgspec.json.Decoder(_Head)


class _Job:
    """One INGEST message on its way."""

    __slots__ = ("again", "at", "items", "msg", "ns", "reply", "want_result")

    def __init__(
        self,
        msg: Msg,
        ns: str,
        at: datetime,
        items: list[msgspec.Raw],
        reply: str,
        want_result: bool,
        again: bool,
    ) -> None:
        self.msg, self.ns, self.at, self.items = msg, ns, at, items
        self.reply, self.want_result, self.again = reply, want_result, again


class Intake(Service):
    """Pulls INGEST and records runs; `lanes` batches are at work at once."""

    name = "intake"

    def __init__(
        self,
        nc: Connection,
        store: Store,
        recorder: Recorder,
        relay: Relay,
        answers: Post,
        health: Health,
        *,
        now: Callable[[], datetime],
        durability: Callable[[], str],
        repair: Callable[[], Awaitable[None]],
        batch: int = 256,
        lanes: int = 2,
        counters: Counters | None = None,
    ) -> None:
        """Wire it up.

        `now`: the store's clock, about; `repair`: make stream and consumer again.
        """
        super().__init__()
        self._nc, self._store, self._recorder = nc, store, recorder
        self._relay, self._answers = relay, answers
        self._health, self._now, self._durability = health, now, durability
        self._batch, self._lanes = batch, lanes
        self._counters = counters if counters is not None else Counters()
        self._waiting: deque[tuple[Msg, float]] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._recording: list[tuple[list[_Job], float]] = []
        """What lanes have in their hands, and when it arrived."""
        self._loop = asyncio.get_running_loop()
        self._down = False
        self._acks = LateAcks(nc)
        self.pull = PullLoop(
            nc,
            subjects.INGEST,
            subjects.INTAKE_CONSUMER,
            want=self._want,
            deliver=self._deliver,
            repair=repair,
        )
        self.recorded = self.rejected = self.malformed = 0
        self.pulled = 0
        """Messages that were delivered here."""

    @property
    def holds(self) -> bool:
        """The store is away: nothing more is pulled."""
        return self._down

    # --- pulling

    def _want(self) -> int:
        return 0 if self._down or self.stopping.is_set() else 2 * self._batch - len(self._waiting)

    def _deliver(self, messages: list[Msg]) -> None:
        now = self._loop.time()
        self.pulled += len(messages)
        self._waiting.extend((m, now) for m in messages)
        self._rouse()

    def wake(self) -> None:
        """Look for messages."""
        self.pull.wake()
        self._rouse_all()

    def _rouse(self) -> None:
        """Have one lane look: another one would find nothing, and cost as much."""
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _rouse_all(self) -> None:
        while self._idle:
            self._rouse()

    async def run(self) -> None:
        """Pull and record until stopped; what was pulled and not recorded goes back."""
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(self.pull.run())
            marking = group.create_task(self._mark())
            lanes = [group.create_task(self._lane()) for _ in range(self._lanes)]
            await self.stopping.wait()
            self.pull.stop()
            await pulling
            self._rouse_all()
            await asyncio.wait(lanes)
            marking.cancel()
        await self._acks.flush()
        await nak(self._nc, [m for m, _ in self._waiting])

    async def _lane(self) -> None:
        while True:
            if not self._waiting:
                if self.stopping.is_set():
                    return
                turn: asyncio.Future[None] = self._loop.create_future()
                self._idle.append(turn)
                await turn
                continue
            since = self._waiting[0][1]
            jobs, used = await self._take()
            if self._waiting:
                self._rouse()
            if jobs:
                held = jobs, since
                self._recording.append(held)
                try:
                    await self._record(jobs, since)
                finally:
                    self._recording.remove(held)
            if used:
                self.pull.wake()
            self.passed.fire()

    async def _mark(self) -> None:
        """What waits for the store, or for its turn, shall not be delivered to others meanwhile."""
        while True:
            await asyncio.sleep(on_grid(self._loop.time(), MARK_EVERY))
            now = self._loop.time()
            # A lane that hangs must not keep them for ever.
            first, last = now - 2 * HOLD, now - MARK_EVERY / 2
            held = [m for m, at in self._waiting if first < at <= last]
            held += [j.msg for jobs, at in self._recording if first < at <= last for j in jobs]
            if held:
                with contextlib.suppress(nats_errors.Error):  # NATS is away: they come again
                    await working(self._nc, held)

    async def _take(self) -> tuple[list[_Job], int]:
        """Decode messages until a commit is full; what cannot be decoded is terminated."""
        jobs: list[_Job] = []
        items = used = 0
        while self._waiting and items < BATCH_ITEMS and used < self._batch:
            msg, _ = self._waiting.popleft()
            used += 1
            try:
                job = _open(msg)
            except Malformed as e:
                self.malformed += 1
                log.warning(
                    "INGEST message refused: subject=%s bytes=%d why=%s",
                    msg.subject,
                    len(msg.data),
                    e,
                )
                await term(self._nc, [msg], str(e))
                continue
            jobs.append(job)
            self._counters["redelivered"] += job.again
            items += len(job.items)
        return jobs, used

    # --- recording

    async def _record(self, jobs: list[_Job], since: float) -> None:
        """Commit, answer and ack; keeps trying while the store is down, then gives back."""
        while True:
            try:
                by_ns: dict[str, list[_Job]] = {}
                for job in jobs:
                    by_ns.setdefault(job.ns, []).append(job)
                for ns, those in by_ns.items():
                    await self._record_ns(ns, those)
                break
            except (StoreDown, BlobsDown) as e:
                self._health.bad(str(e))
                if not self._down:
                    log.warning("intake waits: messages=%d store_down=%s", len(jobs), e)
                self._down = True
                if self._loop.time() - since > HOLD or self.stopping.is_set():
                    await nak(self._nc, [j.msg for j in jobs], 1.0)
                    await self._until_back()
                    return
                await asyncio.sleep(STORE_PAUSE)
        self._health.good()
        if self._down:
            self._down = False
            self.pull.wake()
        if faults.armed:
            await faults.point("engine.intake.answered")
        self._acks.put(j.msg for j in jobs)

    async def _until_back(self) -> None:
        """Pull nothing until the store answers."""
        while not self.stopping.is_set():
            try:
                await self._store.now()
            except StoreDown:
                await asyncio.sleep(STORE_PAUSE)
            else:
                break
        self._down = False
        self.pull.wake()

    async def _record_ns(self, ns: str, jobs: list[_Job]) -> None:
        if faults.armed:
            await faults.point("engine.intake.received")
        now = self._now()
        specs = Specs()
        fresh: list[NewRun] = []
        replies: list[tuple[str, bool]] = []
        answers: dict[str, list[Recorded]] = {}
        for job in jobs:
            base = min(job.at, now)
            for raw in job.items:
                try:
                    new = await self._new_run(ns, job, raw, base, specs)
                except Unfit as e:
                    await self._refuse(ns, job.reply, raw, e, answers)
                    continue
                fresh.append(new)
                replies.append((job.reply, job.want_result))
        if fresh:
            await self._commit(ns, fresh, replies, answers)
        self._answer(answers)

    async def _commit(
        self,
        ns: str,
        fresh: list[NewRun],
        replies: list[tuple[str, bool]],
        answers: dict[str, list[Recorded]],
    ) -> None:
        outcomes = await self._recorder.commit(ns, fresh)
        self._counters.enqueued(outcomes)
        if faults.armed:
            await faults.point("engine.intake.committed")
        ended: list[tuple[str, str, str]] = []
        for out, (reply, want_result) in zip(outcomes, replies, strict=True):
            word = out.outcome
            if word == "rejected":
                self.rejected += 1
            else:
                self.recorded += 1
                if word == "again":
                    word = "recorded"
                if out.ended and want_result and reply:
                    ended.append((reply, out.run, out.winner or out.run))
            if reply:
                answers.setdefault(reply, []).append(
                    Recorded(out.run, word, out.winner, out.code, out.reason)  # pyright: ignore[reportArgumentType]  # one of the store's words
                )
        if ended:
            ends = (await self._store.ends(ns, [winner for _, _, winner in ended])).ended
            by_run = {end.run: end for end in ends}
            self._relay.ended([(r, by_run[w]) for r, _, w in ended if w in by_run])

    async def _new_run(
        self,
        ns: str,
        job: _Job,
        raw: msgspec.Raw,
        base: datetime,
        specs: Specs,
    ) -> NewRun:
        try:
            item: EnqueueItem = decode(ITEM, memoryview(raw))
        except Malformed as e:
            raise Unfit("malformed", str(e)) from None
        reply = job.reply if job.want_result else ""
        return await self._recorder.prepare(ns, item, job.at, base, reply, specs)

    # --- answering

    async def _refuse(
        self, ns: str, reply: str, raw: msgspec.Raw, why: Unfit, answers: dict[str, list[Recorded]]
    ) -> None:
        """A refused item fails alone: its reason is kept and told."""
        self.rejected += 1
        try:
            run = _HEAD.decode(memoryview(raw)).run
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            run = ""
        if not is_run_id(run):
            log.info("enqueue refused: ns=%s run=? code=%s why=%s", ns, why.code, why)
            return
        await self._store.reject(ns, run, why.code, str(why))
        if reply:
            answers.setdefault(reply, []).append(
                Recorded(run, "rejected", code=why.code, reason=str(why)[:2000])
            )

    def _answer(self, answers: dict[str, list[Recorded]]) -> None:
        """One publish per client's reply subject and batch (below the size of a message)."""
        durability = self._durability()
        letters: list[tuple[str, bytes]] = []
        for reply, words in answers.items():
            for i in range(0, len(words), 2000):
                body = encode(Answers(recorded=words[i : i + 2000], durability=durability))
                letters.append((reply, body))
        if letters:
            self._answers.send(letters)


def _open(msg: Msg) -> _Job:
    """Decode one message; raises Malformed."""
    batch = decode(ENQUEUE, msg.data)
    ns = msg.subject.split(".", 2)[2]
    if not subjects.is_name(ns):
        raise Malformed(f"bad namespace {ns[:80]!r}")
    if batch.reply and not subjects.is_reply(batch.reply):
        raise Malformed("reply: only hw.reply.<client>.<token> is answered")
    if batch.reply and batch.client and batch.reply.split(".")[2] != batch.client:
        raise Malformed("reply: it belongs to another client")
    delivery = delivery_of(msg)
    at = datetime.fromtimestamp(delivery.time_ns / 1e9, UTC)
    again = delivery.delivered > 1
    return _Job(msg, ns, at, batch.items, batch.reply, batch.want == "result", again)
