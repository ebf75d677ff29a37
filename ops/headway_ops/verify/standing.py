"""I2, I12 and I18 as far as one run tells: is it where it may stand, and does it go on? Pure.

A live system is never at rest, so each rule allows for what is under way: a deadline counts as
passed only `grace` seconds later, a lost lease only when the engines had time to see it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headway_ops.verify.facts import TERMINAL, TIMED
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from headway_ops.verify.facts import History, Run
    from headway_ops.verify.report import Report

STARTING = 30.0
"""Seconds after its claim at which a run that has not started is given back."""
BACKSTOP = 30.0
"""Seconds beyond an attempt's timeout at which the engine ends it itself."""
GRACE = 30.0
"""Seconds for what timers, rescuer and sweeper do; they look every second to every five."""
LEASE_GRACE = 90.0
"""Seconds after the end of an agent's lease: leases end only after a whole lease of good beats."""


def check(
    h: History, report: Report, now: datetime, *, settled: bool, grace: float = GRACE
) -> Iterator[Violation]:
    """One run against the store's clock; `settled`: all should be at rest."""
    run = h.run
    report.count("I2")
    if run.state in TERMINAL:
        return
    if run.state in TIMED:
        report.count("I12")
        yield from _due(run, now, grace)
    if run.state == "QUEUED":
        report.count("I18")
        if run.dispatch is not None and h.live is not None and not h.live.dispatched:
            yield _of("I18", run, f"it says it was given to WORK in batch {run.dispatch}, which is"
                      " not there: nobody will offer it again")  # fmt: skip
    stuck = _unrest(h) if settled else ""
    stuck = stuck or _stuck(h, now, grace)
    if stuck:
        yield _of("I2", run, stuck)


def _due(run: Run, now: datetime, grace: float) -> Iterator[Violation]:
    if run.due_at is None:
        if run.state != "WAITING":
            yield _of("I12", run, f"it is {run.state} and has no time to go on")
        return
    late = (now - run.due_at).total_seconds()
    if late > grace:
        yield _of("I12", run, f"it is {run.state} and due since {late:.0f} s")


def _unrest(h: History) -> str:
    """What a settled system may not hold: all but REVIEW, the timed ones and held queues."""
    run = h.run
    if run.state == "REVIEW" or run.state in TIMED:
        return ""
    if run.state == "QUEUED" and h.live is not None and h.live.paused:
        return ""
    return f"it is {run.state} and should have come to rest"


def _stuck(h: History, now: datetime, grace: float) -> str:
    run = h.run
    if _past(run.deadline_at, now, grace) and run.state != "CANCELLING":
        return f"it is {run.state} and its deadline has passed"
    if run.state in ("QUEUED", "DELAYED") and run.started_at is None:
        if _past(run.ttl_at, now, grace):
            return f"it is {run.state} and its time to live has passed"
    elif run.state == "STARTING" and _past(run.claimed_at, now, STARTING + grace):
        return "claimed, and neither started nor given back"
    elif run.state == "RUNNING" and _past(run.attempt_at, now, run.timeout_s + BACKSTOP + grace):
        return f"its attempt runs longer than its timeout of {run.timeout_s:g} s"
    if run.state in ("STARTING", "RUNNING", "CANCELLING") and h.live is not None:
        lease = h.live.lease_until
        if lease is None:
            return f"it is {run.state} under a session of agent {run.agent} that is over"
        if _past(lease, now, LEASE_GRACE + grace):
            return f"it is {run.state} and the lease of agent {run.agent} is long over"
    return ""


def _past(at: datetime | None, now: datetime, by: float) -> bool:
    return at is not None and at + timedelta(seconds=by) < now


def _of(invariant: str, run: Run, what: str) -> Violation:
    return Violation(invariant, run.id, what, run.n, run.epoch)
