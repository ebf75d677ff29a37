"""Gathers what several decisions in a row do to one run, for one message; without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway import subjects
from headway.wire import NOTHING
from headway_engine.changes.fold import open_marks
from headway_engine.changes.messages import Body, Change, CheckpointPut, Ended, MarkPut, difference
from headway_engine.store.edge.base import Write

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from headway.wire.events import Event
    from headway.wire.rpc import MarkRecord
    from headway_engine.changes.messages import Made, Record
    from headway_engine.store.records import Run, Transition

    Look = Callable[[str, str], tuple[MarkRecord, str, int] | None]


PART_BYTES = 512 * 1024
"""Of copied bodies in one message."""


class Building:
    """One message about a run."""

    def __init__(
        self, engine: str, now: datetime, run: Run, record: Record | None, look: Look
    ) -> None:
        """`run`: as loaded; `record`: None for a new one; `look`: reads a recorded mark."""
        self.change = Change(engine, now)
        self.run = run
        self.events: list[Event] = []
        self._old = None if record is None else record.run
        self._open = () if record is None else record.open
        self._look = look
        self._moved = False
        self._marks: dict[str, MarkPut] = {}
        self.checkpoints: dict[int, CheckpointPut] = {}

    @property
    def empty(self) -> bool:
        """Nothing is to be written."""
        c = self.change
        return not (self.events or self._marks or self.checkpoints or c.usage or c.dispatch)

    def mark(self, key: str) -> tuple[MarkRecord, str, int] | None:
        """A mark as this message leaves it: (record, token, after)."""
        put = self._marks.get(key)
        if put is not None:
            return put.record, put.token, put.after
        return self._look(self.run.id, key)

    def put_mark(self, put: MarkPut) -> None:
        """Write a mark."""
        self._marks[put.record.key] = put

    def made(self, made: Made) -> None:
        """It is the run's first message."""
        self.change.made = made
        self._moved = True

    def saved(self, run: Run, events: list[Event]) -> None:
        """A save has changed the run, and is told by these events."""
        self._moved = self._moved or run.state is not self.run.state
        self.run = run
        self.events += events

    def take(self, t: Transition) -> None:
        """Carry out a transition."""
        if t.run is None:
            return
        if self.run.state is not t.run.state:
            self._moved = True
        self.run = t.run
        self.events += t.events
        if t.end is not None:
            e = t.end
            self.change.end = Ended(e.result or NOTHING, e.ref, e.error, e.size)
        for write in t.marks:
            record = msgspec.structs.replace(write.record)
            old = self.mark(record.key)
            if old is not None and old[0].status == "done":
                continue
            if old is not None:
                record.kind = old[0].kind
                record.fn = record.fn or old[0].fn
            token = write.token or ("" if old is None else old[1])
            self.put_mark(MarkPut(record, token, after=write.after))
        self.change.freed = self.change.freed or t.free_key
        self.run.marks = open_marks(self._open, self._marks.values())

    def parts(self) -> list[Body]:
        """What is too much for one message, taken out of it: to be stored with it, before it."""
        found: list[Body] = []
        change, run, size = self.change, self.run, 0
        part = Change(change.by, change.at)
        items: list[tuple[int, CheckpointPut | MarkPut]] = [
            (len(bytes(c.state)), c) for c in change.checkpoints
        ]
        items += [(len(bytes(m.record.value)), m) for m in change.marks]
        if sum(much + 500 for much, _ in items) <= PART_BYTES:
            return found
        change.checkpoints, change.marks = [], []
        for much, item in items:
            if size and size + much + 500 > PART_BYTES:
                found.append(Body(run.id, part, run.ns))
                part, size = Change(change.by, change.at), 0
            size += much + 500
            if isinstance(item, CheckpointPut):
                part.checkpoints = [*part.checkpoints, item]
            else:
                part.marks = [*part.marks, item]
        return [*found, Body(run.id, part, run.ns)]

    def done(self, kind: str = subjects.EV) -> Write:
        """The message."""
        change, run = self.change, self.run
        fields = difference(self._old, run)
        if self._moved:
            fields.state = run.state
        change.fields = fields
        change.marks = list(self._marks.values())
        change.checkpoints = [c for n, c in self.checkpoints.items() if n not in change.dropped]
        body = Body(run.id, change, run.ns, run.task, self.events, run.queue)
        return Write(run.ns, body, kind)
