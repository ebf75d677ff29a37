"""An engine and its NATS in memory, behind the agent's link port: for tests of the agent alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw

from headway import ids
from headway.wire import BlobRef, decode, encode, rpc
from headway.wire.children import (
    CHILDREN,
    CHILDREN_ASK,
    Child,
    ChildEnd,
    ChildOutcome,
    ChildrenEnds,
    Enqueued,
)
from headway.wire.events import LOG_CHUNK, SPAN_CHUNK, LogChunk, SpanChunk
from headway.wire.fleet import TaskSpec
from headway.wire.reports import REPORTS, Reported, ReportOutcome
from headway.wire.saves import SAVES, Saved, SaveOutcome
from headway_engine.agent.port import NoAnswer, WorkItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.wire.enqueue import Ended

T = TypeVar("T")


async def until(look: Callable[[], T | None], seconds: float = 20.0) -> T:
    """Poll a condition until it gives something that is true."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.005)
    return found


class FakeEngine:
    """Decides nothing: gives out assignments, keeps what it is told."""

    def __init__(self, modules: tuple[str, ...] = (), source: str = "") -> None:
        self.version = rpc.VersionInfo("v1", modules=modules, source=source)
        self.specs: dict[str, TaskSpec] = {}
        self.runs: dict[str, rpc.Assignment] = {}
        self.queue: deque[str] = deque()
        self.session = 0
        self.lease, self.beat_every = 15.0, 0.2
        self.stop: list[tuple[str, int, str]] = []
        self.held: list[tuple[str, int]] = []
        self.registered: list[rpc.Register] = []
        self.saves: list[Any] = []
        self.save_requests = self.report_requests = 0
        self.reports: list[Any] = []
        self.blobs: dict[str, bytes] = {}
        self.logs: list[tuple[str, int, LogChunk]] = []
        self.spans: list[tuple[str, int, SpanChunk]] = []
        self.acked: list[str] = []
        self.naked: list[tuple[str, float]] = []
        self.working: list[str] = []
        self.termed: list[tuple[str, str]] = []
        self.claiming = asyncio.Event()
        """Cleared: claims wait for their answer."""
        self.claiming.set()
        self.garbled: dict[str, bytes] = {}
        """Work of these runs has another body."""
        self.down = False
        self.store_down = False
        self.hung: set[str] = set()
        """Engines that take requests and do not answer."""
        self.deaf = 0
        """Beats to come that go to an engine that hangs."""
        self.drain = ""
        self.beats: list[tuple[float, rpc.Beat]] = []
        """When each came."""
        self.beating = asyncio.Event()
        """Cleared: beats wait for their answer."""
        self.beating.set()
        self.lacks = False
        """The store gives more to the agent than any list of it has."""
        self.session_over = False
        self.reporting = asyncio.Event()
        """Cleared: reports wait for their answer."""
        self.reporting.set()
        self.reading = asyncio.Event()
        """Cleared: large bodies wait for their answer."""
        self.reading.set()
        self.loads: deque[Any] = deque()
        """Answers of `load`, one after the other."""
        self.save_outcome: Callable[[Any], str] = lambda _save: "ok"
        self._uploads: dict[str, list[bytes]] = {}
        self.children: dict[str, Child] = {}
        """By id, which is parent and key here."""
        self.child_outcome: Callable[[Child], ChildOutcome] = lambda child: ChildOutcome(
            "ok", f"{child.run}/{child.key}", fresh=True
        )
        self.ended: dict[str, Ended] = {}
        """Children that have ended, by id."""
        self.targets: list[tuple[str, str | None]] = []
        """(verb, engine that it was meant for) of each request."""
        self.asked: list[list[str]] = []
        """What was asked for in each `ends` request."""

    def add(self, task: str, payload: Any, **spec: Any) -> str:
        """A new run of a task, ready to be pulled."""
        run = ids.new_run_id()
        self.specs[task] = TaskSpec(task=task, **spec)
        self.runs[run] = rpc.Assignment(
            run=run,
            epoch=1,
            task=task,
            version=self.version.version,
            attempt=1,
            payload=Raw(msgspec.json.encode(payload)),
            timeout=self.specs[task].timeout,
            spec=self.specs[task],
        )
        self.queue.append(run)
        return run

    def again(self, run: str, **changes: Any) -> None:
        """The next attempt of a run."""
        old = self.runs[run]
        self.runs[run] = msgspec.structs.replace(old, epoch=old.epoch + 1, **changes)
        self.queue.append(run)

    def of(self, run: str, kind: type[T]) -> list[T]:
        """What was reported of a run, of one kind."""
        return [r for r in self.reports if isinstance(r, kind) and r.run == run]  # pyright: ignore[reportAttributeAccessIssue]  # each report has a run

    def answer(self, verb: str, body: bytes) -> Any:
        """The answer to one request."""
        serve = getattr(self, f"_{verb}", None)
        return serve(body) if serve else rpc.RpcError("not_served", f"no rpc {verb!r}")

    def _register(self, body: bytes) -> Any:
        ask = decode(rpc.REGISTER, body)
        self.registered.append(ask)
        if ask.session == 0 or ask.session != self.session:
            self.session += 1
        self.session_over = False
        return rpc.Registered("e1", self.session, self.lease, self.beat_every, kept=ask.holds)

    def _beat(self, body: bytes) -> Any:
        ask = decode(rpc.BEAT, body)
        self.beats.append((asyncio.get_running_loop().time(), ask))
        if ask.holds is not None:
            self.held = ask.holds
        if self.session_over:
            return rpc.Beaten(ok=False, session_over=True)
        return rpc.Beaten(
            ok=not self.store_down, store_down=self.store_down, stop=self.stop,
            want_holds=self.lacks,
            drain=self.drain,
        )  # fmt: skip

    def _claim(self, body: bytes) -> Any:
        ask = decode(rpc.CLAIM, body)
        if self.session_over:
            return rpc.Claimed("e1", session_over=True)
        return rpc.Claimed("e1", [self.runs[r] for r in ask.runs], versions=[self.version])

    def _save(self, body: bytes) -> Any:
        ask = decode(SAVES, body)
        self.save_requests += 1
        self.saves += ask.saves
        return Saved([SaveOutcome(self.save_outcome(s)) for s in ask.saves])

    def _report(self, body: bytes) -> Any:
        ask = decode(REPORTS, body)
        self.report_requests += 1
        self.reports += ask.reports
        return Reported([ReportOutcome("ok") for _ in ask.reports])

    def _enqueue(self, body: bytes) -> Any:
        ask = decode(CHILDREN, body)
        self.children |= {f"{c.run}/{c.key}": c for c in ask.children}
        return Enqueued([self.child_outcome(c) for c in ask.children])

    def _ends(self, body: bytes) -> Any:
        ask = decode(CHILDREN_ASK, body)
        ids = [f"{c.run}/{c.key}" for c in ask.children]
        self.asked.append(ids)
        found = [(i, self.ended.get(i)) for i in ids]
        return ChildrenEnds([ChildEnd(i, e.status if e else "running", e) for i, e in found])

    def _child_get(self, body: bytes) -> Any:
        ask = decode(rpc.GET_PART, body)
        assert ask.child, ask
        return self._blob_get(body)

    def _load(self, body: bytes) -> Any:
        decode(rpc.LOAD, body)
        return self.loads.popleft()

    def _blob_put(self, body: bytes) -> Any:
        ask = decode(rpc.PUT_PART, body)
        parts = self._uploads.setdefault(ask.upload, [])
        parts.append(ask.data)
        if not ask.last:
            return rpc.PutAnswer()
        data = b"".join(self._uploads.pop(ask.upload))
        key = sha256(data).hexdigest()
        assert key == ask.sha256
        self.blobs[key] = data
        return rpc.PutAnswer(ref=BlobRef(key, len(data), key))

    def _blob_get(self, body: bytes) -> Any:
        ask = decode(rpc.GET_PART, body)
        return rpc.GetAnswer(data=self.blobs[ask.key][ask.offset : ask.offset + ask.length])


class FakeLink:
    """The link port onto a FakeEngine; a new one for each agent."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.redelivered = 0
        self.stopped = False
        self._want: Callable[[], int] = lambda: 0
        self._deliver: Callable[[list[WorkItem]], None] = lambda _items: None
        self.ctl: Callable[[bytes], None] = lambda _body: None
        self.reply: Callable[[bytes], None] = lambda _body: None
        self.back: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()

    @property
    def connected(self) -> bool:
        """True unless the engine is set down."""
        return not self.engine.down

    async def start(
        self,
        *,
        queues: Sequence[str],
        want: Callable[[], int],
        deliver: Callable[[list[WorkItem]], None],
        on_ctl: Callable[[bytes], None],
        on_reply: Callable[[bytes], None],
        on_back: Callable[[], None],
    ) -> None:
        """See the port."""
        del queues
        self._want, self._deliver, self.ctl = want, deliver, on_ctl
        self.reply, self.back = on_reply, on_back
        self._tasks.append(asyncio.get_running_loop().create_task(self._pull()))

    async def _pull(self) -> None:
        while not self.stopped:
            self._wake.clear()
            batch: list[WorkItem] = []
            queue = self.engine.queue
            room = 0 if self.engine.down else self._want()
            while queue and len(batch) < room:
                run = queue.popleft()
                spec = self.engine.specs[self.engine.runs[run].task]
                body = encode(rpc.Work(run, spec.isolation == "shared"))
                batch.append(WorkItem(self.engine.garbled.get(run, body), run))
            if batch:
                self._deliver(batch)
            try:
                await asyncio.wait_for(self._wake.wait(), 0.01)
            except TimeoutError:
                continue

    def wake(self) -> None:
        """See the port."""
        self._wake.set()

    async def stop_pulling(self) -> None:
        """See the port."""
        self.stopped = True
        self._wake.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def request(
        self,
        verb: str,
        body: bytes,
        engine: str | None,
        timeout: float,  # noqa: ASYNC109 - of the port
    ) -> bytes:
        """See the port."""
        self.engine.targets.append((verb, engine))
        await asyncio.sleep(0)
        if engine in self.engine.hung:
            await asyncio.sleep(timeout)
            raise NoAnswer("it hangs")
        if verb == "report":
            await self.engine.reporting.wait()
        elif verb == "claim":
            await self.engine.claiming.wait()
        elif verb == "blob_get":
            await self.engine.reading.wait()
        elif verb == "beat" and self.engine.deaf:
            self.engine.deaf -= 1
            await asyncio.sleep(timeout)
            raise NoAnswer("it hangs")
        if self.engine.down:
            raise NoAnswer("down")
        answer = encode(self.engine.answer(verb, body))
        if verb == "beat":
            await self.engine.beating.wait()
        return answer

    async def ack(self, items: Sequence[WorkItem]) -> None:
        """See the port."""
        self.engine.acked += [i.raw for i in items]

    async def working(self, items: Sequence[WorkItem]) -> None:
        """See the port."""
        self.engine.working += [i.raw for i in items]

    async def term(self, items: Sequence[WorkItem], reason: str) -> None:
        """See the port."""
        self.engine.termed += [(i.raw, reason) for i in items]

    async def nak(self, items: Sequence[WorkItem], delay: float) -> None:
        """See the port."""
        self.engine.naked += [(i.raw, delay) for i in items]
        self.engine.queue.extend(i.raw for i in items)

    async def publish_logs(self, chunks: Sequence[tuple[str, int, bytes]]) -> None:
        """See the port."""
        self.engine.logs += [(run, epoch, decode(LOG_CHUNK, body)) for run, epoch, body in chunks]

    async def publish_spans(self, chunks: Sequence[tuple[str, int, bytes]]) -> None:
        """See the port."""
        self.engine.spans += [(run, epoch, decode(SPAN_CHUNK, body)) for run, epoch, body in chunks]

    async def publish_beat(self, body: bytes) -> None:
        """See the port."""

    async def close(self) -> None:
        """See the port."""
        await self.stop_pulling()
