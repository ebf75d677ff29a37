"""I3, I4, I14: the events of a run are a legal path to where it is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_ops.verify.facts import TERMINAL
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway_ops.verify.facts import Event, History
    from headway_ops.verify.report import Report

MOVES: dict[str, frozenset[str]] = {
    "": frozenset({"QUEUED", "DELAYED"}),
    "DELAYED": frozenset({"QUEUED", "CANCELLED", "EXPIRED"}),
    "QUEUED": frozenset({"STARTING", "REVIEW", "CANCELLED", "EXPIRED", "TIMED_OUT"}),
    "STARTING": frozenset(
        {"RUNNING", "QUEUED", "RETRYING", "REVIEW", "FAILED", "TIMED_OUT", "CANCELLING"}
    ),
    "RUNNING": frozenset(
        {
            "SUCCEEDED", "FAILED", "TIMED_OUT", "RETRYING", "QUEUED", "WAITING", "REVIEW",
            "CANCELLING",
        }
    ),
    "WAITING": frozenset({"QUEUED", "FAILED", "TIMED_OUT", "CANCELLED"}),
    "RETRYING": frozenset({"QUEUED", "REVIEW", "FAILED", "TIMED_OUT", "CANCELLED"}),
    "REVIEW": frozenset({"QUEUED", "FAILED", "TIMED_OUT", "CANCELLED"}),
    "CANCELLING": frozenset({"CANCELLED"}),
    **{state: frozenset[str]() for state in TERMINAL},
}  # fmt: skip
"""Every legal move. A copy on purpose: a wrong table in the engine must not hide itself here."""

SAID = frozenset({"acknowledged", "unacknowledged", "tagged"})
"""What a person may still say of a run that has ended: it moves nothing."""


def check(h: History, report: Report) -> Iterator[Violation]:
    """The path of one run. Sets `h.holes` if events are missing: the rest then cannot be judged."""
    report.count("I4", len(h.events))
    missing = list(_numbers(h))
    h.holes = bool(missing)
    if missing:
        yield from missing
        return
    report.count("I3")
    report.count("I14")
    yield from _moves(h)
    yield from _end(h)
    yield from _cancel(h)


def _numbers(h: History) -> Iterator[Violation]:
    run, expected = h.run, 1
    for e in h.events:
        if e.n > run.n:
            yield Violation(
                "I4", run.id, f"it is beyond {run.n}, the run's last number", e.n, e.epoch
            )
            return
        if e.n != expected:
            yield _gap(run.id, expected, e.n - 1)
        expected = e.n + 1
    if expected <= run.n:
        yield _gap(run.id, expected, run.n)


def _gap(run: str, first: int, last: int) -> Violation:
    what = "the event is missing" if first == last else f"events {first} to {last} are missing"
    return Violation("I4", run, what, first, 0, last)


def _moves(h: History) -> Iterator[Violation]:
    state = ""
    for e in h.events:
        if not e.target:
            continue
        if e.source != state:
            yield _of(h, "I4", e, f"it leaves {_shown(e.source)}, the run was {_shown(state)}")
        elif state not in TERMINAL and e.target not in MOVES.get(state, ()):
            yield _of(h, "I4", e, f"{_shown(state)} to {e.target} is no legal move")
        state = e.target
    if state != h.run.state:
        last = h.events[-1] if h.events else None
        yield Violation(
            "I4", h.run.id, f"the run is {h.run.state}, its events lead to {_shown(state)}",
            last.n if last else 0, h.run.epoch,
        )  # fmt: skip


def _end(h: History) -> Iterator[Violation]:
    ends = [e for e in h.events if e.target in TERMINAL]
    for e in ends[1:]:
        yield _of(h, "I3", e, f"the run ended before, with event {ends[0].n}")
    later = h.events[h.events.index(ends[0]) + 1 :] if len(ends) == 1 else []
    for late in [e for e in later if e.kind not in SAID][:1]:
        yield _of(h, "I3", late, f"{late.kind} after the end, which was event {ends[0].n}")
    run = h.run
    if run.state in TERMINAL and run.ended_at is None:
        yield Violation("I3", run.id, f"it is {run.state} and has no time of its end", run.n)
    if run.state not in TERMINAL and run.ended_at is not None:
        yield Violation("I3", run.id, f"it is {run.state} and has a time of its end", run.n)
    if run.state == "SUCCEEDED" and not run.result:
        yield Violation("I3", run.id, "it succeeded and its result is gone", run.n)


def _cancel(h: History) -> Iterator[Violation]:
    cancelled = 0
    for e in h.events:
        if e.target in ("CANCELLING", "CANCELLED"):
            cancelled = cancelled or e.n
        elif cancelled and e.kind == "starting":
            yield _of(h, "I14", e, f"claimed after the cancel of event {cancelled}")


def _of(h: History, invariant: str, e: Event, what: str) -> Violation:
    return Violation(invariant, h.run.id, what, e.n, e.epoch)


def _shown(state: str) -> str:
    return state or "new"
