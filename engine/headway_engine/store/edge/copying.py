"""What a fork begins with: copies of checkpoints and marks, in the run's own first messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from headway.wire import NOTHING, decoder
from headway.wire.rpc import MarkRecord
from headway_engine.changes.messages import CheckpointPut, MarkPut
from headway_engine.store.edge.rows import ref_of
from headway_engine.store.edge.times import moment
from headway_engine.store.forking import moved

if TYPE_CHECKING:
    import sqlite3

    from headway.wire import BlobRef
    from headway_engine.store.edge.building import Building
    from headway_engine.store.records import ForkPoint, Start

_MARK = decoder(MarkRecord)


def copied(db: sqlite3.Connection, building: Building, point: ForkPoint) -> None:
    """Checkpoints up to the point and the marks that it names, of the run that is forked."""
    target = building.run.id
    for key in point.marks:
        row = db.execute(
            "SELECT record, token, size, after FROM marks WHERE run = ? AND key = ?",
            (point.source, key),
        ).fetchone()
        if row is not None:
            record = _MARK.decode(row[0])
            ref = _moved(record.ref, point.source, target)
            record = msgspec.structs.replace(record, epoch=0, ref=ref)
            building.put_mark(MarkPut(record, row[1], row[2], min(row[3], point.number)))
    rows = db.execute(
        "SELECT number, name, sha256, size, state, ref, schema, keep, at FROM checkpoints"
        " WHERE run = ? AND number <= ? ORDER BY number",
        (point.source, point.number),
    )
    for number, name, sha, size, state, ref, schema, keep, at in rows:
        put = CheckpointPut(
            number, name, sha, size, 0, Raw(state) if state else NOTHING,
            _moved(ref_of(ref), point.source, target), schema, bool(keep), moment(at),
        )  # fmt: skip
        if number == point.number and (edited := point.state) is not None:
            put.sha256, put.size, put.ref = edited.sha256, edited.size, edited.ref
            put.state = NOTHING if edited.ref is not None else Raw(edited.body)
        building.checkpoints[number] = put


def given(building: Building, start: Start) -> None:
    """What came with the enqueue: a fork from a bundle."""
    for mark in start.marks:
        record = msgspec.structs.replace(mark.record, epoch=0, value=mark.record.value or NOTHING)
        building.put_mark(MarkPut(record, mark.token, mark.size, mark.after))
    if (point := start.point) is not None:
        state = point.state
        building.checkpoints[point.number] = CheckpointPut(
            point.number, point.name, state.sha256, state.size, 0,
            NOTHING if state.ref is not None else Raw(state.body), state.ref, point.schema,
            keep=True,
        )  # fmt: skip


def _moved(ref: BlobRef | None, source: str, target: str) -> BlobRef | None:
    return None if ref is None else msgspec.structs.replace(ref, key=moved(ref.key, source, target))
