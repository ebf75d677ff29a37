"""One attempt as a pipeline: assignment, worker, run frame, started, saves, verdict, report.

Everything here is driven by callbacks of the event loop; nothing is awaited per run or per frame,
except where a body is too large to travel inline.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, cast

from headway.wire import (
    INLINE_LIMIT,
    ErrorInfo,
    flaw_of_body,
)
from headway.wire.frames import (
    Ack,
    Await,
    Checkpoint,
    Enqueue,
    Fail,
    Fetch,
    Finish,
    Log,
    Mark,
    Part,
    Pong,
    RunStarted,
    Spans,
    Usage,
    Wait,
)
from headway.wire.reports import AttemptFailed, GivenBack, Report, ReportOutcome
from headway_engine.agent.attempt import Attempt, Journal
from headway_engine.agent.bodies import BadParts, Carrier
from headway_engine.agent.children import Children
from headway_engine.agent.ending import Ending
from headway_engine.agent.handover import Handover
from headway_engine.agent.output import Outputs
from headway_engine.agent.plans import NotAllowed, Plans
from headway_engine.agent.redact import NO_SECRETS
from headway_engine.agent.saving import Saving
from headway_engine.agent.spans import SpanRelay
from headway_engine.agent.starting import Starting
from headway_engine.agent.stopping import Stopping
from headway_engine.metrics.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from msgspec import Raw

    from headway.wire.rpc import Assignment
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.pool import Pool
    from headway_engine.agent.uplink import Uplink
    from headway_engine.agent.worker import Worker

log = logging.getLogger("headway.agent")

TRIES = 2
"""Workers that an attempt is offered to before it is given back."""


class Attempts:
    """All attempts of one agent: the host of its workers."""

    def __init__(
        self,
        config: AgentConfig,
        uplink: Uplink,
        plans: Plans,
        carrier: Carrier,
        journal: Journal,
        *,
        host: str = "",
        clock: Callable[[], float] = time.monotonic,
        on_room: Callable[[], None] = lambda: None,
        on_start_failed: Callable[[str, str], None] = lambda _run, _why: None,
        on_started: Callable[[], None] = lambda: None,
    ) -> None:
        self.config, self.uplink, self.plans, self.carrier = config, uplink, plans, carrier
        self.journal, self.hostname, self.clock = journal, host, clock
        self.pool: Pool | None = None
        self.frozen = False
        self.live: dict[str, Attempt] = {}
        self.superseded: set[Attempt] = set()
        """Attempts whose run came back under a newer epoch before they were gone."""
        self.run_used = self.shared_used = 0
        self.stopped: dict[tuple[str, int], str] = {}
        """Stops of attempts that are not here (their assignment may still be on its way)."""
        self._on_room, self._on_start_failed, self._on_started = (
            on_room, on_start_failed, on_started,
        )  # fmt: skip
        self._loop = asyncio.get_running_loop()
        self.outputs = Outputs(config, clock, self._publish)
        self.spans = SpanRelay(config, clock, self._publish_spans, NO_SECRETS)
        self.saving, self.stopping = Saving(self), Stopping(self)
        self.starting, self.children = Starting(self), Children(self)
        self.ending = Ending(self)
        self.handover = Handover(carrier, uplink, config.ns, clock)
        self.starts, self.durations = Timing(), Timing()
        """How long attempts took to start, and altogether."""
        self.finished = self.violations = 0
        """Attempts that ended here; runners that were cut off."""

    # --- 1. an assignment becomes an attempt

    def accept(self, assignment: Assignment, engine: str) -> None:
        """A claimed run: find it a worker."""
        self.uplink.knows(engine)
        key = (assignment.run, assignment.epoch)
        if (old := self.live.get(assignment.run)) is not None:
            if old.epoch >= assignment.epoch:
                return  # the answer of a claim was repeated
            # It keeps its slot, and is ended with all means, until it is certainly gone.
            self.superseded.add(self.live.pop(assignment.run))
            self.stopping.stop(old, "stale")
        try:
            plan = self.plans.get(assignment.version, assignment.task)
        except NotAllowed as e:
            error = ErrorInfo("NotAllowed", str(e))
            report = AttemptFailed(*key, "image", error, retry=False)
            self.send(engine, report, 0, lambda _outcome: None)
            return
        attempt = Attempt(assignment, plan, engine, self.clock())
        self.live[attempt.run] = attempt
        if plan.shared:
            self.shared_used += 1
        else:
            self.run_used += 1
        if (why := self.stopped.pop(key, "")) != "":
            attempt.intent = why
            self.ending.conclude(attempt, None)
            return
        self._offer(attempt)

    def _offer(self, attempt: Attempt) -> None:
        assert self.pool is not None
        worker = self.pool.take(attempt.plan)
        attempt.tries += 1
        attempt.worker = worker
        if worker.ready:
            self._dispatch(attempt, worker)
        else:
            worker.waiting.append(attempt)

    def _dispatch(self, attempt: Attempt, worker: Worker) -> None:
        attempt.slot = slot = worker.next_slot
        # Numbers are never used twice: a late line of an ended run is not taken for another's.
        worker.next_slot += 1
        worker.slots[slot] = attempt
        attempt.dispatched_at = self.clock()
        self.journal.begin(attempt, worker)
        self.handover.send(attempt, worker, self._cannot_load)

    def _cannot_load(self, attempt: Attempt, why: str, cause: str) -> None:
        """Its payload, state or marks could not be read: `blob` is final, `away` is an outage."""
        if not self.here(attempt) or attempt.reporting:
            return
        attempt.reporting = True
        key = (attempt.run, attempt.epoch)
        if cause == "blob":
            error = ErrorInfo("BlobDamaged", why)
            report: Report = AttemptFailed(*key, "blob", error, retry=False)
        else:
            report = GivenBack(*key, why, fault="agent" if cause == "away" else "run")
        self.ending.report(attempt, report, 0, None)

    def worker_ready(self, worker: Worker) -> None:
        """Its code is loaded: hand over what waits for it."""
        assert self.pool is not None
        self._on_started()
        waiting, worker.waiting = worker.waiting, []
        if not waiting:
            self.pool.keep(worker)
        for attempt in waiting:
            self._dispatch(attempt, worker)

    # --- 2. frames of a worker

    def worker_frames(self, worker: Worker, frames: list[Any]) -> None:
        """The hot path: each frame to its place."""
        for frame in frames:
            kind = cast("Any", type(frame))
            if kind is RunStarted:
                self.starting.started(worker, frame)
            elif kind is Finish or kind is Fail or kind is Wait:
                self.ending.terminal(worker, frame)
            elif kind is Checkpoint or kind is Mark:
                self.saving.save(worker, frame)
            elif kind is Log:
                self.outputs.add(worker, frame)
            elif kind is Spans:
                self.spans.add(worker, frame)
            elif kind is Usage:
                self.saving.used(worker, frame)
            elif kind is Part:
                try:
                    worker.bodies.add(frame)
                except BadParts as e:
                    self.violation(worker, str(e))
            elif kind is Fetch:
                if (attempt := self.attempt_of(worker, frame.slot, frame.seq)) is not None:
                    self.handover.fetch(attempt, worker, frame)
            elif kind is Pong:
                if worker.ponged(frame.lag_ms):
                    log.warning("%s answers again", worker.name)
            elif kind is Enqueue or kind is Await:
                self.children.take(worker, frame)
            else:
                self.violation(worker, f"frame {kind.__name__} at the wrong time")
            if worker.violation:
                return

    def violation(self, worker: Worker, why: str, attempt: Attempt | None = None) -> None:
        """Somebody broke the channel's rules: cut it off."""
        if attempt is not None:
            attempt.violation = why
        if worker.endpoint is not None:
            worker.endpoint.ban(why)

    @staticmethod
    def flaw_of(body: Raw) -> str:
        """Why a body may not travel with others in one request; empty if it may.

        What our own SDK refuses to send: it would be too large, or nobody could read the request.
        """
        raw = bytes(body)
        if len(raw) > INLINE_LIMIT:
            return "a large body that should have come in parts"
        flaw = flaw_of_body(raw)
        return f"a body that is {flaw}" if flaw else ""

    def attempt_of(self, worker: Worker, slot: int, seq: int = 0) -> Attempt | None:
        """Whose slot it is; a slot that ended is told so, one that never was is a violation."""
        attempt = worker.slots.get(slot)
        if attempt is None:
            if 0 < slot < worker.next_slot:
                worker.send(Ack(slot, seq, "stale_epoch", "this attempt is over"))
            else:
                self.violation(worker, f"slot {slot} was never given")
        return attempt

    def send(
        self, engine: str, report: Report, size: int, done: Callable[[ReportOutcome], None]
    ) -> None:
        """Queue a report."""
        self.uplink.report(engine, report, size, done)

    def here(self, attempt: Attempt) -> bool:
        """Is it not over and told yet?"""
        return self.live.get(attempt.run) is attempt or attempt in self.superseded

    def release(self, attempt: Attempt) -> None:
        """Its slot is free: the report that says its end also says so, and more work may come."""
        if attempt.released:
            return
        attempt.released = True
        if attempt.shared:
            self.shared_used -= 1
        else:
            self.run_used -= 1
        self._on_room()

    def worker_eof(self, worker: Worker) -> None:
        """Its connection ended."""
        if self.pool is not None:
            self.pool.eof(worker)

    def worker_broke_rules(self, worker: Worker, why: str) -> None:
        """It was cut off: its only run, or the one that did it, is charged; it goes."""
        log.warning("%s was cut off: %s", worker.name, why)
        self.violations += 1
        guilty = any(a.violation for a in worker.slots.values())
        for attempt in worker.slots.values():
            if len(worker.slots) == 1:
                attempt.violation = attempt.violation or why
            elif not attempt.violation and (guilty or not attempt.intent):
                attempt.intent = attempt.intent or "recycle"
        if self.pool is not None:
            self.pool.forget_shared(worker)
            self.pool.kill(worker)

    def worker_gone(self, worker: Worker) -> None:
        """Its process is certainly gone: what it leaves is decided now."""
        over, worker.over = worker.over, []
        for run, epoch in over:
            self.ending.confirmed(run, epoch)
        orphans, worker.waiting = [*worker.slots.values(), *worker.waiting], []
        foreign = worker.adopted or worker.load_error or worker.start_error  # no fault of this host
        if orphans and not worker.ready and not foreign:
            self._on_start_failed(orphans[0].run, worker.agent_error or "they end before they load")
        for attempt in orphans:
            if attempt.reporting or not self.here(attempt):
                continue
            again = (
                not attempt.started
                and not attempt.intent
                and not attempt.violation
                and worker.load_error is None
                and not worker.start_error
                and not worker.agent_error
                and not (worker.ended is not None and worker.ended.oom)
                and attempt.tries < TRIES
            )
            if again and self.pool is not None and not self.pool.stopping:
                worker.slots.pop(attempt.slot, None)
                attempt.dispatched_at = attempt.sent_at = 0.0
                self._offer(attempt)
            else:
                self.ending.conclude(attempt, worker)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside."""
        self.uplink.spawn(work)

    def _publish(self, chunks: list[tuple[str, int, bytes]]) -> None:
        self.uplink.spawn(self.uplink.link.publish_logs(chunks))

    def _publish_spans(self, chunks: list[tuple[str, int, bytes]]) -> None:
        self.uplink.spawn(self.uplink.link.publish_spans(chunks))
