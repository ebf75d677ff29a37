"""I5, I6, I8, I10: who wrote, under which epoch, and what an attempt was given. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway_ops.verify.facts import Event, History
    from headway_ops.verify.report import Report

BY_ATTEMPT = frozenset({"started", "checkpoint", "step", "once", "waiting", "succeeded"})
"""Kinds that only the open attempt can write, at its own epoch."""
LATE = frozenset({"exited"})
"""Kinds about an older attempt."""
ONCE_OVER = frozenset({"done", "failed"})


def check(h: History, report: Report) -> Iterator[Violation]:
    """The epochs of one run whose events are all there."""
    if h.holes:
        return
    report.count("I5", sum(e.kind == "starting" for e in h.events))
    report.count("I6", len(h.checkpoints) + len(h.marks))
    yield from _claims(h)
    yield from _saves(h)
    yield from _resumed(h, report)
    if h.run.state == "SUCCEEDED":
        report.count("I10")
        yield from _open_once(h)


def _attempts(h: History) -> Iterator[tuple[Event, list[Event]]]:
    """Each claim with what its attempt wrote."""
    claim: Event | None = None
    wrote: list[Event] = []
    for e in h.events:
        if e.kind == "starting":
            if claim is not None:
                yield claim, wrote
            claim, wrote = e, []
        elif e.kind in BY_ATTEMPT and claim is not None:
            wrote.append(e)
    if claim is not None:
        yield claim, wrote


def _claims(h: History) -> Iterator[Violation]:
    run = h.run.id
    highest = -1
    first = next((e.n for e in h.events if e.kind == "starting"), h.run.n + 1)
    for e in h.events:
        if e.kind in BY_ATTEMPT and e.n < first:
            yield Violation("I5", run, f"{e.kind} before any claim", e.n, e.epoch)
    for claim, wrote in _attempts(h):
        epoch = _meant(claim, wrote)
        if claim.epoch != epoch:
            yield Violation("I5", run, f"the claim has epoch {claim.epoch}, its attempt {epoch}",
                            claim.n, claim.epoch)  # fmt: skip
        if epoch <= highest:
            yield Violation("I5", run, f"claimed with epoch {epoch} after {highest}", claim.n,
                            epoch)  # fmt: skip
        for e in wrote:
            if e.epoch != epoch:
                yield Violation("I5", run, f"{e.kind} with epoch {e.epoch} in the attempt with"
                                f" epoch {epoch}", e.n, e.epoch)  # fmt: skip
        highest = max(highest, epoch)
    yield from _others(h)


def _meant(claim: Event, wrote: list[Event]) -> int:
    """The attempt's epoch: the claim's, unless all that it wrote agrees on another one."""
    counted = Counter(e.epoch for e in wrote).most_common(1)
    if counted and counted[0][0] != claim.epoch and counted[0][1] == len(wrote) > 1:
        return counted[0][0]
    return claim.epoch


def _others(h: History) -> Iterator[Violation]:
    """What the engine wrote: never below an earlier claim, never above the run."""
    lowest = 0
    for e in h.events:
        if e.epoch > h.run.epoch:
            if e.kind not in BY_ATTEMPT:
                yield Violation("I5", h.run.id, f"{e.kind} with epoch {e.epoch}, the run has"
                                f" {h.run.epoch}", e.n, e.epoch)  # fmt: skip
        elif e.kind == "starting":
            lowest = max(lowest, e.epoch)
        elif e.kind not in BY_ATTEMPT and e.kind not in LATE and e.epoch < lowest:
            yield Violation("I5", h.run.id, f"{e.kind} with epoch {e.epoch} after a claim with"
                            f" {lowest}", e.n, e.epoch)  # fmt: skip


def _saves(h: History) -> Iterator[Violation]:
    run = h.run.id
    events = {e.data.get("number"): e for e in h.events if e.kind == "checkpoint"}
    for c in h.checkpoints:
        e = events.get(c.number)
        n = e.n if e else 0
        if c.epoch != c.run_epoch:
            yield Violation("I6", run, f"checkpoint {c.number} of epoch {c.epoch} was taken when"
                            f" the run had {c.run_epoch}", n, c.epoch)  # fmt: skip
        elif e is None:
            yield Violation("I6", run, f"checkpoint {c.number} has no event", 0, c.epoch)
        elif e.epoch != c.epoch:
            yield Violation("I6", run, f"checkpoint {c.number} has epoch {c.epoch}, its event"
                            f" {e.epoch}", n, c.epoch)  # fmt: skip
    claimed = {e.epoch for e in h.events if e.kind == "starting"}
    last = {e.data.get("key"): e for e in h.events if e.kind in ("step", "once")}
    for m in h.marks:
        if m.run_epoch is None:
            continue
        e = last.get(m.key)
        n = e.n if e else 0
        if m.epoch != m.run_epoch:
            yield Violation("I6", run, f"{m.kind} {m.key!r} of epoch {m.epoch} was taken when the"
                            f" run had {m.run_epoch}", n, m.epoch)  # fmt: skip
        elif m.epoch not in claimed:
            yield Violation("I6", run, f"{m.kind} {m.key!r} has epoch {m.epoch}, which no claim"
                            " gave", n, m.epoch)  # fmt: skip
        elif e is None:
            yield Violation("I6", run, f"{m.kind} {m.key!r} has no event", 0, m.epoch)
        elif e.epoch != m.epoch:
            yield Violation("I6", run, f"{m.kind} {m.key!r} has epoch {m.epoch}, its last event"
                            f" {e.epoch}", n, m.epoch)  # fmt: skip


def _resumed(h: History, report: Report) -> Iterator[Violation]:
    run, number = h.run.id, 0
    claim: Event | None = None
    for e in h.events:
        if e.kind == "checkpoint":
            if e.data.get("number") != number + 1:
                yield Violation("I8", run, f"checkpoint {e.data.get('number')} follows {number}",
                                e.n, e.epoch)  # fmt: skip
            number = e.data.get("number") or number + 1
        elif e.kind == "starting":
            claim = e
            report.count("I8")
            given = e.data.get("checkpoint") or 0
            if given != number:
                yield Violation("I8", run, f"claimed with checkpoint {given}, the last one was"
                                f" {number}", e.n, e.epoch)  # fmt: skip
        elif e.kind == "started" and claim is not None and "container" in e.data:
            given = e.data.get("resumed_from") or 0
            if given != number:
                yield Violation("I8", run, f"started from checkpoint {given}, the last one was"
                                f" {number}", e.n, e.epoch)  # fmt: skip
    if number != h.run.ck:
        yield Violation("I8", run, f"the run counts {h.run.ck} checkpoints, its events {number}",
                        h.run.n, h.run.epoch)  # fmt: skip


def _open_once(h: History) -> Iterator[Violation]:
    events = {e.data.get("key"): e for e in h.events if e.kind == "once"}
    for m in h.marks:
        if m.kind == "once" and m.status not in ONCE_OVER and not m.resolved:
            e = events.get(m.key)
            yield Violation("I10", h.run.id, f"it succeeded, and once {m.key!r} is {m.status}",
                            e.n if e else h.run.n, m.epoch)  # fmt: skip
