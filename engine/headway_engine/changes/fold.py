"""From the messages of an id to its record, with no I/O: what RUNS says is what was decided.

The same function makes the record after a write and when the projection is made anew, so the two
cannot differ. Rows beside the record (events, checkpoints, marks, usage) are written as the
`Change` has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway.states import RunState
from headway_engine.changes.messages import Record, blank, changed
from headway_engine.store.records import OnceMark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway_engine.changes.messages import Body, Change, MarkPut


class Broken(Exception):
    """The message does not fit on what came before it; it is skipped and reported."""


def fold(record: Record | None, body: Body, ns: str, seq: int) -> Record:
    """The record after this message; raises Broken if it says nothing that can be followed."""
    change = body.edge
    if change.removed:
        return Record(body.run, ns, seq, removed_at=change.at)
    new = Record(body.run, ns) if record is None else msgspec.structs.replace(record)
    new.seq = seq
    if change.made is not None:
        made = change.made
        new.hash, new.schema, new.scope = made.hash, made.schema, made.scope
        new.queued_at, new.removed_at = change.at, None
    if change.fields is not None:
        _move(new, change)
    if change.dispatch is not None:
        given = change.dispatch == "given"
        new.dispatch, new.dispatched_at = (seq, change.at) if given else (0, None)
    if change.marks:
        new.open = open_marks(new.open, change.marks)
    if change.timeout is not None:
        new.timeout = change.timeout
    if change.keep is not None:
        new.keep = change.keep
    new.freed = new.freed or change.freed
    new.early = change.early or new.early
    if change.refused is not None or change.alias:
        new.refused, new.alias, new.noted_at = change.refused, change.alias, change.at
    elif change.early is not None and new.run is None:
        new.noted_at = change.at
    if change.budget is not None:
        new.budget = change.budget
    return new


def _move(new: Record, change: Change) -> None:
    if new.run is None:
        if change.made is None:
            raise Broken(f"run {new.id}: its first message is missing")
        new.run = blank(new.id, new.ns)
    fields = changed(change.fields)
    new.run = msgspec.structs.replace(new.run, **fields)
    if "state" in fields:
        new.dispatch, new.dispatched_at = 0, None
        if new.run.state is RunState.QUEUED:
            new.queued_at = change.at


def open_marks(before: tuple[OnceMark, ...], written: Iterable[MarkPut]) -> tuple[OnceMark, ...]:
    """Once marks that are neither done nor resolved, in key order, after these were written."""
    found = {m.key: m for m in before}
    for put in written:
        r = put.record
        if r.kind == "once" and r.status != "done" and not r.resolved:
            found[r.key] = OnceMark(r.key, put.token, r.epoch, r.status)
        else:
            found.pop(r.key, None)
    return tuple(found[key] for key in sorted(found))
