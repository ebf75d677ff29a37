"""I7 and I17 from the rows alone, and I11: what was saved is there, byte for byte. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway_ops.verify.facts import FREES_KEY, Body
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway_ops.verify.facts import History, Run
    from headway_ops.verify.report import Report


class Place(NamedTuple):
    """A body in the blob store, and the event by which it came there."""

    body: Body
    n: int = 0
    epoch: int = 0


def check(h: History, report: Report) -> Iterator[Violation]:
    """Checkpoints that must be there are; states in rows have the hash they were saved with."""
    yield from _kept(h, report)
    yield from _states(h, report)
    yield from _key(h, report)


def prunable(run: Run, number: int, keep: bool = False) -> bool:
    """May retention have removed this checkpoint? The first, the last ones and the named stay."""
    return 1 < number <= run.ck - run.keep_ck and not keep


def _kept(h: History, report: Report) -> Iterator[Violation]:
    if h.holes:
        return
    there = {c.number for c in h.checkpoints}
    for e in h.events:
        if e.kind != "checkpoint":
            continue
        report.count("I7")
        number = e.data.get("number") or 0
        if number not in there and not prunable(h.run, number):
            yield Violation("I7", h.run.id, f"checkpoint {number} is gone", e.n, e.epoch)


def _states(h: History, report: Report) -> Iterator[Violation]:
    events = {e.data.get("number"): e.n for e in h.events if e.kind == "checkpoint"}
    for c in h.checkpoints:
        n = events.get(c.number, 0)
        if c.ref is not None:
            if (c.ref.sha256, c.ref.size) != (c.sha256, c.size):
                yield Violation("I17", h.run.id, f"checkpoint {c.number} and the reference to its"
                                " blob differ in hash or size", n, c.epoch)  # fmt: skip
            continue
        report.count("I17")
        if c.found != c.sha256:
            yield Violation("I17", h.run.id, f"the state of checkpoint {c.number} has the hash"
                            f" {c.found[:12]}, saved was {c.sha256[:12]}", n, c.epoch)  # fmt: skip
        elif c.found_size != c.size:
            yield Violation("I17", h.run.id, f"the state of checkpoint {c.number} has"
                            f" {c.found_size} bytes, saved were {c.size}", n, c.epoch)  # fmt: skip


def blobs_of(h: History) -> list[Place]:
    """What of this run lies in blobs."""
    numbers: dict[str, int] = {"payload": 1, "result": h.run.n}
    keys: dict[str, int] = {}
    for e in h.events:
        if e.kind == "checkpoint":
            numbers[f"checkpoint {e.data.get('number')}"] = e.n
        elif "key" in e.data:
            keys[e.data["key"]] = e.n
    places = [Place(body, numbers[body.what]) for body in h.bodies]
    places += [
        Place(c.ref, numbers.get(c.ref.what, 0), c.epoch)
        for c in h.checkpoints
        if c.ref is not None
    ]
    places += [Place(m.ref, keys.get(m.key, 0), m.epoch) for m in h.marks if m.ref is not None]
    return places


def _key(h: History, report: Report) -> Iterator[Violation]:
    """Within the window of a key's holder no other run was made for it (C3)."""
    run, holder = h.run, h.holder
    if not run.key or run.origin:
        return
    report.count("I11")
    if holder is None or holder.run == run.id or run.state in FREES_KEY:
        return
    if holder.at <= run.created_at < holder.until:
        yield Violation("I11", run.id, f"made for key {run.key!r} while run {holder.run} held it",
                        1)  # fmt: skip
