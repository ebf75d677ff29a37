"""The caller's journal (I1, I3, I7): each acknowledged operation against what is stored.

Pure, but for reading the files.

A line is written after the commit that it speaks of, so what was read before a snapshot must be in
it. Lines are read in batches: a journal of any length needs the memory of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headway.ids import is_run_id
from headway_ops.verify.bodies import prunable
from headway_ops.verify.lines import Lines
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headway_ops.verify.facts import Run
    from headway_ops.verify.report import Report

BATCH = 1000
SKEW = 60.0
"""Seconds by which the clocks of a caller and of NATS may differ."""


class Ack(msgspec.Struct):
    """One line; see `headway.journal`."""

    op: str
    run: str
    at: float = 0.0
    ns: str = ""
    word: str = ""
    winner: str = ""
    task: str = ""
    key: str = ""
    payload: str = ""
    status: str = ""
    epoch: int = 0
    number: int = 0
    kind: str = ""
    sha256: str = ""


_ACK = msgspec.json.Decoder(Ack)


class Stored(NamedTuple):
    """What the store has of the run that a line speaks of."""

    run: Run | None = None
    payload: str = ""
    """Hash of its payload."""
    result: str = ""
    """Hash of its result."""
    pruned: bool = False
    """Retention has removed it."""
    winner: str = ""
    """The enqueue became this run."""
    refused: str = ""
    """The enqueue was refused later."""
    waits: bool = False
    """It may still wait in INGEST."""


class Saved(NamedTuple):
    """What the store has under a number or a key."""

    sha256: str = ""
    epoch: int = 0
    status: str = ""


def read(path: Path, report: Report) -> Iterator[list[Ack]]:
    """The lines of one journal in batches; what does not read is noted. Raises OSError."""
    lines = Lines([path], _ACK, lambda ack: is_run_id(ack.run))
    batch: list[Ack] = []
    for ack in lines:
        batch.append(ack)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
    if lines.bad:
        what = f"{lines.bad} lines of {path.name} do not read"
        report.note("I1", f"{what}: half lines of killed processes")


def check(ack: Ack, stored: Stored, saved: Saved | None, report: Report) -> Iterator[Violation]:
    """One acknowledgement; `saved` for those of checkpoints and marks."""
    if ack.op == "enqueue":
        report.count("I1")
        yield from _enqueued(ack, stored, report)
    elif ack.op == "result":
        report.count("I3")
        yield from _ended(ack, stored)
    elif ack.op == "checkpoint":
        report.count("I7")
        yield from _checkpoint(ack, stored, saved)
    elif ack.op == "mark":
        report.count("I7")
        yield from _mark(ack, stored, saved)


def _enqueued(ack: Ack, stored: Stored, report: Report) -> Iterator[Violation]:
    if stored.pruned:
        return
    if stored.run is None:
        if ack.word == "accepted" and (stored.winner or stored.refused or stored.waits):
            return  # what became of it is known, and told to who asks (C4); or will be
        if ack.word == "duplicate":
            what = f"its key belonged to {ack.winner}, and there is no such run"
        else:
            what = f"its enqueue was acknowledged ({ack.word}), and there is no such run"
        yield Violation("I1", ack.run, what)
        return
    report.count("I11")
    if ack.payload and stored.payload and ack.payload != stored.payload:
        if ack.word == "duplicate":
            yield Violation("I11", ack.run, f"it got run {ack.winner} for key {ack.key!r}, which"
                            " has another payload")  # fmt: skip
        else:
            yield Violation("I1", ack.run, "recorded with another payload than was sent", 1)


def _ended(ack: Ack, stored: Stored) -> Iterator[Violation]:
    run = stored.run
    if stored.pruned:
        return
    if run is None:
        yield Violation("I3", ack.run, f"the caller saw it {ack.status}, and there is no such run")
    elif run.state.lower() != ack.status:
        yield Violation("I3", ack.run, f"the caller saw it {ack.status}, it is {run.state}", run.n)
    elif ack.status == "succeeded" and stored.result != ack.sha256:
        yield Violation("I3", ack.run, "the caller saw another result than is stored", run.n)


def _checkpoint(ack: Ack, stored: Stored, saved: Saved | None) -> Iterator[Violation]:
    run = stored.run
    if stored.pruned:
        return
    if run is None:
        yield Violation("I7", ack.run, f"checkpoint {ack.number} was acknowledged, and there is no"
                        " such run", 0, ack.epoch)  # fmt: skip
    elif saved is None:
        if not prunable(run, ack.number):
            yield Violation("I7", ack.run, f"checkpoint {ack.number} was acknowledged and is gone",
                            0, ack.epoch)  # fmt: skip
    elif saved.sha256 != ack.sha256:
        yield Violation("I7", ack.run, f"checkpoint {ack.number} was acknowledged with another"
                        f" state ({ack.sha256[:12]}, stored {saved.sha256[:12]})", 0,
                        ack.epoch)  # fmt: skip


def _mark(ack: Ack, stored: Stored, saved: Saved | None) -> Iterator[Violation]:
    if stored.pruned:
        return
    what = f"{ack.kind} {ack.key!r} was acknowledged as done"
    if saved is None:
        yield Violation("I7", ack.run, f"{what} and is gone", 0, ack.epoch)
    elif saved.status != "done":
        yield Violation("I7", ack.run, f"{what} and is {saved.status}", 0, ack.epoch)
    elif saved.sha256 != ack.sha256:
        yield Violation("I7", ack.run, f"{what} with another value than is stored", 0, ack.epoch)


def looked_at(ack: Ack) -> str:
    """The run whose row must be there."""
    return ack.winner if ack.op == "enqueue" and ack.word == "duplicate" else ack.run
