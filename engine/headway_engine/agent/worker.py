"""One runner as the agent sees it: process, connection, slots.

A worker is blank until it is given runs. It answers the channel's hand-shake (hello, environment,
ready) itself; everything about runs goes to its host, `headway_engine.agent.attempt`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

from headway.wire.frames import (
    WINDOW,
    Ack,
    Env,
    Freeze,
    Hello,
    LoadFailed,
    Log,
    Ping,
    Pong,
    Ready,
    ToRunner,
)
from headway_engine.agent.bodies import Assembly

if TYPE_CHECKING:
    from headway.wire import ErrorInfo
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.conns import Conn, Endpoint
    from headway_engine.agent.plans import Plan
    from headway_engine.agent.redact import Redactor
    from headway_engine.agent.verdict import Ended
    from headway_engine.runtime import Handle

ANSWERS = 1024
"""Answers kept for frames that a runner may send again after a redial."""


AWAITED = 20_000
"""Children that one run may await at once; each is a little memory of this agent."""


class Host(Protocol):
    """Who gives a worker runs and hears of them."""

    frozen: bool

    def worker_ready(self, worker: Worker) -> None:
        """Its code is loaded."""
        ...

    def worker_frames(self, worker: Worker, frames: list[Any]) -> None:
        """Frames about its runs, in order."""
        ...

    def worker_eof(self, worker: Worker) -> None:
        """Its connection ended: look whether it lives."""
        ...

    def worker_broke_rules(self, worker: Worker, why: str) -> None:
        """It was cut off and has to go."""
        ...


class Worker:
    """A container or process that runs one attempt, or many (`shared`)."""

    def __init__(self, host: Host, plan: Plan, name: str, now: float) -> None:
        self.host, self.plan, self.name, self.born = host, plan, name, now
        self.handle: Handle | None = None
        self.endpoint: Endpoint | None = None
        self.conn: Conn | None = None
        self.ready = False
        self.gone = False
        self.adopted = False
        self.cold = True
        """A run waits for its start."""
        self.env: dict[str, str] = {}
        self.redactor: Redactor | None = None
        self.orphan_after = 300.0
        self.log_rate, self.log_burst = 262_144, 524_288
        self.capacity = 1
        self.load_error: ErrorInfo | None = None
        self.start_error = ""
        self.agent_error = ""
        self.violation = ""
        self.slots: dict[int, Attempt] = {}
        self.waiting: list[Attempt] = []
        self.over: list[tuple[str, int]] = []
        """(run, epoch) of attempts that were fenced while they ran here: to be confirmed dead."""
        self.next_slot = 1
        self.hello_slots: list[tuple[int, str, int]] = []
        self.pending: set[int] = set()
        """Requests without an answer, those that await a child left out."""
        self.awaiting: set[int] = set()
        self.answered: OrderedDict[int, Ack] = OrderedDict()
        self.bodies = Assembly()
        self.exited = asyncio.Event()
        self.settled = asyncio.Event()
        """Ready, or certainly never."""
        self.ended: Ended | None = None
        self.examined = False
        self.lag_ms = 0.0
        self.pinged_at: float | None = None
        """Monotonic seconds of the oldest ping without an answer."""
        self.silent = False
        self.oom = False
        """A process of it was killed for memory; it may have been a child of the task."""

    @property
    def idle(self) -> bool:
        """Has it no run?"""
        return not self.slots and not self.waiting

    def send(self, frame: ToRunner) -> None:
        """Queue a frame; lost while it is not connected (it asks again after a redial)."""
        if self.conn is not None:
            self.conn.send(frame)

    def answer(self, ack: Ack) -> None:
        """Acknowledge a durable frame, and keep the answer for its repetition."""
        self.pending.discard(ack.seq)
        self.awaiting.discard(ack.seq)
        self.answered[ack.seq] = ack
        if len(self.answered) > ANSWERS:
            self.answered.popitem(last=False)
        self.send(ack)

    def ping(self, now: float, limit: float) -> bool:
        """Ask for a sign of life; True once, when none has come for `limit` seconds."""
        if self.pinged_at is None:
            self.pinged_at = now
        self.send(Ping())
        if self.silent or now - self.pinged_at < limit:
            return False
        self.silent = True
        return True

    def ponged(self, lag_ms: float) -> bool:
        """The answer; True if it was overdue."""
        self.lag_ms, self.pinged_at = lag_ms, None
        was, self.silent = self.silent, False
        return was

    def seen(self, seq: int, *, awaits: bool = False) -> bool:
        """True if this frame came before: then it is answered again, or its answer will come.

        Also if it is one too many: then the worker was cut off.
        """
        if (ack := self.answered.get(seq)) is not None:
            self.send(ack)
            return True
        if seq in self.pending or seq in self.awaiting:
            return True
        if awaits:
            self.awaiting.add(seq)
            if len(self.awaiting) > AWAITED * self.capacity and self.endpoint is not None:
                self.endpoint.ban("it awaits more children than anybody has")
                return True
            return False
        self.pending.add(seq)
        if len(self.pending) > 2 * WINDOW * self.capacity and self.endpoint is not None:
            # Our runner keeps to half of it: memory of this agent is not for others to fill.
            self.endpoint.ban("it sends requests without waiting for their answers")
            return True
        return False

    # --- Peer: called by the endpoint

    def opened(self, conn: Conn, hello: Hello) -> None:
        """Dialled: a new one gets its environment, one that runs goes on."""
        self.conn, self.pinged_at = conn, None
        if self.adopted and not self.ready:
            self.hello_slots = hello.slots
            self.ready = True
            self.settled.set()
        elif not self.ready:
            conn.send(
                Env(
                    vars=self.env,
                    modules=self.plan.modules,
                    source=self.plan.source_seen,
                    shared=self.plan.shared,
                    log_rate=self.log_rate,
                    log_burst=self.log_burst,
                    orphan_after=self.orphan_after,
                    slots=self.capacity,
                )
            )
        if self.host.frozen:
            conn.send(Freeze(on=True))

    def arrived(self, frames: list[Any]) -> None:
        """Hand-shake here, the rest to the host."""
        if self.ready:
            frames = [f for f in frames if type(f) is not Ready]  # repeated after a redial
            if not frames:
                return
            self.host.worker_frames(self, frames)
            return
        for i, frame in enumerate(frames):
            if isinstance(frame, Ready):
                self.ready = True
                self.settled.set()
                self.host.worker_ready(self)
                if frames[i + 1 :]:
                    self.arrived(frames[i + 1 :])
                return
            if isinstance(frame, LoadFailed):
                self.load_error = frame.error
                self.settled.set()
            elif not isinstance(frame, Log | Pong) and self.endpoint is not None:
                self.endpoint.ban(f"a frame {type(frame).__name__} before its code was loaded")
                return

    def closed(self) -> None:
        """EOF: it died, or will dial again."""
        self.conn = None
        self.bodies.clear()  # parts that were under way come again
        self.settled.set()
        self.host.worker_eof(self)

    def violated(self, why: str) -> None:
        """The endpoint cut it off."""
        self.conn = None
        self.violation = why
        self.settled.set()
        self.host.worker_broke_rules(self, why)
