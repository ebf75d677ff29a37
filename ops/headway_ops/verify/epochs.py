"""I5, I6, I8, I10: who wrote, under which epoch, and what an attempt was given. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    attempts = [(claim, wrote, _meant(claim, wrote, h.run.epoch)) for claim, wrote in _attempts(h)]
    yield from _claims(h, attempts)
    yield from _others(h, {claim.n: epoch for claim, _, epoch in attempts})
    meant = {e.n: epoch for _, wrote, epoch in attempts for e in wrote}
    yield from _checkpoints(h, meant)
    yield from _marks(h, meant, {epoch for _, _, epoch in attempts})
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


def _meant(claim: Event, wrote: list[Event], highest: int) -> int:
    """The attempt's epoch: the claim's, unless all that it wrote agrees on another one."""
    others = {e.epoch for e in wrote}
    agreed = len(others) == 1 and (len(wrote) > 1 or claim.epoch > highest)
    return others.pop() if agreed else claim.epoch


def _claims(h: History, attempts: list[tuple[Event, list[Event], int]]) -> Iterator[Violation]:
    run = h.run.id
    first = attempts[0][0].n if attempts else h.run.n + 1
    for e in h.events:
        if e.kind in BY_ATTEMPT and e.n < first:
            yield Violation("I5", run, f"{e.kind} before any claim", e.n, e.epoch)
    highest = -1
    for claim, wrote, epoch in attempts:
        if claim.epoch != epoch:
            yield Violation("I5", run, f"the claim has epoch {claim.epoch}, its attempt {epoch}",
                            claim.n, claim.epoch)  # fmt: skip
        elif epoch <= highest:
            yield Violation("I5", run, f"claimed with epoch {epoch} after {highest}", claim.n,
                            epoch)  # fmt: skip
        elif epoch > h.run.epoch:
            yield Violation("I5", run, f"claimed with epoch {epoch}, the run has {h.run.epoch}",
                            claim.n, epoch)  # fmt: skip
        for e in wrote:
            if e.epoch != epoch:
                yield Violation("I5", run, f"{e.kind} with epoch {e.epoch} in the attempt with"
                                f" epoch {epoch}", e.n, e.epoch)  # fmt: skip
        highest = max(highest, epoch)


def _others(h: History, claims: dict[int, int]) -> Iterator[Violation]:
    """What the engine wrote: never below an earlier claim, never above the run."""
    lowest = 0
    for e in h.events:
        if e.kind == "starting":
            lowest = max(lowest, claims[e.n])
        elif e.kind in BY_ATTEMPT:
            continue
        elif e.epoch > h.run.epoch:
            yield Violation("I5", h.run.id, f"{e.kind} with epoch {e.epoch}, the run has"
                            f" {h.run.epoch}", e.n, e.epoch)  # fmt: skip
        elif e.kind not in LATE and e.epoch < lowest:
            yield Violation("I5", h.run.id, f"{e.kind} with epoch {e.epoch} after a claim with"
                            f" {lowest}", e.n, e.epoch)  # fmt: skip


def forked_from(events: Sequence[Event]) -> int:
    """The checkpoint that a fork started from; 0 for other runs."""
    first = events[0] if events else None
    return (first.data.get("checkpoint") or 0) if first and first.kind == "forked" else 0


def _checkpoints(h: History, meant: dict[int, int]) -> Iterator[Violation]:
    run = h.run.id
    events = {e.data.get("number"): e.n for e in h.events if e.kind == "checkpoint"}
    base = forked_from(h.events)
    for c in h.checkpoints:
        if c.number <= base and c.epoch == 0:
            continue  # copied by the fork
        n = events.get(c.number, 0)
        what = f"checkpoint {c.number}"
        if c.epoch != c.run_epoch:
            yield Violation("I6", run, f"{what} of epoch {c.epoch} was taken when the run had"
                            f" {c.run_epoch}", n, c.epoch)  # fmt: skip
        elif not n:
            yield Violation("I6", run, f"{what} has no event", 0, c.epoch)
        elif c.epoch != meant.get(n, c.epoch):
            yield Violation("I6", run, f"{what} has epoch {c.epoch}, its attempt {meant[n]}", n,
                            c.epoch)  # fmt: skip


def _marks(h: History, meant: dict[int, int], claimed: set[int]) -> Iterator[Violation]:
    run = h.run.id
    events = {e.data.get("key"): e.n for e in h.events if e.kind in ("step", "once")}
    for m in h.marks:
        if m.run_epoch is None:
            continue
        n = events.get(m.key, 0)
        what = f"{m.kind} {m.key!r}"
        if m.epoch != m.run_epoch:
            yield Violation("I6", run, f"{what} of epoch {m.epoch} was taken when the run had"
                            f" {m.run_epoch}", n, m.epoch)  # fmt: skip
        elif m.epoch not in claimed:
            yield Violation("I6", run, f"{what} has epoch {m.epoch}, which no claim gave", n,
                            m.epoch)  # fmt: skip
        elif not n:
            yield Violation("I6", run, f"{what} has no event", 0, m.epoch)
        elif m.epoch != meant.get(n, m.epoch):
            yield Violation("I6", run, f"{what} has epoch {m.epoch}, its last event {meant[n]}", n,
                            m.epoch)  # fmt: skip


def _resumed(h: History, report: Report) -> Iterator[Violation]:
    run, number = h.run.id, forked_from(h.events)
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
