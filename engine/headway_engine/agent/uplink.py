"""From frames to engine requests: what arrives in one turn of the loop travels in one request.

Saves and reports are queued here and answered by a callback after the engine's commit; several
requests are under way at once. A request that is not answered is asked again, with jitter, for as
long as the session lasts: every one of them is safe to repeat. The attempt's own engine is asked
first, any other one after a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from headway.wire import Malformed, decode, decoder, encode
from headway.wire.children import ENQUEUED, Child, ChildOutcome, Children
from headway.wire.reports import REPORTED, Report, ReportOutcome, Reports
from headway.wire.rpc import RpcError
from headway.wire.saves import SAVED, AnySave, SaveOutcome, Saves
from headway_engine.agent.port import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway_engine.agent.port import Link

log = logging.getLogger("headway.agent")

_RPC_ERROR = decoder(RpcError)
IN_FLIGHT = 4
"""Requests of one kind to one engine at once; what comes meanwhile makes the next one larger."""
BATCH = 64
"""Items of one request; as for claims."""
BATCH_BYTES = 700_000
"""NATS takes 1 MiB in a message."""
DEAF_FOR = 10.0
"""Seconds in which an engine that did not answer in time is not asked first."""
HOPELESS = frozenset({"malformed", "bad_request", "too_large"})


def jittered(seconds: float) -> float:
    """Spread a pause, so that many agents do not ask at the same moment."""
    return seconds * random.uniform(0.5, 1.5)


class _Item(NamedTuple):
    body: Any
    size: int
    done: Callable[[Any], None]


class _Lane:
    """Requests of one kind to one engine."""

    def __init__(self, uplink: Uplink, verb: str, engine: str) -> None:
        self.uplink, self.verb, self.engine = uplink, verb, engine
        self.waiting: deque[_Item] = deque()
        self.in_flight = 0
        self._scheduled = False

    def put(self, item: _Item) -> None:
        self.waiting.append(item)
        if not self._scheduled and self.in_flight < IN_FLIGHT:
            self._scheduled = True
            self.uplink.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        while self.waiting and self.in_flight < IN_FLIGHT:
            batch: list[_Item] = []
            size = 0
            while self.waiting and len(batch) < BATCH:
                size += self.waiting[0].size
                if batch and size > BATCH_BYTES:
                    break
                batch.append(self.waiting.popleft())
            self.in_flight += 1
            self.uplink.spawn(self._carry(batch))

    async def _carry(self, batch: list[_Item]) -> None:
        try:
            outcomes = await self.uplink.ask(self.verb, self.engine, [i.body for i in batch])
        finally:
            self.in_flight -= 1
            if self.waiting and not self._scheduled:
                self._scheduled = True
                self.uplink.loop.call_soon(self._flush)
        if outcomes is None:
            return  # the session is over: whoever waited is being killed
        for item, outcome in zip(batch, outcomes, strict=True):
            item.done(outcome)


class Uplink:
    """Queues saves and reports of all attempts, under one session."""

    def __init__(
        self,
        link: Link,
        agent: str,
        *,
        timeout: float = 5.0,
        free: Callable[[], tuple[int, int]] = lambda: (0, 0),
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self.link, self.agent, self.timeout = link, agent, timeout
        self.session = 0
        self.opened = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self._free, self._heard = free, heard
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._known: dict[str, float] = {}
        """Engines, and until when (loop time) they count as deaf."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def save(
        self, engine: str, save: AnySave, size: int, done: Callable[[SaveOutcome], None]
    ) -> None:
        """Queue a save; `done` is called once with the engine's word, or never (session over)."""
        self._lane("save", engine).put(_Item(save, size + 300, done))

    def report(
        self, engine: str, report: Report, size: int, done: Callable[[ReportOutcome], None]
    ) -> None:
        """Queue a report; see `save`."""
        self._lane("report", engine).put(_Item(report, size + 300, done))

    def enqueue(
        self, engine: str, child: Child, size: int, done: Callable[[ChildOutcome], None]
    ) -> None:
        """Queue an enqueue of an attempt; see `save`."""
        self._lane("enqueue", engine).put(_Item(child, size + 300, done))

    def knows(self, engine: str) -> None:
        """This engine has answered."""
        self._known[engine] = 0.0

    def _ask_first(self, engine: str) -> str | None:
        """The attempt's own engine; one that is known to answer if that one is deaf; else any."""
        now = self.loop.time()
        if now >= self._known.get(engine, 0.0):
            return engine or None
        return next((e for e, until in self._known.items() if now >= until), None)

    def open(self, session: int) -> None:
        """A session began: what waits goes out under it."""
        self.session = session
        self.opened.set()

    def end_session(self) -> None:
        """The session is over: what is not answered is dropped, what comes waits for the next."""
        self.session = 0
        self.opened.clear()

    def _lane(self, verb: str, engine: str) -> _Lane:
        lane = self._lanes.get((verb, engine))
        if lane is None:
            lane = self._lanes[(verb, engine)] = _Lane(self, verb, engine)
        return lane

    def spawn(self, work: Any) -> None:
        """Run a request beside the others; a failure is logged, never lost. After `close`: none."""
        if self._closed:
            work.close()
            return
        task: asyncio.Task[None] = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a request failed: %r", error, exc_info=error)

    async def ask(self, verb: str, engine: str, bodies: list[Any]) -> list[Any] | None:
        """Carry one batch until it is answered; None when the session ends before."""
        await self.opened.wait()
        session = self.session
        free, shared = self._free()
        if verb == "save":
            body = encode(Saves(self.agent, session, bodies))
            answers: Any = SAVED
        elif verb == "enqueue":
            body, answers = encode(Children(self.agent, session, bodies)), ENQUEUED
        else:
            body = encode(Reports(self.agent, session, bodies, free, shared))
            answers = REPORTED
        pause, target = 0.02, self._ask_first(engine)
        while session == self.session and not self._closed:
            try:
                raw = await self.link.request(verb, body, target, self.timeout)
                self._heard()
                answer = decode(answers, raw)
                if len(answer.outcomes) == len(bodies):
                    return answer.outcomes
                if answer.busy:
                    await asyncio.sleep(jittered(answer.busy))
                    continue
                if (refusal := self._refused(verb, raw, bodies)) is not None:
                    return refusal
            except (NoAnswer, Malformed) as e:
                log.debug("%s: %s", verb, e)
                if target is not None:
                    # It hangs, or is gone: each save would wait for it anew.
                    self._known[target] = self.loop.time() + DEAF_FOR
            target = None  # any engine, from here on
            await asyncio.sleep(jittered(pause))
            pause = min(1.0, pause * 2)
        return None

    def _refused(self, verb: str, raw: bytes, bodies: list[Any]) -> list[Any] | None:
        """An error answer that repeating cannot change, as the outcome of each."""
        with contextlib.suppress(Malformed):
            error = decode(_RPC_ERROR, raw)
            log.warning("%s refused: %s %s", verb, error.rpc_error, error.message)
            if error.rpc_error in HOPELESS:
                if verb == "enqueue":
                    code, why = error.rpc_error, error.message
                    return [ChildOutcome("rejected", code=code, message=why) for _ in bodies]
                kind = SaveOutcome if verb == "save" else ReportOutcome
                return [kind("rejected", message=error.message) for _ in bodies]
        return None

    async def idle(self) -> None:
        """Wait until everything queued is answered."""
        while self._tasks or any(lane.waiting for lane in self._lanes.values()):
            if self._tasks:
                await asyncio.wait(list(self._tasks))
            else:
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Drop what is not answered."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
