"""The state machine of a run, with no I/O: `decide(run, happening, now) -> Transition`.

Both stores carry out transitions; none decides by itself. `now` is the store's clock. Every rule
about epochs, retries, losses and cancels is in this file.

Epoch rule (DECISIONS, RELIABILITY 4.1): a claim, a lost lease, a completed cancel, a deadline and
the move to REVIEW raise the epoch, so that whatever the older attempt still writes is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from headway.retry import backoff
from headway.states import LIVE, MOVES, OPEN, SAVEABLE, TERMINAL, RunState
from headway.wire import ErrorInfo
from headway.wire.events import Event
from headway.wire.rpc import MarkRecord
from headway_engine.happenings import (
    Cancel,
    Claim,
    Due,
    Failed,
    Finished,
    GivenBack,
    Happening,
    Lost,
    Overdue,
    Resume,
    Started,
    Stopped,
    Suspended,
    VersionMissing,
)
from headway_engine.store.records import End, MarkWrite, Run, Stop, Transition

if TYPE_CHECKING:
    from collections.abc import Callable

S = RunState

MAX_LOST = 5
"""Losses since the last new checkpoint that send a run to REVIEW (DECISIONS B4)."""
MAX_UNSTARTED = 3
"""Claims in a row that never started, on at least two agents: FAILED, poison."""
MAX_UNSTARTED_ALONE = 6
"""The same on one agent only: REVIEW, since the agent may be at fault."""
START_DEADLINE = timedelta(seconds=30)
"""STARTING longer than this is given back (DECISIONS B3)."""
TIMEOUT_SLACK = timedelta(seconds=30)
"""The engine's backstop waits this much longer than the agent's own timer and grace."""
RETRYABLE = frozenset({"error", "crash", "oom", "timeout"})
"""Causes that the retry policy may answer; every other cause is final or asks a person."""
KEY_FREED = frozenset({S.FAILED, S.TIMED_OUT, S.EXPIRED})
"""States that free the idempotency key, unless the caller said keep (DECISIONS C3)."""


def refuse(message: str, outcome: str = "refused") -> Transition:
    """Nothing changes."""
    return Transition(outcome=outcome, message=message)


ALREADY = Transition(outcome="already")
STALE = Transition(outcome="stale_epoch", message="a newer attempt exists, or the run has moved on")


class _Move:
    """Builds one transition: a copy of the run, its events numbered from n + 1."""

    __slots__ = ("at", "events", "extra", "run", "source")

    def __init__(self, run: Run, at: datetime) -> None:
        self.run = msgspec.structs.replace(run)
        self.source = run.state
        self.at = at
        self.events: list[Event] = []
        self.extra: dict[str, Any] = {}

    def event(
        self,
        kind: str,
        *,
        epoch: int | None = None,
        actor: str = "engine",
        to: RunState | None = None,
        **data: Any,
    ) -> None:
        run = self.run
        run.n += 1
        event = Event(run.n, self.at, kind, run.epoch if epoch is None else epoch, actor=actor)
        if to is not None:
            if to not in MOVES[run.state]:
                raise AssertionError(f"illegal move {run.state} -> {to}")
            event.source, event.target = run.state.value, to.value
            run.state = to
            if to in TERMINAL:
                self._end(to)
        if data:
            event.data = {k: v for k, v in data.items() if v not in ("", None, False)}
        self.events.append(event)

    def _end(self, to: RunState) -> None:
        run = self.run
        run.ended_at = self.at
        run.due_at = run.ttl_at = run.deadline_at = None
        if to in KEY_FREED and run.key and not run.keep_key:
            self.extra["free_key"] = True

    def fence(self) -> None:
        """The open attempt, if any, may write no more."""
        self.run.epoch += 1

    def stop(self, why: str, epoch: int) -> None:
        if self.run.agent:
            self.extra["stop"] = Stop(self.run.agent, epoch, why)

    def end(self, end: End) -> None:
        self.extra["end"] = end

    def done(self) -> Transition:
        return Transition(run=self.run, events=self.events, **self.extra)


def _error(error: ErrorInfo) -> dict[str, Any]:
    return {"type": error.type, "message": error.message[:2000]}


def create(run: Run, now: datetime, due_at: datetime | None) -> Transition:
    """A new run: QUEUED, or DELAYED until `due_at`. `run.state` is ignored."""
    new = msgspec.structs.replace(run, n=1)
    if due_at is not None and due_at > now:
        new.state, new.due_at = S.DELAYED, due_at
        event = Event(1, now, "delayed", target="DELAYED", data={"due_at": due_at})
    else:
        new.state, new.due_at = S.QUEUED, None
        event = Event(1, now, "queued", target="QUEUED")
    return Transition(run=new, events=[event])


def decide(run: Run, happening: Happening, now: datetime) -> Transition:
    """What `happening` does to `run` at `now`: a transition, a repeat, or a refusal."""
    return _RULES[type(happening)](run, happening, now)


# --- timers


def _due(run: Run, h: Due, now: datetime) -> Transition:
    if run.state not in (S.DELAYED, S.RETRYING, S.WAITING):
        return ALREADY
    if run.due_at is None or run.due_at > now:
        return refuse("not due yet")  # P6: never early
    m = _Move(run, now)
    m.run.resumed = run.state is not S.DELAYED
    m.event("queued", to=S.QUEUED, why=f"{run.state.status}: due", due_at=run.due_at)
    m.run.due_at = None
    return m.done()


def _overdue(run: Run, h: Overdue, now: datetime) -> Transition:
    if run.deadline_at is not None and run.deadline_at <= now and run.state in LIVE:
        if run.state is S.CANCELLING:
            return ALREADY
        return _deadline(run, now)
    never = run.started_at is None and run.state in (S.QUEUED, S.DELAYED)
    if never and run.ttl_at is not None and run.ttl_at <= now:
        m = _Move(run, now)
        m.event("expired", to=S.EXPIRED, why="not started within its TTL")
        m.end(End(error=ErrorInfo("Expired", "not started within its TTL")))
        return m.done()
    if run.state is S.STARTING and run.claimed_at and run.claimed_at + START_DEADLINE <= now:
        return _given_back(run, GivenBack(run.epoch, "not started within 30 s", "run"), now)
    if run.state is S.RUNNING and run.attempt_at is not None:
        limit = run.attempt_at + timedelta(seconds=run.timeout) + TIMEOUT_SLACK
        if limit <= now:
            error = ErrorInfo("TimeoutError", f"no end within {run.timeout:g} s")
            t = _failed(run, Failed(run.epoch, "timeout", error), now)
            if t.run is not None:
                t.run.epoch += 1
                t.stop = Stop(run.agent, run.epoch, "timeout")
            return t
    return ALREADY


def _deadline(run: Run, now: datetime) -> Transition:
    m = _Move(run, now)
    started = run.started_at is not None
    to = S.TIMED_OUT if started or run.state not in (S.QUEUED, S.DELAYED) else S.EXPIRED
    why = "the run's deadline passed"
    if run.state in OPEN:
        m.stop("timeout", run.epoch)
        m.fence()
    m.event("timed_out" if to is S.TIMED_OUT else "expired", to=to, why=why)
    m.run.reason = "deadline"
    m.end(End(error=ErrorInfo("DeadlineExceeded", why)))
    return m.done()


# --- the path of an attempt


def _claim(run: Run, h: Claim, now: datetime) -> Transition:
    if run.state is S.STARTING and run.nonce == h.nonce and run.agent == h.agent:
        return ALREADY  # the answer was lost: same nonce, same answer
    if run.state is not S.QUEUED:
        return refuse(f"the run is {run.state.status}")
    m = _Move(run, now)
    m.fence()
    r = m.run
    r.agent, r.session, r.nonce = h.agent, h.session, h.nonce
    r.version = run.version or h.version
    r.claimed_at, r.attempt_at = now, None
    m.event(
        "starting",
        to=S.STARTING,
        actor=f"agent:{h.agent}",
        agent=h.agent,
        version=r.version,
        attempt=run.failures + 1,
    )
    return m.done()


def _started(run: Run, h: Started, now: datetime) -> Transition:
    if h.epoch != run.epoch:
        return STALE
    if run.state is S.RUNNING:
        return ALREADY
    if run.state is not S.STARTING:
        return ALREADY if run.state is S.CANCELLING else STALE
    m = _Move(run, now)
    _start(m, h)
    return m.done()


def _start(m: _Move, h: Started | None = None) -> None:
    """STARTING to RUNNING; also when a later report implies it."""
    run = m.run
    run.unstarted, run.unstarted_agents = 0, ()
    run.attempt_at = m.at
    run.started_at = run.started_at or m.at
    run.ttl_at = None
    data: dict[str, Any] = {"agent": run.agent}
    if h is not None:
        data |= {
            "container": h.container,
            "host": h.host,
            "cold": h.cold,
            "pool_wait_ms": h.pool_wait_ms or None,
            "resumed_from": h.resumed_from or None,
        }
    m.event("started", to=S.RUNNING, actor=f"agent:{run.agent}", **data)


def _open(run: Run, epoch: int) -> Transition | None:
    """None if the attempt may report its end; else why not. Repeats of the same epoch are fine."""
    if epoch != run.epoch:
        return STALE
    if run.state not in OPEN:
        return ALREADY  # its own report was committed, the answer was lost
    return None


def _cancelled(run: Run, now: datetime, *, dead: bool = True) -> Transition:
    """The attempt of a CANCELLING run is over, whatever it reported (P7)."""
    m = _Move(run, now)
    m.fence()
    m.event("cancelled", to=S.CANCELLED, epoch=run.epoch, confirmed_dead=dead)
    m.end(End(error=ErrorInfo("Cancelled", run.reason or "cancelled")))
    return m.done()


def _finished(run: Run, h: Finished, now: datetime) -> Transition:
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now)
    m = _Move(run, now)
    if run.state is S.STARTING:
        _start(m)
    unknown = [mark for mark in run.marks if mark.status != "failed"]
    if unknown:
        # A once block without its done mark: whether it happened is not known (I10). A failed one
        # raised in the task's own process, which dealt with the exception and returned.
        mark = unknown[0]
        return _review(
            m, "once", f"once({mark.key!r}) is open at the end", key=mark.key, token=mark.token
        )
    m.event("succeeded", to=S.SUCCEEDED, actor=f"agent:{run.agent}", size=h.size, warning=h.warning)
    m.end(End(result=h.result, ref=h.ref, size=h.size))
    return m.done()


def _review(m: _Move, reason: str, why: str, **data: Any) -> Transition:
    epoch = m.run.epoch
    m.fence()
    m.run.reason = reason
    m.event("review", to=S.REVIEW, epoch=epoch, reason=reason, why=why, **data)
    return m.done()


def _failed(run: Run, h: Failed, now: datetime) -> Transition:
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now)
    m = _Move(run, now)
    actor = f"agent:{run.agent}"
    if run.state is S.STARTING and h.cause != "image":
        _start(m)
    m.run.resumed = True
    if h.cause == "ambiguous":
        return _review(m, "once", h.error.message, key=h.key, token=h.token)
    if h.cause == "state":
        return _review(m, "state", h.error.message, error=_error(h.error))
    m.run.failures += 1
    facts: dict[str, Any] = {
        "error": _error(h.error),
        "cause": h.cause,
        "evidence": h.evidence,
        "exit_code": h.exit_code,
        "attempt": m.run.failures,
        "max_attempts": run.policy.max_attempts,
    }
    again = h.retry and h.cause in RETRYABLE
    again = again and (h.cause != "oom" or run.policy.oom)
    again = again and (h.cause != "timeout" or run.policy.timeout)
    if again and m.run.failures < run.policy.max_attempts:
        delay = (
            h.retry_in if h.retry_in is not None else backoff(run.policy, m.run.failures, h.random)
        )
        due = now + timedelta(seconds=delay)
        if h.retry_at is not None:
            due = max(now, h.retry_at)
        m.run.due_at = due
        m.event("retrying", to=S.RETRYING, actor=actor, due_at=due, **facts)
        return m.done()
    m.run.reason = h.cause
    if h.cause == "timeout":
        m.event("timed_out", to=S.TIMED_OUT, actor=actor, **facts)
    else:
        m.event("failed", to=S.FAILED, actor=actor, **facts)
    m.end(End(error=h.error))
    return m.done()


def _lost(run: Run, h: Lost, now: datetime) -> Transition:
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now, dead=h.dead)
    if run.state is S.STARTING:
        return _given_back(run, GivenBack(h.epoch, h.why, "run"), now, kind="lost")
    m = _Move(run, now)
    m.fence()  # first the fence, then the queue (RELIABILITY 4.4)
    r = m.run
    r.lost = 1 if run.ck > run.lost_ck else run.lost + 1
    r.lost_ck, r.resumed = run.ck, True
    if not h.dead:
        r.unconfirmed = (*run.unconfirmed, run.epoch)
    if r.lost > MAX_LOST:
        m.event("lost", epoch=run.epoch, why=h.why, evidence=h.evidence)
        m.run.reason = "lost"
        m.event(
            "review",
            to=S.REVIEW,
            epoch=run.epoch,
            reason="lost",
            why=f"lost {r.lost} times since checkpoint {run.ck}",
        )
        return m.done()
    m.event(
        "lost",
        to=S.QUEUED,
        epoch=run.epoch,
        why=h.why,
        evidence=h.evidence,
        checkpoint=run.ck or None,
        confirmed_dead=h.dead,
    )
    return m.done()


def _given_back(run: Run, h: GivenBack, now: datetime, kind: str = "given_back") -> Transition:
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now)
    if run.state is not S.STARTING:
        return refuse("it has started")
    m = _Move(run, now)
    m.fence()
    r = m.run
    r.resumed = run.resumed or run.started_at is not None
    if h.fault != "agent":
        r.unstarted += 1
        r.unstarted_agents = tuple(sorted({*run.unstarted_agents, run.agent}))
    if r.unstarted >= MAX_UNSTARTED and len(r.unstarted_agents) >= 2:
        r.reason = "poison"
        error = ErrorInfo("Poison", f"claimed {r.unstarted} times without a start: {h.why}")
        m.event("failed", to=S.FAILED, epoch=run.epoch, cause="poison", error=_error(error))
        m.end(End(error=error))
        return m.done()
    if r.unstarted >= MAX_UNSTARTED_ALONE:
        r.reason = "unstarted"
        m.event(
            "review",
            to=S.REVIEW,
            epoch=run.epoch,
            reason="unstarted",
            why=f"claimed {r.unstarted} times by {run.agent} without a start: {h.why}",
        )
        return m.done()
    m.event(kind, to=S.QUEUED, epoch=run.epoch, why=h.why, agent=run.agent)
    return m.done()


def _suspended(run: Run, h: Suspended, now: datetime) -> Transition:
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now)
    m = _Move(run, now)
    if run.state is S.STARTING:
        _start(m)
    due = None if h.seconds is None else now + timedelta(seconds=h.seconds)
    m.run.due_at = due
    m.run.resumed = True
    m.event("waiting", to=S.WAITING, actor=f"agent:{run.agent}", key=h.key, wait=h.kind, due_at=due)
    record = MarkRecord(h.key, h.kind, h.fn, "open", run.epoch, due_at=due)
    m.extra["marks"] = [MarkWrite(record, after=h.after)]
    return m.done()


def _stopped(run: Run, h: Stopped, now: datetime) -> Transition:
    if h.epoch in run.unconfirmed and run.state in LIVE:
        m = _Move(run, now)
        m.run.unconfirmed = tuple(e for e in run.unconfirmed if e != h.epoch)
        m.event("exited", epoch=h.epoch, why="an older attempt is confirmed dead")
        return m.done()
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now)
    if h.why != "drain":
        return refuse("nobody cancelled this run")
    if run.state is S.STARTING:
        return _given_back(run, GivenBack(h.epoch, "the agent drains", "agent"), now)
    m = _Move(run, now)
    m.fence()
    m.run.resumed = True
    m.event("queued", to=S.QUEUED, epoch=run.epoch, why="the agent drains")
    return m.done()


# --- operators


def _cancel(run: Run, h: Cancel, now: datetime) -> Transition:
    if run.state in TERMINAL:
        return Transition(outcome="already", message=f"the run is {run.state.status}")
    if run.state is S.CANCELLING:
        return ALREADY
    m = _Move(run, now)
    m.run.reason = h.reason
    if run.state in SAVEABLE:
        m.stop("cancel", run.epoch)
        m.event("cancelling", to=S.CANCELLING, actor=h.actor, why=h.reason)
        return m.done()
    m.fence()
    m.event("cancelled", to=S.CANCELLED, actor=h.actor, why=h.reason)
    m.end(End(error=ErrorInfo("Cancelled", h.reason or "cancelled")))
    return m.done()


def _resume(run: Run, h: Resume, now: datetime) -> Transition:
    if run.state in (S.RETRYING, S.DELAYED):
        m = _Move(run, now)
        m.run.resumed = run.state is S.RETRYING
        m.run.due_at = None
        m.event("resumed", to=S.QUEUED, actor=h.actor, skipped_until=run.due_at)
        return m.done()
    if run.state is not S.REVIEW:
        return refuse(
            f"the run is {run.state.status}: resume takes runs in retrying, delayed or"
            " review; use replay for a run that has ended"
        )
    chosen = dict(h.once)
    open_keys = {mark.key for mark in run.marks}
    if run.reason == "once" and not open_keys <= chosen.keys():
        missing = ", ".join(sorted(open_keys - chosen.keys()))
        return refuse(f"decide on the interrupted once: {missing} (done or rerun)")
    if unknown := chosen.keys() - open_keys:
        return refuse(f"no open once mark: {', '.join(sorted(unknown))}")
    if chosen and run.unconfirmed and not h.override:
        return refuse(
            "an older attempt is not confirmed dead and may still run the effect;"
            " wait for it, or override"
        )
    m = _Move(run, now)
    values = dict(h.values)
    marks: list[MarkWrite] = []
    for mark in run.marks:
        if (decision := chosen.get(mark.key)) is None:
            continue
        m.event(
            "resolved",
            actor=h.actor,
            key=mark.key,
            token=mark.token,
            decision=decision,
            override=h.override and bool(run.unconfirmed),
        )
        value = msgspec.Raw(values.get(mark.key, b"null"))
        status = "done" if decision == "done" else mark.status
        record = MarkRecord(mark.key, "once", "", status, mark.epoch, resolved=decision)
        if decision == "done":
            record.value = value
        marks.append(MarkWrite(record, mark.token))
    if marks:
        m.extra["marks"] = marks
    m.run.reason, m.run.marks, m.run.lost, m.run.resumed = "", (), 0, True
    if h.override:
        m.run.unconfirmed = ()
    m.run.unstarted, m.run.unstarted_agents = 0, ()
    m.event("resumed", to=S.QUEUED, actor=h.actor)
    return m.done()


def _version_missing(run: Run, h: VersionMissing, now: datetime) -> Transition:
    if run.state is not S.QUEUED:
        return ALREADY
    m = _Move(run, now)
    return _review(m, "version", f"no agent has version {h.version}", version=h.version)


_RULES: dict[type[Any], Callable[[Run, Any, datetime], Transition]] = {
    Due: _due,
    Claim: _claim,
    Started: _started,
    Finished: _finished,
    Failed: _failed,
    Lost: _lost,
    GivenBack: _given_back,
    Suspended: _suspended,
    Cancel: _cancel,
    Stopped: _stopped,
    Resume: _resume,
    Overdue: _overdue,
    VersionMissing: _version_missing,
}
