"""An engine in miniature for the client's tests: real NATS, runs in a dict.

It pulls INGEST, answers *recorded*, ends runs when told to, and answers `hw.api`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec import Raw, Struct

from headway import bus, pull, subjects
from headway.ids import new_run_id
from headway.wire import BlobRef, ErrorInfo, encode
from headway.wire.api import ApiAnswer, ApiError, Done, Info
from headway.wire.blobs import BlobGet, BlobPart, BlobPut
from headway.wire.enqueue import ENQUEUE, ITEM, Answers, Ended, EnqueueItem, Recorded
from headway.wire.events import Event, RunEvents
from headway.wire.runs import ResultsAnswer, ResultsAsk, RunAsk
from headway.wire.steering import CancelAsk
from headway_engine import streams

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from nats.aio.msg import Msg

    from headway.config import Settings

NS = "default"


class Responder:
    """Answers like the engine. Set the fields to misbehave."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.silent = False
        """Pulls, but says nothing on replies."""
        self.open = asyncio.Event()
        """Cleared: what was enqueued stays in INGEST, as with a store that is down."""
        self.open.set()
        self.end_with: Callable[[EnqueueItem], Ended] | None = None
        """Ends each run right after it is recorded."""
        self.durability = "fsynced"
        self.items: dict[str, EnqueueItem] = {}
        self.replies: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.ended: dict[str, Ended] = {}
        self.events: dict[str, list[Event]] = {}
        self.cancelled: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        """(user, verb) of each api request."""
        self.messages = 0
        self.busy = 0
        """How many api requests are answered `busy` first."""
        self._parts: dict[str, bytes] = {}
        self._queue: asyncio.Queue[list[Msg]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.nc = await bus.connect(self.settings, kind="engine", ident="mini")
        await streams.ensure_streams(self.nc)
        self.loop = pull.PullLoop(
            self.nc,
            subjects.INGEST,
            subjects.INTAKE_CONSUMER,
            want=lambda: 256,
            deliver=self._queue.put_nowait,
        )
        await self.nc.subscribe(subjects.API_ANY, queue=subjects.ENGINE_QUEUE, cb=self._on_api)
        await self.nc.flush()
        self._tasks = [asyncio.create_task(self.loop.run()), asyncio.create_task(self._intake())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.loop.stop()
        await asyncio.wait(self._tasks[:1], timeout=5)
        for t in self._tasks:
            t.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.nc.close()

    async def _intake(self) -> None:
        while True:
            batches = await self._queue.get()
            await self.open.wait()
            for msg in batches:
                self.messages += 1
                batch = ENQUEUE.decode(msg.data)
                said = [self._record(ITEM.decode(i), batch.reply) for i in batch.items]
                if not self.silent:
                    answers = Answers(recorded=said, durability=self.durability)
                    await self.nc.publish(batch.reply, encode(answers))
                await pull.ack(self.nc, [msg])
                if self.end_with is not None:
                    ends = [self.end_with(self.items[r.run]) for r in said if r.run in self.items]
                    await self.end(*ends)

    def _record(self, item: EnqueueItem, reply: str) -> Recorded:
        if "refuse" in item.tags:
            return Recorded(item.run, "rejected", code="bad_payload", reason="$.x: no")
        if item.key:
            winner = self.keys.setdefault(item.key, item.run)
            if winner != item.run and bytes(self.items[winner].payload) != bytes(item.payload):
                reason = f"key {item.key} belongs to {winner}"
                return Recorded(item.run, "rejected", code="key_conflict", reason=reason)
            if winner != item.run:
                return Recorded(item.run, "duplicate", winner=winner)
        self.items[item.run] = item
        self.replies[item.run] = reply
        self.happen(item.run, "queued", target="QUEUED")
        return Recorded(item.run, "recorded")

    def happen(self, run: str, kind: str, target: str = "", epoch: int = 0, **data: Any) -> Event:
        """Note one event of a run."""
        log = self.events.setdefault(run, [])
        event = Event(len(log) + 1, datetime.now(UTC), kind, epoch, target=target, data=data)
        log.append(event)
        return event

    async def publish(self, run: str, *events: Event) -> None:
        """Publish events to RUNS, as the relay does after the commit."""
        body = encode(RunEvents(run, NS, "t", list(events)))
        await bus.publish_acked(self.nc, subjects.run_event(NS, run), body)

    async def end(self, *ended: Ended, push: bool = True) -> None:
        """End runs; with push=False the answer to the caller is lost."""
        for e in ended:
            self.ended[e.run] = e
            last = self.happen(e.run, e.status.lower(), target=e.status.upper())
            await self.publish(e.run, last)
        if not push or self.silent:
            return
        for reply in {self.replies[e.run] for e in ended}:
            mine = [e for e in ended if self.replies[e.run] == reply]
            await self.nc.publish(reply, encode(Answers(ended=mine)))

    async def _on_api(self, msg: Msg) -> None:
        who = subjects.parse_api(msg.subject)
        if not subjects.may_answer(msg.reply, "client", who.user):
            return
        self.asked.append((who.user, who.verb))
        if self.busy:
            self.busy -= 1
            answer = ApiAnswer(error=ApiError("busy", "later"))
        else:
            answer = self._answer(who.verb, msg.data)
        await self.nc.publish(msg.reply, encode(answer))

    def _answer(self, verb: str, body: bytes) -> ApiAnswer:
        data: Any
        if verb == "info":
            data = Info("mini", "0", "postgres", True, self.durability, datetime.now(UTC))
        elif verb == "result":
            data = self._results(msgspec.json.decode(body, type=ResultsAsk).runs)
        elif verb == "events":
            ask = msgspec.json.decode(body, type=RunAsk)
            found = [e for e in self.events.get(ask.run, []) if e.n > ask.after][: ask.n]
            data = found
        elif verb == "cancel":
            ask_cancel = msgspec.json.decode(body, type=CancelAsk)
            self.cancelled.append(ask_cancel.run)
            data = Done(ask_cancel.run, "ok", "cancelled")
        elif verb == "blob-put":
            data = self._put(msgspec.json.decode(body, type=BlobPut))
        elif verb == "blob-get":
            get = msgspec.json.decode(body, type=BlobGet)
            whole = self.blobs[get.key]
            data = BlobPart(whole[get.offset : get.offset + get.length], len(whole))
        elif verb == "run":
            error = ApiError("not_found", "no such run")
            return ApiAnswer(error=error)
        else:
            return ApiAnswer(error=ApiError("not_served", verb))
        return ApiAnswer(data=Raw(msgspec.json.encode(data)))

    def _results(self, runs: list[str]) -> ResultsAnswer:
        ended = [self.ended[r] for r in runs if r in self.ended]
        others = {
            r: "queued" if r in self.items else "unknown" for r in runs if r not in self.ended
        }
        return ResultsAnswer(ended, others)

    def _put(self, part: BlobPut) -> Struct | None:
        body = self._parts[part.upload] = self._parts.get(part.upload, b"") + part.data
        if not part.last:
            return None
        return self.keep(f"{NS}/{part.run}/{part.sha256}", body)

    def keep(self, key: str, body: bytes) -> BlobRef:
        """Put a blob; its reference."""
        self.blobs[key] = body
        return BlobRef(key, len(body), sha256(body).hexdigest())


def item(payload: bytes = b'{"x":1}', **fields: object) -> EnqueueItem:
    """An enqueue of task `t`, with a fresh id."""
    made = EnqueueItem(run=new_run_id(), task="t", payload=Raw(payload))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def succeed(item: EnqueueItem) -> Ended:
    """The run returned its own payload."""
    return Ended(item.run, "succeeded", result=item.payload)


def fail(item: EnqueueItem) -> Ended:
    """The run raised."""
    return Ended(item.run, "failed", error=ErrorInfo("ValueError", "bad", "trace"))
