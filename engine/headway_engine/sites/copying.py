"""From the messages of a site's RUNS to the rows that a hub keeps of them; pure.

What a message does to a run is decided by the site's own `fold`. A hub keeps what a site has
pruned: its own retention decides how long.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headway.wire import Malformed, decode
from headway.wire.events import Event
from headway_engine.changes.fold import Broken, fold
from headway_engine.changes.messages import (
    BODY,
    Body,
    CheckpointPut,
    Ended,
    Made,
    MarkPut,
    Record,
    UsagePut,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway_engine.sites.records import Position


class Copied(NamedTuple):
    """One message of a site's RUNS, as the hub has it."""

    seq: int
    """In the site's RUNS."""
    subject: str
    data: bytes


@dataclass(slots=True)
class Rows:
    """What to write, and how far that leads."""

    site: str
    position: int
    skipped: int = 0
    why: str = ""
    """Of the last message that was skipped."""
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    anew: set[str] = field(default_factory=set[str])
    """Ids that were used again at the site: what is known under them goes first."""
    made: list[tuple[str, Made]] = field(default_factory=list[tuple[str, Made]])
    ends: list[tuple[str, Ended]] = field(default_factory=list[tuple[str, Ended]])
    events: list[tuple[str, Event]] = field(default_factory=list[tuple[str, Event]])
    checkpoints: list[tuple[str, datetime, CheckpointPut]] = field(
        default_factory=list[tuple[str, datetime, CheckpointPut]]
    )
    dropped: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    marks: list[tuple[str, datetime, MarkPut]] = field(
        default_factory=list[tuple[str, datetime, MarkPut]]
    )
    usage: list[tuple[str, str, str, datetime, UsagePut]] = field(
        default_factory=list[tuple[str, str, str, datetime, UsagePut]]
    )
    """(run, namespace, task, when, totals)."""


def runs_of(messages: Iterable[Copied]) -> list[str]:
    """The runs that these messages are about."""
    found = {place[1] for m in messages if (place := _place(m.subject)) is not None}
    return sorted(found)


def rows_of(
    position: Position, known: dict[str, tuple[str, Record]], messages: Iterable[Copied]
) -> Rows:
    """The rows of what comes after the position; what is known already makes none.

    `known`: of the runs of these messages, the site that owns each and its record.
    """
    rows = Rows(position.site, position.seq)
    records = {run: record for run, (site, record) in known.items() if site == position.site}
    foreign = {run: site for run, (site, _) in known.items() if site != position.site}
    for message in messages:
        if message.seq <= rows.position:
            continue
        rows.position = message.seq
        place = _place(message.subject)
        if place is None:
            continue  # a key: it decides at the site alone
        ns, run = place
        try:
            if run in foreign:
                raise Broken(f"run {run}: it is site {foreign[run]}'s")
            body = decode(BODY, message.data)
            if body.run != run:
                raise Broken(f"run {run}: the message is about {body.run[:40]}")
            _take(rows, records, body, ns, message.seq)
        except (Broken, Malformed) as e:
            rows.skipped += 1
            rows.why = f"message {message.seq}: {e}"
    return rows


def _place(subject: str) -> tuple[str, str] | None:
    """(namespace, run) of a message about a run."""
    parts = subject.split(".")
    return (parts[2], parts[3]) if len(parts) > 4 and parts[1] == "run" else None


def _take(rows: Rows, records: dict[str, Record], body: Body, ns: str, seq: int) -> None:
    change, run = body.edge, body.run
    old = records.get(run)
    if change.removed:
        _removed(rows, records, old, body, ns, seq)
        return
    if old is not None and (old.ns != ns or (change.made is not None and old.run is not None)):
        if change.made is None:
            raise Broken(f"run {run}: it is of namespace {old.ns}")
        old = None
        _forget(rows, run)
    new = fold(old, body, ns, seq)
    rows.records[run] = records[run] = new
    rows.events += [(run, e) for e in body.events]
    if change.made is not None:
        rows.made.append((run, change.made))
    if change.end is not None:
        rows.ends.append((run, change.end))
    rows.checkpoints += [(run, c.at or change.at, c) for c in change.checkpoints]
    rows.dropped += [(run, number) for number in change.dropped]
    rows.marks += [(run, change.at, m) for m in change.marks]
    task = "" if new.run is None else new.run.task
    rows.usage += [(run, ns, task, change.at, u) for u in change.usage]


def _removed(
    rows: Rows, records: dict[str, Record], old: Record | None, body: Body, ns: str, seq: int
) -> None:
    """The site's retention is over, not ours.

    Of a run that had to go before it was known here, the tombstone says at least how it ended.
    """
    change, run = body.edge, body.run
    if change.fields is None or (old is not None and old.run is not None and old.run.ended_at):
        return
    if old is None or old.run is None:
        raise Broken(f"run {run} was removed at the site before anything of it was here")
    last = msgspec.structs.replace(change, removed=False)
    new = fold(old, msgspec.structs.replace(body, edge=last), ns, seq)
    rows.records[run] = records[run] = new
    rows.skipped += 1
    rows.why = f"run {run} was removed at the site before all of it was here"


def _forget(rows: Rows, run: str) -> None:
    """The id begins anew: neither what is known nor what stands in `rows` is about it."""
    rows.anew.add(run)
    rows.made = [r for r in rows.made if r[0] != run]
    rows.ends = [r for r in rows.ends if r[0] != run]
    rows.events = [r for r in rows.events if r[0] != run]
    rows.checkpoints = [r for r in rows.checkpoints if r[0] != run]
    rows.dropped = [r for r in rows.dropped if r[0] != run]
    rows.marks = [r for r in rows.marks if r[0] != run]
    rows.usage = [r for r in rows.usage if r[0] != run]


def only_position(rows: Rows, why: str) -> Rows:
    """The same way on, with nothing written: of a message that the tables cannot take."""
    return Rows(rows.site, rows.position, 1, why)
