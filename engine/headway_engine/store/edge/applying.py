"""What messages of RUNS do to the rows of the projection: gathered first, then written at once."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headway.wire import Malformed, decode, encode
from headway_engine.changes.fold import Broken, fold
from headway_engine.changes.messages import BODY, KEY_BODY, Record, changed, freeze
from headway_engine.store.edge.rows import UPSERT, row_of, text_of
from headway_engine.store.edge.times import us, us_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from headway.wire.rpc import MarkRecord
    from headway_engine.changes.messages import Body
    from headway_engine.store.edge.projection import Projection

log = logging.getLogger("headway.engine.edge")

TOLD = 20
"""So many messages that were skipped are said one by one."""
OF_CHECKPOINTS, OF_RUNS = timedelta(hours=1), timedelta(days=1)
"""Until blobs go that nothing names any more."""
TABLES = ("bodies", "events", "checkpoints", "marks", "usage", "forks")
_QUIET = frozenset({"n", "ck"})
"""Fields whose change touches no index."""


class Message(NamedTuple):
    """One message of RUNS."""

    subject: str
    seq: int
    data: bytes


class Changes:
    """What some messages do to the rows, gathered so that each row is written once."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.records: dict[str, Record] = {}
        self._loud: set[str] = set()
        self._rows: list[tuple[str, Sequence[Any]]] = []
        self._events: list[tuple[str, int, bytes]] = []
        self.marks: dict[tuple[str, str], tuple[MarkRecord, str, int]] = {}
        """(record, token, after) of the marks among them, by run and key."""
        self.removed: set[str] = set()
        """Ids of which nothing is left."""

    def take(self, message: Message) -> None:
        """Book one message."""
        parts = message.subject.split(".")
        try:
            if parts[1] == "key":
                self._key(message)
            elif parts[1] == "run":
                body = decode(BODY, message.data)
                if body.run != parts[3]:
                    raise Broken(f"it speaks of run {body.run}")
                self._run(body, parts[2], message.seq)
        except (Broken, Malformed, IndexError) as e:
            self._skip(message, parts, e)

    def _skip(self, message: Message, parts: list[str], why: Exception) -> None:
        """It says nothing that can be followed, but it counts for the next write of its id."""
        self._projection.skipped += 1
        if self._projection.skipped <= TOLD:
            log.warning(
                "a message of RUNS is skipped: seq=%d subject=%s why=%s",
                message.seq, message.subject, why,
            )  # fmt: skip
        if parts[1] == "run" and len(parts) > 4:
            ns, run = parts[2], parts[3]
            old = self._old(run, ns)
            if old is None or (old.ns == ns and old.seq < message.seq):
                old = Record(run, ns) if old is None else old
                self.records[run] = msgspec.structs.replace(old, seq=message.seq)
                self._loud.add(run)

    def _old(self, run: str, ns: str) -> Record | None:
        """What the id was before; what another namespace noted of it without a run is nothing."""
        old = self.records.get(run) or self._projection.record(run)
        return None if old is not None and old.ns != ns and old.run is None else old

    def _key(self, message: Message) -> None:
        key = decode(KEY_BODY, message.data)
        row = (message.subject, message.seq, key.run, key.hash, us(key.until))
        self._rows.append((_KEY, row))

    def _run(self, body: Body, ns: str, seq: int) -> None:
        old = self._old(body.run, ns)
        if old is not None and old.ns != ns:
            raise Broken(f"the id is a run's of namespace {old.ns}")
        if old is not None and seq <= old.seq:
            return  # it was applied when it was written
        new = fold(old, body, ns, seq)
        change = body.edge
        self.records[body.run] = new
        if body.run not in self._loud and (old is None or not _quiet(body)):
            self._loud.add(body.run)
        self._events += [(body.run, e.n, encode(e)) for e in body.events]
        self._beside(body, ns, us(change.at), new)

    def _beside(self, body: Body, ns: str, at: int, new: Record) -> None:
        change, run, put = body.edge, body.run, self._rows
        if change.removed:
            self.removed.add(run)
            self.marks = {place: m for place, m in self.marks.items() if place[0] != run}
            self._events = [e for e in self._events if e[0] != run]
            put += [(f"DELETE FROM {table} WHERE run = ?", (run,)) for table in TABLES]
            if change.blobs:
                put.append((_PURGE, (ns, run, "", at + us_of(OF_RUNS))))
            return
        if change.made is not None:
            made = change.made
            if body.events and (job := body.events[0].data.get("job")):
                put.append((_FORK, (run, ns, job)))
            put.append((_PAYLOAD, (run, bytes(made.payload), text_of(made.payload_ref))))
        if (end := change.end) is not None:
            error = None if end.error is None else encode(end.error).decode()
            put.append((_END, (bytes(end.result), text_of(end.ref), end.size, error, run)))
        for c in change.checkpoints:
            saved = at if c.at is None else us(c.at)
            put.append(
                (_CHECKPOINT, (run, c.number, c.name, c.sha256, c.size, c.epoch, saved, c.schema,
                               c.keep, text_of(c.ref), bytes(c.state)))
            )  # fmt: skip
        for number in change.dropped:
            put.append((_DROPPED, (ns, at + us_of(OF_CHECKPOINTS), run, number)))
            put.append((_DROP, (run, number)))
        for m in change.marks:
            r = m.record
            self.marks[run, r.key] = (r, m.token, m.after)
            put.append(
                (_MARK, (run, r.key, r.kind, r.status, r.epoch, at, m.token, m.size, m.after,
                         text_of(r.ref), encode(r)))
            )  # fmt: skip
        for u in change.usage:
            task = "" if new.run is None else new.run.task
            put.append(
                (_USAGE, (run, u.epoch, u.model, ns, task, at, u.tokens_in, u.tokens_out,
                          u.cost_usd))
            )  # fmt: skip

    def write(self, db: sqlite3.Connection) -> None:
        """Write all rows, in the order of their messages."""
        for sql, row in self._rows:
            db.execute(sql, row)
        if self._events:
            db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?)", self._events)
        for run, record in self.records.items():
            if run in self._loud:
                db.execute(UPSERT, row_of(record))
            else:
                assert record.run is not None
                numbers = (record.seq, record.run.n, record.run.ck, freeze(record), run)
                db.execute(_NUMBERS, numbers)


_KEY = (
    "INSERT INTO keys VALUES (?, ?, ?, ?, ?) ON CONFLICT (subject) DO UPDATE SET"
    " seq = excluded.seq, run = excluded.run, hash = excluded.hash, until = excluded.until"
    " WHERE excluded.seq > keys.seq"
)
_FORK = "INSERT OR REPLACE INTO forks VALUES (?, ?, ?)"
_PAYLOAD = "INSERT OR REPLACE INTO bodies (run, payload, payload_ref) VALUES (?, ?, ?)"
_END = (
    "UPDATE bodies SET result = ?, result_ref = ?, result_size = ?, error = ?, ended = 1"
    " WHERE run = ?"
)
_CHECKPOINT = "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DROPPED = (
    "INSERT INTO purges SELECT ?1, run, json_extract(ref, '$.key'), ?2 FROM checkpoints"
    " WHERE run = ?3 AND number = ?4 AND ref IS NOT NULL"
    " ON CONFLICT DO UPDATE SET due_at = max(due_at, excluded.due_at)"
)
_DROP = "DELETE FROM checkpoints WHERE run = ? AND number = ?"
_PURGE = "INSERT OR IGNORE INTO purges VALUES (?, ?, ?, ?)"
_MARK = "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_USAGE = "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NUMBERS = "UPDATE runs SET seq = ?, n = ?, ck = ?, record = ? WHERE id = ?"


def _quiet(body: Body) -> bool:
    """It changes no more of the run's row than numbers."""
    c = body.edge
    special = (
        c.made or c.dispatch or c.early or c.refused or c.alias or c.removed or c.budget
        or c.timeout
    )  # fmt: skip
    return not special and (c.fields is None or changed(c.fields).keys() <= _QUIET)
