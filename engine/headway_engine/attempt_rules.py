"""The path of an attempt: what a claim, a start and each kind of end do to a run. No I/O."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from headway.retry import backoff
from headway.states import LIVE, OPEN, RunState
from headway.wire import ErrorInfo
from headway.wire.rpc import MarkRecord
from headway_engine.happenings import (
    Claim,
    Failed,
    Finished,
    GivenBack,
    Lost,
    Started,
    Stopped,
    Suspended,
)
from headway_engine.moves import ALREADY, STALE, Move, error_data, refuse
from headway_engine.store.records import End, MarkWrite, Run, Transition

S = RunState

MAX_LOST = 5
"""Losses since the last new checkpoint that send a run to REVIEW (DECISIONS B4)."""
MAX_UNSTARTED = 3
"""Claims in a row that never started, on at least two agents: FAILED, poison."""
MAX_UNSTARTED_ALONE = 6
"""The same on one agent only: REVIEW, since the agent may be at fault."""
UNCONFIRMED = "unconfirmed"
"""Reason of a REVIEW that ends by itself when every older attempt is confirmed dead."""
RETRYABLE = frozenset({"error", "crash", "oom", "timeout"})
"""Causes that the retry policy may answer; every other cause is final or asks a person."""


def claimed(run: Run, h: Claim, now: datetime) -> Transition:
    """An agent takes the run: the epoch goes up."""
    if run.state is S.STARTING and run.nonce == h.nonce and run.agent == h.agent:
        return ALREADY  # the answer was lost: same nonce, same answer
    if run.state is not S.QUEUED:
        return refuse(f"the run is {run.state.status}")
    m = Move(run, now)
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
        checkpoint=h.checkpoint,
    )
    return m.done()


def started(run: Run, h: Started, now: datetime) -> Transition:
    """User code runs."""
    if h.epoch != run.epoch:
        return STALE
    if run.state is S.RUNNING:
        return ALREADY
    if run.state is not S.STARTING:
        return ALREADY if run.state is S.CANCELLING else STALE
    m = Move(run, now)
    start(m, h)
    return m.done()


def start(m: Move, h: Started | None = None) -> None:
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


def _output(h: Finished | Failed | Stopped) -> dict[str, Any]:
    """How much the attempt has said, and how much of that is lost."""
    return {"lines": h.lines, "lines_lost": h.lines_lost, "spans_lost": h.spans_lost}


def _cancelled(run: Run, now: datetime, *, dead: bool = True, **output: Any) -> Transition:
    """The attempt of a CANCELLING run is over, whatever it reported (P7)."""
    m = Move(run, now)
    m.fence()
    m.event("cancelled", to=S.CANCELLED, epoch=run.epoch, confirmed_dead=dead, **output)
    m.end(End(error=ErrorInfo("Cancelled", run.reason or "cancelled")))
    return m.done()


def finished(run: Run, h: Finished, now: datetime) -> Transition:
    """The function returned: SUCCEEDED, unless a once mark is open."""
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now, **_output(h))
    m = Move(run, now)
    if run.state is S.STARTING:
        start(m)
    unknown = [mark for mark in run.marks if mark.status != "failed"]
    if unknown:
        # A once block without its done mark: whether it happened is not known (I10). A failed one
        # raised in the task's own process, which dealt with the exception and returned.
        mark = unknown[0]
        return to_review(
            m, "once", f"once({mark.key!r}) is open at the end", key=mark.key, token=mark.token
        )
    m.event(
        "succeeded",
        to=S.SUCCEEDED,
        actor=f"agent:{run.agent}",
        size=h.size,
        warning=h.warning,
        **_output(h),
    )
    m.end(End(result=h.result, ref=h.ref, size=h.size))
    return m.done()


def to_review(m: Move, reason: str, why: str, **data: Any) -> Transition:
    """A person decides; the older attempt is fenced."""
    epoch = m.run.epoch
    m.fence()
    m.run.reason = reason
    m.event("review", to=S.REVIEW, epoch=epoch, reason=reason, why=why, **data)
    return m.done()


def _ambiguous(m: Move, h: Failed) -> Transition:
    """A once block was interrupted: a person decides, or its own policy as soon as it may.

    `h.waits`: the block has a policy (rerun, skip, check), but an older attempt may still be inside
    it, so this attempt did not apply it. The run waits for that one's end.
    """
    if not h.waits:
        return to_review(m, "once", h.error.message, key=h.key, token=h.token)
    if m.run.unconfirmed:
        why = "an older attempt may still run the effect: its end is awaited"
        return to_review(m, UNCONFIRMED, why, key=h.key, token=h.token)
    epoch = m.run.epoch
    m.fence()
    m.event("queued", to=S.QUEUED, epoch=epoch, why="older attempts are confirmed dead", key=h.key)
    return m.done()


def confirmed(run: Run, epoch: int, now: datetime) -> Transition | None:
    """The process of an older attempt is gone for certain; None if nobody waits to hear it."""
    if epoch not in run.unconfirmed or run.state not in LIVE:
        return None
    m = Move(run, now)
    m.run.unconfirmed = tuple(e for e in run.unconfirmed if e != epoch)
    m.event("exited", epoch=epoch, why="an older attempt is confirmed dead")
    if run.state is S.REVIEW and run.reason == UNCONFIRMED and not m.run.unconfirmed:
        m.run.reason, m.run.resumed = "", True
        m.event("resumed", to=S.QUEUED, why="older attempts are confirmed dead")
    return m.done()


def failed(run: Run, h: Failed, now: datetime) -> Transition:
    """The attempt ended without a result: a retry, the end, or REVIEW."""
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now, **_output(h))
    m = Move(run, now)
    actor = f"agent:{run.agent}"
    if run.state is S.STARTING and h.cause not in ("image", "blob"):
        start(m)
    m.run.resumed = True
    if h.cause == "ambiguous":
        return _ambiguous(m, h)
    if h.cause == "state":
        return to_review(m, "state", h.error.message, error=error_data(h.error))
    if h.cause == "budget":
        return to_review(m, "budget", h.error.message)
    if h.cause == "blob":
        return to_review(m, "blob", h.error.message, error=error_data(h.error))
    m.run.failures += 1
    facts: dict[str, Any] = {
        "error": error_data(h.error),
        "cause": h.cause,
        "evidence": h.evidence,
        "exit_code": h.exit_code,
        "attempt": m.run.failures,
        "max_attempts": run.policy.max_attempts,
        **_output(h),
        # The task chose the delay, not the policy.
        "asked": h.retry_in is not None or h.retry_at is not None,
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


def lost(run: Run, h: Lost, now: datetime) -> Transition:
    """The attempt went away: back to its queue at once, no retry used (DECISIONS B4)."""
    if h.dead and (seen := confirmed(run, h.epoch, now)) is not None:
        return seen
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now, dead=h.dead)
    if run.state is S.STARTING and not h.dead:
        # Claimed, and its agent fell silent before it began: that is how poison looks.
        return given_back(run, GivenBack(h.epoch, h.why, "run"), now, kind="lost")
    return gone(run, h, now)


def gone(run: Run, h: Lost, now: datetime) -> Transition:
    """Its open attempt is not any more; too often without progress, and a person looks at it.

    Also before it began, if its agent lives: a run that kills nobody is no poison, and must not
    fail for what happened on the way to it.
    """
    m = Move(run, now)
    m.fence()  # first the fence, then the queue (RELIABILITY 4.4)
    r = m.run
    r.lost = 1 if run.ck > run.lost_ck else run.lost + 1
    begun = run.state is S.RUNNING
    r.lost_ck, r.resumed = run.ck, begun or run.resumed or run.started_at is not None
    dead = h.dead or not begun  # what never began has entered no once block
    if not dead:
        r.unconfirmed = (*run.unconfirmed, run.epoch)
    if r.lost > MAX_LOST:
        m.event("lost", epoch=run.epoch, why=h.why, evidence=h.evidence, confirmed_dead=dead)
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
        confirmed_dead=dead,
    )
    return m.done()


def given_back(run: Run, h: GivenBack, now: datetime, kind: str = "given_back") -> Transition:
    """Claimed, not started: back to its queue, no retry used."""
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now)
    if run.state is not S.STARTING:
        return refuse("it has started")
    m = Move(run, now)
    m.fence()
    r = m.run
    r.resumed = run.resumed or run.started_at is not None
    if h.fault != "agent":
        r.unstarted += 1
        r.unstarted_agents = tuple(sorted({*run.unstarted_agents, run.agent}))
    if r.unstarted >= MAX_UNSTARTED and len(r.unstarted_agents) >= 2:
        r.reason = "poison"
        error = ErrorInfo("Poison", f"claimed {r.unstarted} times without a start: {h.why}")
        m.event("failed", to=S.FAILED, epoch=run.epoch, cause="poison", error=error_data(error))
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


def suspended(run: Run, h: Suspended, now: datetime) -> Transition:
    """A long wait: WAITING, no container."""
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now)
    m = Move(run, now)
    if run.state is S.STARTING:
        start(m)
    due = None if h.seconds is None else now + timedelta(seconds=h.seconds)
    m.run.due_at = due
    m.run.resumed = True
    m.event("waiting", to=S.WAITING, actor=f"agent:{run.agent}", key=h.key, wait=h.kind, due_at=due)
    record = MarkRecord(h.key, h.kind, h.fn, "open", run.epoch, due_at=due)
    m.extra["marks"] = [MarkWrite(record, after=h.after)]
    return m.done()


def stopped(run: Run, h: Stopped, now: datetime) -> Transition:
    """The process is confirmed gone."""
    if (seen := confirmed(run, h.epoch, now)) is not None:
        return seen
    if (no := _open(run, h.epoch)) is not None:
        return no
    if run.state is S.CANCELLING:
        return _cancelled(run, now, **_output(h))
    if h.why == "stale":
        # Its agent's session is over and the store did not look yet: the same loss, seen earlier.
        return lost(run, Lost(h.epoch, "its agent's session is over", dead=True), now)
    if h.why != "drain":
        return refuse("nobody cancelled this run")
    if run.state is S.STARTING:
        return given_back(run, GivenBack(h.epoch, "the agent drains", "agent"), now)
    m = Move(run, now)
    m.fence()
    m.run.resumed = True
    m.event("queued", to=S.QUEUED, epoch=run.epoch, why="the agent drains")
    return m.done()
