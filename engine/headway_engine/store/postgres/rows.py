"""Rows to records and back."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from headway.states import RunState
from headway.wire import NOTHING, BlobRef, ErrorInfo, encode
from headway.wire.events import Event
from headway.wire.fleet import TaskSpec
from headway.wire.rpc import MarkRecord
from headway_engine.store.records import OnceMark, Run

if TYPE_CHECKING:
    from datetime import datetime

STATES: dict[str, RunState] = {s.value: s for s in RunState}

_marks = msgspec.json.Decoder(tuple[tuple[str, str, int, str], ...])
_ref = msgspec.json.Decoder(BlobRef)
_error = msgspec.json.Decoder(ErrorInfo)
_data = msgspec.json.Decoder(dict[str, Any])
_spec = msgspec.json.Decoder(TaskSpec)

COLUMNS = 38
"""Columns of the view run_records that are fields of Run, in its order."""


def run_of(row: Any) -> Run:
    """A row of the view run_records."""
    run = Run(*row[:COLUMNS])
    run.state = STATES[run.state]
    run.unstarted_agents = tuple(run.unstarted_agents)
    run.unconfirmed = tuple(run.unconfirmed)
    run.tags, run.failure, run.acked = tuple(row["tags"]), row["failure"], row["acked"]
    run.marks = marks_of(row[COLUMNS])
    return run


def marks_of(column: str | None) -> tuple[OnceMark, ...]:
    """The column open_marks."""
    return () if column is None else tuple(OnceMark(*m) for m in _marks.decode(column))


def ref_of(column: bytes | None) -> BlobRef | None:
    """A BlobRef column."""
    return None if column is None else _ref.decode(column)


def error_of(column: bytes | None) -> ErrorInfo | None:
    """An ErrorInfo column."""
    return None if column is None else _error.decode(column)


def pack(value: msgspec.Struct | None) -> bytes | None:
    """A Struct, or none, as a column."""
    return None if value is None else encode(value)


def data_of(column: bytes | None) -> dict[str, Any]:
    """An event's data."""
    return {} if column is None else _data.decode(column)


def spec_of(column: bytes) -> TaskSpec:
    """A TaskSpec column."""
    return _spec.decode(column)


def event_of(row: Any) -> Event:
    """A row of events: n, at, kind, epoch, source, target, actor, data."""
    return Event(
        row["n"],
        row["at"],
        row["kind"],
        row["epoch"],
        row["source"],
        row["target"],
        row["actor"],
        data_of(row["data"]),
    )


def mark_of(row: Any) -> MarkRecord:
    """A row of marks."""
    due: datetime | None = row["due_at"]
    return MarkRecord(
        row["key"],
        row["kind"],
        row["fn"],
        intern(row["status"]),  # a field is left out only if it is its default itself
        row["epoch"],
        Raw(row["value"]) if row["value"] else NOTHING,
        ref_of(row["ref"]),
        error_of(row["error"]),
        due,
        row["resolved"],
    )


def same(column: list[Any]) -> list[Any]:
    """The column; its first value alone if all are equal, which the statement knows too."""
    return column[:1] if column.count(column[0]) == len(column) else column


def lean(column: list[Any], default: Any = None) -> list[Any]:
    """The column; empty if it holds nothing but `default`.

    Every value of an array costs, here and there; unnest fills a shorter array up with NULL, for
    which the statement knows the default.
    """
    return [] if column.count(default) == len(column) else column
