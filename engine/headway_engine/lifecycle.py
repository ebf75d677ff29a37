"""The state machine of a run, with no I/O: `decide(run, happening, now) -> Transition`.

Both stores carry out transitions; none decides by itself. `now` is the clock of the store. What
happens to an attempt (claims, ends, losses, retries) is in `attempt_rules`, the rest is here.

Epoch rule (DECISIONS, RELIABILITY 4.1): a claim, a lost lease, a completed cancel, a deadline and
the move to REVIEW raise the epoch, so that whatever the older attempt still writes is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from headway.states import FAILURES, LIVE, OPEN, SAVEABLE, TERMINAL, RunState
from headway.tags import TAGS_LIMIT, retagged
from headway.wire import ErrorInfo
from headway.wire.events import Event
from headway.wire.rpc import MarkRecord
from headway_engine import attempt_rules as attempt
from headway_engine.happenings import (
    Acknowledge,
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
    Tag,
    VersionMissing,
)
from headway_engine.moves import ALREADY, Move, error_data, refuse
from headway_engine.store.records import End, MarkWrite, Run, Stop, Transition

if TYPE_CHECKING:
    from collections.abc import Callable

S = RunState

START_DEADLINE = timedelta(seconds=30)
"""STARTING longer than this is given back (DECISIONS B3)."""
TIMEOUT_SLACK = timedelta(seconds=30)
"""The engine's backstop waits this much longer than the agent's own timer and grace."""


def create(
    run: Run, now: datetime, due_at: datetime | None, forked: dict[str, Any] | None = None
) -> Transition:
    """A new run: QUEUED, or DELAYED until `due_at`. `run.state` is ignored.

    `forked`: it is a fork, which is never delayed; what its first event says of that.
    """
    new = msgspec.structs.replace(run, n=1)
    if forked is not None:
        new.state, new.due_at = S.QUEUED, None
        event = Event(1, now, "forked", target="QUEUED", data=forked)
    elif due_at is not None and due_at > now:
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
    m = Move(run, now)
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
        m = Move(run, now)
        m.event("expired", to=S.EXPIRED, why="not started within its TTL")
        m.end(End(error=ErrorInfo("Expired", "not started within its TTL")))
        return m.done()
    if run.state is S.STARTING and run.claimed_at and run.claimed_at + START_DEADLINE <= now:
        return attempt.gone(run, Lost(run.epoch, "not started within 30 s", dead=False), now)
    if run.state is S.RUNNING and run.attempt_at is not None:
        limit = run.attempt_at + timedelta(seconds=run.timeout) + TIMEOUT_SLACK
        if limit <= now:
            error = ErrorInfo("TimeoutError", f"no end within {run.timeout:g} s")
            t = attempt.failed(run, Failed(run.epoch, "timeout", error), now)
            if t.run is not None:
                t.run.epoch += 1
                t.run.unconfirmed = (*run.unconfirmed, run.epoch)  # its agent did not answer
                t.stop = Stop(run.agent, run.epoch, "timeout")
            return t
    return ALREADY


def _deadline(run: Run, now: datetime) -> Transition:
    m = Move(run, now)
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


# --- operators


def _cancel(run: Run, h: Cancel, now: datetime) -> Transition:
    if run.state in TERMINAL:
        return Transition(outcome="already", message=f"the run is {run.state.status}")
    if run.state is S.CANCELLING:
        return ALREADY
    m = Move(run, now)
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
    waits = run.state is S.REVIEW and run.reason == "budget"
    if (h.budget_usd or h.budget_tokens) and not waits:
        return refuse("a budget is given to a run that is in review for its budget")
    if run.state in (S.RETRYING, S.DELAYED):
        m = Move(run, now)
        m.run.resumed = run.state is S.RETRYING
        m.run.due_at = None
        m.event("resumed", to=S.QUEUED, actor=h.actor, skipped_until=run.due_at, request=h.request)
        return m.done()
    if run.state is not S.REVIEW:
        return refuse(
            f"the run is {run.state.status}: resume takes runs in retrying, delayed or"
            " review; use replay for a run that has ended",
            # Who decides on a mark has seen the run in REVIEW: somebody else was first.
            "stale" if h.once else "refused",
        )
    chosen = dict(h.once)
    if (no := _undecided(run, h, chosen)) is not None:
        return no
    m = Move(run, now)
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
        if decision == "fail":
            continue
        value = msgspec.Raw(values.get(mark.key, b"null"))
        status = "done" if decision == "done" else mark.status
        record = MarkRecord(mark.key, "once", "", status, mark.epoch, resolved=decision)
        if decision == "done":
            record.value = value
        marks.append(MarkWrite(record, mark.token))
    if marks:
        m.extra["marks"] = marks
    if "fail" in chosen.values():
        return _failed_by(m, h, next(k for k, d in chosen.items() if d == "fail"))
    m.run.marks = tuple(mark for mark in run.marks if mark.key not in chosen)
    m.run.reason, m.run.lost, m.run.resumed = "", 0, True
    if h.override:
        m.run.unconfirmed = ()
    m.run.unstarted, m.run.unstarted_agents = 0, ()
    m.event(
        "resumed",
        to=S.QUEUED,
        actor=h.actor,
        override=h.override and bool(run.unconfirmed),
        request=h.request,
        budget_usd=h.budget_usd or None,
        budget_tokens=h.budget_tokens or None,
    )
    return m.done()


def _undecided(run: Run, h: Resume, chosen: dict[str, str]) -> Transition | None:
    """None if these decisions let the run go on, or end it."""
    if run.reason == "budget" and not h.budget_usd and not h.budget_tokens:
        return refuse(
            "the run has used its budget: resume it with a higher one (--budget), or cancel it"
        )
    open_keys = {mark.key for mark in run.marks}
    if unknown := chosen.keys() - open_keys:
        return refuse(f"no open once mark: {', '.join(sorted(unknown))}")
    valued = {key for key, _ in h.values}
    if idle := sorted(key for key in valued if chosen.get(key) != "done"):
        return refuse(f"a value goes with the decision done: {', '.join(idle)}")
    if set(chosen.values()) == {"fail"}:
        return None  # the run ends: nothing is decided about the effect
    if run.reason == "once" and not open_keys <= chosen.keys():
        missing = ", ".join(sorted(open_keys - chosen.keys()))
        return refuse(f"decide on the interrupted once: {missing} (done, rerun or fail)")
    waits = chosen or run.reason == attempt.UNCONFIRMED
    if waits and run.unconfirmed and not h.override:
        return refuse(
            "an older attempt is not confirmed dead and may still run the effect;"
            " wait for it, or override"
        )
    return None


def _failed_by(m: Move, h: Resume, key: str) -> Transition:
    """An operator's word on an interrupted once block: the run has failed."""
    error = ErrorInfo("OnceAmbiguous", f"once({key!r}) was interrupted; decided: failed")
    m.run.reason = "once"
    m.event(
        "failed", to=S.FAILED, actor=h.actor, cause="once", error=error_data(error),
        request=h.request,
    )  # fmt: skip
    m.end(End(error=error))
    m.run.acked = True  # a person said so: nobody else has to look
    return m.done()


def _acknowledge(run: Run, h: Acknowledge, now: datetime) -> Transition:
    if run.state not in FAILURES:
        return refuse(f"the run is {run.state.status}: what has failed is acknowledged")
    if run.acked is not h.undo:
        return ALREADY
    m = Move(run, now)
    m.run.acked = not h.undo
    m.event("unacknowledged" if h.undo else "acknowledged", actor=h.actor)
    return m.done()


def _tag(run: Run, h: Tag, now: datetime) -> Transition:
    """Not fenced: state and epoch stay, so an attempt that is open goes on and may save."""
    added = [tag for tag in dict.fromkeys(h.add) if tag not in run.tags]
    removed = [tag for tag in run.tags if tag in h.remove]
    if not added and not removed:
        return ALREADY
    tags = retagged(run.tags, h.add, h.remove)
    if added and len(tags) > TAGS_LIMIT:
        return refuse(f"the run would have {len(tags)} tags, at most {TAGS_LIMIT}: remove some")
    m = Move(run, now)
    m.run.tags = tags
    # All that there are now, too: who hears of this event alone need not know those before.
    m.event("tagged", actor=h.actor, tags=list(tags), added=added or None, removed=removed or None)
    return m.done()


def _version_missing(run: Run, h: VersionMissing, now: datetime) -> Transition:
    if run.state is not S.QUEUED:
        return ALREADY
    m = Move(run, now)
    return attempt.to_review(m, "version", f"no agent has version {h.version}", version=h.version)


_RULES: dict[type[Any], Callable[[Run, Any, datetime], Transition]] = {
    Due: _due,
    Claim: attempt.claimed,
    Started: attempt.started,
    Finished: attempt.finished,
    Failed: attempt.failed,
    Lost: attempt.lost,
    GivenBack: attempt.given_back,
    Suspended: attempt.suspended,
    Cancel: _cancel,
    Stopped: attempt.stopped,
    Resume: _resume,
    Acknowledge: _acknowledge,
    Tag: _tag,
    Overdue: _overdue,
    VersionMissing: _version_missing,
}
