"""The rules of intake that all stores share, with no I/O: repeats, keys, what may go at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway_engine.store.records import EnqueueOutcome, NewRun

if TYPE_CHECKING:
    from collections.abc import Sequence

Room = dict[str, tuple[int, int]]
"""Per queue, how many (run-isolated, shared) runs may be dispatched at once."""


def choose(items: Sequence[NewRun], room: Room) -> list[bool]:
    """Which items may be dispatched at once: up to the queue's room, by priority."""
    give = [False] * len(items)
    if not room:
        return give
    left = {queue: list(pair) for queue, pair in room.items()}
    order: Sequence[int] = range(len(items))
    if any(new.run.priority for new in items):
        order = sorted(order, key=lambda i: -items[i].run.priority)
    for i in order:
        run = items[i].run
        pair = left.get(run.queue)
        if pair is not None and run.due_at is None and pair[run.shared] > 0:
            pair[run.shared] -= 1
            give[i] = True
    return give


def key_of(new: NewRun) -> tuple[str, str, str]:
    """(task, scope, key) of an item."""
    return new.run.task, new.key_scope, new.run.key


def seen(new: NewRun, ns: str, payload_hash: str, ended: bool) -> EnqueueOutcome:
    """The id is known, in `ns` and with that hash: a repeat, or another run under the same id."""
    if ns != new.run.ns or payload_hash != new.payload_hash:
        return conflict(new.run.id, "this run id belongs to a run with another payload")
    return EnqueueOutcome(new.run.id, "again", winner=new.run.id, ended=ended)


def duplicate(new: NewRun, winner: str, held: str, ended: bool) -> EnqueueOutcome:
    """The key is held by `winner`."""
    if held != new.payload_hash:
        reason = f"key {new.run.key!r} belongs to run {winner}, which has another payload"
        return EnqueueOutcome(new.run.id, "rejected", code="key_conflict", reason=reason)
    return EnqueueOutcome(new.run.id, "duplicate", winner=winner, ended=ended)


def repeat(new: NewRun, first_hash: str, first: EnqueueOutcome) -> EnqueueOutcome:
    """The same id a second time in one batch."""
    if new.payload_hash != first_hash:
        return conflict(new.run.id, "this run id belongs to a run with another payload")
    if first.outcome == "recorded":
        return EnqueueOutcome(new.run.id, "again", winner=new.run.id, ended=first.ended)
    return msgspec.structs.replace(first, events=[], record=None)


def removed(new: NewRun) -> EnqueueOutcome:
    """The id is that of a run which ended and was removed: an old message came again."""
    reason = "a run with this id has ended, and was removed after its retention"
    return EnqueueOutcome(new.run.id, "rejected", code="removed", reason=reason)


def conflict(run: str, reason: str) -> EnqueueOutcome:
    """Refused: the id is another run's."""
    return EnqueueOutcome(run, "rejected", code="conflict", reason=reason)
