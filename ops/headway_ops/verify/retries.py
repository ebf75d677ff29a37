"""I13, I9b and the early half of I12: retries, backoff, decisions on once marks. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway_ops.verify.facts import Event, History, Policy
    from headway_ops.verify.report import Report

SLACK = 0.001
"""Seconds: times are kept in microseconds."""
FAILURES = frozenset({"retrying", "failed", "timed_out"})


def check(h: History, report: Report) -> Iterator[Violation]:
    """Retries of one run whose events are all there."""
    if h.holes:
        return
    yield from _attempts(h, report)
    yield from _early(h, report)
    yield from _decisions(h, report)


def _attempts(h: History, report: Report) -> Iterator[Violation]:
    """The number of an attempt is one more than the failures before it; both have a bound."""
    run, failures = h.run.id, 0
    for e in h.events:
        said = e.data.get("attempt")
        if e.kind == "starting":
            report.count("I13")
            if said != failures + 1:
                yield Violation("I13", run, f"claimed as attempt {said} after {failures} failed",
                                e.n, e.epoch)  # fmt: skip
        elif e.kind in FAILURES and said is not None:
            failures += 1
            most = e.data.get("max_attempts") or 1
            if said != failures:
                yield Violation("I13", run, f"attempt {said} failed, it was number {failures}",
                                e.n, e.epoch)  # fmt: skip
            elif said > most or (e.kind == "retrying" and said >= most):
                yield Violation("I13", run, f"attempt {said} of {most} failed, and is tried again"
                                if e.kind == "retrying" else f"attempt {said} of {most} failed",
                                e.n, e.epoch)  # fmt: skip
            elif e.kind == "retrying":
                yield from _backoff(run, e, failures, h.policy)
    if failures != h.run.failures:
        yield Violation("I13", run, f"the run counts {h.run.failures} failed attempts, its events"
                        f" {failures}", h.run.n, h.run.epoch)  # fmt: skip


def _backoff(run: str, e: Event, failures: int, policy: Policy | None) -> Iterator[Violation]:
    due = _time(e.data.get("due_at"))
    if due is None:
        yield Violation("I13", run, "it is retried, and has no time for that", e.n, e.epoch)
        return
    delay = (due - e.at).total_seconds()
    if delay < -SLACK:
        yield Violation("I13", run, f"due {-delay:g} s before its failure", e.n, e.epoch)
    elif policy is not None and policy.since <= e.at and not e.data.get("asked"):
        base = policy.min_delay
        for _ in range(failures - 1):
            base = min(policy.max_delay, base * policy.factor)
        base = min(policy.max_delay, base)
        low, high = base * (1 - policy.jitter), base * (1 + policy.jitter)
        if not low - SLACK <= delay <= high + SLACK:
            yield Violation("I13", run, f"attempt {failures} is retried after {delay:g} s, the"
                            f" policy says {low:g} to {high:g} s", e.n, e.epoch)  # fmt: skip


def _early(h: History, report: Report) -> Iterator[Violation]:
    """What a timer moves on is due then (P6: never early)."""
    due: datetime | None = None
    for e in h.events:
        if e.target in ("DELAYED", "RETRYING", "WAITING"):
            due = _time(e.data.get("due_at"))
        elif e.kind == "queued" and e.source in ("DELAYED", "RETRYING", "WAITING"):
            report.count("I12")
            if due is not None and e.at < due:
                yield Violation("I12", h.run.id, f"{(due - e.at).total_seconds():g} s early",
                                e.n, e.epoch)  # fmt: skip


def _decisions(h: History, report: Report) -> Iterator[Violation]:
    """Attempts that were lost unseen must be seen to end before a mark is decided (F26)."""
    unseen: set[int] = set()
    for e in h.events:
        if e.kind == "lost" and e.source != "STARTING" and not e.data.get("confirmed_dead"):
            unseen.add(e.epoch)
        elif e.kind == "exited":
            unseen.discard(e.epoch)
        elif e.kind == "resolved":
            report.count("I9b")
            if unseen and not e.data.get("override"):
                older = ", ".join(map(str, sorted(unseen)))
                yield Violation("I9b", h.run.id, f"once {e.data.get('key')!r} was decided while"
                                f" nobody had seen the end of epoch {older}", e.n,
                                e.epoch)  # fmt: skip


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None
