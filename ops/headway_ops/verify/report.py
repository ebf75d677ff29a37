"""What the checker says: violations, notes, and per invariant how much was looked at. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

INVARIANTS = {
    "I1": "every acknowledged enqueue has its run",
    "I2": "every run goes on or has ended",
    "I3": "one terminal event, and nothing but what persons say of it after it",
    "I4": "events form a legal path without gaps",
    "I5": "epochs grow over claims, one attempt at a time",
    "I6": "every save is of the attempt that was open at its commit",
    "I7": "every acknowledged save is there, byte for byte",
    "I8": "an attempt gets the last checkpoint before its claim",
    "I9": "no effect after its once mark was done",
    "I9b": "a once mark is decided when older attempts are dead",
    "I10": "no open once mark on a run that succeeded",
    "I11": "one run for an idempotency key in its window",
    "I12": "nothing is late, nothing was early",
    "I13": "attempts and backoff follow the policy",
    "I14": "no claim after a cancel",
    "I15": "one container of an attempt can write",
    "I16": "every container belongs to a live agent",
    "I17": "every body is there, with its size and hash",
    "I18": "events and dispatches were told",
    "I19": "WORK holds nothing for runs that ended",
    "I20": "log lines have growing numbers, gaps are said",
    "I22": "queues keep their limits",
    "I23": "projections equal their events",
}
"""Name to what it promises, in the order of the report. I21 and I24 are of tests, not of data."""

KEPT = 1000
"""Violations kept per invariant; the rest are counted."""


class Violation(NamedTuple):
    """One promise that does not hold, with the place to look at."""

    invariant: str
    run: str
    what: str
    """In plain words, what is and what should be."""
    n: int = 0
    """Number of the event it is about; 0 = none."""
    epoch: int = 0
    """Of the attempt that it is about; 0 = none."""
    last: int = 0
    """Of several events in a row, the last one's number."""


class Note(NamedTuple):
    """Worth knowing, and no promise is broken."""

    invariant: str
    what: str


@dataclass(slots=True)
class Line:
    """What is known of one invariant."""

    checked: int = 0
    """Things that were looked at: runs, events, saves, lines ... as `INVARIANTS` has it."""
    violations: int = 0
    skipped: str = ""
    """Why it was not checked, or not from every source; empty = it was."""


@dataclass(slots=True)
class Report:
    """The answer of `verify`."""

    lines: dict[str, Line] = field(default_factory=lambda: {i: Line() for i in INVARIANTS})
    violations: list[Violation] = field(default_factory=list[Violation])
    notes: list[Note] = field(default_factory=list[Note])
    runs: int = 0
    events: int = 0
    seen: dict[str, int] = field(default_factory=dict[str, int])
    """Kind of event to how often it was seen: what the history has been through."""

    _holes: set[str] = field(default_factory=set[str], repr=False)
    _named: dict[str, set[int]] = field(default_factory=dict[str, set[int]], repr=False)

    @property
    def ok(self) -> bool:
        """No promise is broken as far as was looked."""
        return not any(line.violations for line in self.lines.values())

    def count(self, invariant: str, checked: int = 1) -> None:
        """So many more things were looked at."""
        self.lines[invariant].checked += checked

    def add(self, violation: Violation) -> None:
        """One more; beyond KEPT of an invariant it is only counted."""
        line = self.lines[violation.invariant]
        line.violations += 1
        last = max(violation.n, violation.last)
        if violation.invariant == "I4":
            self._holes.add(violation.run)
        self._named.setdefault(violation.run, set()).update(range(violation.n, last + 1))
        if line.violations <= KEPT:
            self.violations.append(violation)

    def named(self, run: str, n: int) -> bool:
        """Is this event already said to be wrong or missing? Others then need not say it again."""
        return n in self._named.get(run, ())

    def holes(self, run: str) -> bool:
        """Is the path of this run broken? Counts over many runs then leave it out."""
        return run in self._holes

    def skip(self, invariant: str, why: str) -> None:
        """Not looked at, or not from this source; several reasons are joined."""
        line = self.lines[invariant]
        if why not in line.skipped:
            line.skipped = f"{line.skipped}; {why}" if line.skipped else why

    def note(self, invariant: str, what: str) -> None:
        """Worth knowing."""
        self.notes.append(Note(invariant, what))

    def of(self, invariant: str) -> list[Violation]:
        """The violations of one invariant that were kept."""
        return [v for v in self.violations if v.invariant == invariant]

    def explain(self) -> str:
        """All violations as text, for a failing test."""
        return "\n".join(
            f"{v.invariant} run {v.run or '-'} event {v.n or '-'} epoch {v.epoch or '-'}: {v.what}"
            for v in self.violations
        )
