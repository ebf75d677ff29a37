"""The SQLite projection of RUNS: the engine's working set, and what lists are read from.

It is never the truth. It remembers up to where it has applied RUNS in the same transaction as what
it applied, so after any crash it goes on from there; it is made anew where it is missing, damaged,
of another schema, or of another stream. It is written without fsync for each commit: a power cut
takes back its last commits, never its order (WAL, `synchronous=NORMAL`).

Each message is applied once: one that is not after the record's own sequence is skipped. So the
writer may apply what it has published at once, and meet it again when it reads the stream.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections import OrderedDict
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headway.wire import BlobRef, ErrorInfo, Malformed, decode, decoder, encode
from headway_engine.changes.fold import Broken, fold
from headway_engine.changes.messages import BODY, KEY_BODY, Record, changed, freeze, thaw
from headway_engine.store.edge import dialect
from headway_engine.store.edge.times import us

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from headway_engine.changes.messages import Body

log = logging.getLogger("headway.engine.edge")

SCHEMA = 2
"""Of `projection.sql`: another number in the file means that it is made anew."""
TOLD = 20
"""So many messages that were skipped are said one by one."""
CACHED = 4000
"""Records that are kept decoded."""
OF_CHECKPOINTS, OF_RUNS = timedelta(hours=1), timedelta(days=1)
"""Until blobs go that nothing names any more."""

_TABLES = ("bodies", "events", "checkpoints", "marks", "usage", "forks")
_QUIET = frozenset({"n", "ck"})
"""Fields whose change touches no index."""
_REF, _ERROR = decoder(BlobRef), decoder(ErrorInfo)

_COLUMNS = (
    "id", "ns", "seq", "state", "task", "queue", "version", "agent", "session", "epoch", "n", "ck",
    "failures", "priority", "resumed", "shared", "limit_key", "dispatch", "created_at",
    "queued_at", "due_at", "ttl_at", "deadline_at", "claimed_at", "attempt_at", "started_at",
    "ended_at", "timeout", "parent", "root", "origin", "key", "reason", "failure", "acked", "tags",
    "early", "noted_at", "budget_usd", "budget_tokens", "record",
)  # fmt: skip
_UPSERT = (
    f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[1:])}"
)


class Message(NamedTuple):
    """One message of RUNS."""

    subject: str
    seq: int
    data: bytes


class Projection:
    """One file. All calls are short and belong to one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db: sqlite3.Connection = None  # pyright: ignore[reportAttributeAccessIssue]  # by open
        self.watermark = 0
        """All messages up to this one are applied."""
        self.skipped = 0
        """Messages that said nothing that could be followed."""
        self._cache: OrderedDict[str, Record] = OrderedDict()
        self._stream = ""

    # --- the file

    def open(self, stream: str, last: int) -> str:
        """Open for this stream (its creation time), which ends at `last`.

        Why it was made anew; empty = it goes on where it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        why = "it was not there"
        if self.path.exists():
            try:
                why = self._connect(stream, last)
            except (sqlite3.Error, KeyError, ValueError) as e:
                why = f"it is damaged ({e})"
            if not why:
                return ""
        self._stream = stream
        self.make_anew()
        return why

    def _connect(self, stream: str, last: int) -> str:
        self._stream = stream
        self._plug()
        ((version,),) = self.db.execute("PRAGMA user_version")
        if version != SCHEMA:
            return f"its schema is {version}, this engine's is {SCHEMA}"
        meta = dict(self.db.execute("SELECT name, value FROM meta"))
        if not int(meta["closed"]):
            ((sound,),) = self.db.execute("PRAGMA quick_check(1)")
            if sound != "ok":
                return f"it is damaged ({sound})"
        if meta.get("stream") != stream:
            return "RUNS was made anew"
        self.watermark = int(meta["watermark"])
        self.db.execute("UPDATE meta SET value = '0' WHERE name = 'closed'")
        return "RUNS has lost messages that it knows" if self.watermark > last else ""

    def _plug(self) -> None:
        self.db = sqlite3.connect(self.path, isolation_level=None, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16000"):
            self.db.execute(f"PRAGMA {pragma}")
        dialect.teach(self.db)

    def make_anew(self) -> None:
        """An empty one."""
        self.close()
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        self._plug()
        text = (
            resources.files("headway_engine.store.edge")
            .joinpath("projection.sql")
            .read_text("utf-8")
        )
        self.db.executescript(text)
        self.db.execute(f"PRAGMA user_version={SCHEMA}")
        meta = [("stream", self._stream), ("watermark", "0"), ("closed", "0")]
        self.db.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        self.watermark = 0

    def close(self) -> None:
        """Close the file; it may be opened again."""
        self._cache.clear()
        if self.db is not None:  # pyright: ignore[reportUnnecessaryComparison]
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("UPDATE meta SET value = '1' WHERE name = 'closed'")
            with contextlib.suppress(sqlite3.Error):
                self.db.close()

    # --- reading

    def record(self, run: str) -> Record | None:
        """All that decides about an id, or None if RUNS does not know it."""
        found = self._cache.get(run)
        if found is not None:
            self._cache.move_to_end(run)
            return found
        row = self.db.execute("SELECT record FROM runs WHERE id = ?", (run,)).fetchone()
        if row is None:
            return None
        found = thaw(row[0])
        self._keep(found)
        return found

    def _keep(self, record: Record) -> None:
        self._cache[record.id] = record
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)

    # --- writing

    def apply(self, messages: Iterable[Message], watermark: int | None = None) -> None:
        """Make the rows of these messages, in their order, and note how far RUNS is applied."""
        changes = _Changes(self)
        for message in messages:
            changes.take(message)
        upto = self.watermark if watermark is None else max(self.watermark, watermark)
        try:
            self.db.execute("BEGIN IMMEDIATE")
            changes.write(self.db)
            if upto != self.watermark:
                self.db.execute("UPDATE meta SET value = ? WHERE name = 'watermark'", (str(upto),))
            self.db.execute("COMMIT")
        except BaseException:
            self._cache.clear()
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
        self.watermark = upto
        for record in changes.records.values():
            self._keep(record)

    def forget(self, run: str) -> None:
        """RUNS has no message of this id any more."""
        self._cache.pop(run, None)
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                self.db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
            self.db.execute("DELETE FROM runs WHERE id = ?", (run,))

    def forget_key(self, subject: str) -> None:
        """RUNS has no holder of this key any more."""
        self.db.execute("DELETE FROM keys WHERE subject = ?", (subject,))


class _Changes:
    """What some messages do to the rows, gathered so that each row is written once."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.records: dict[str, Record] = {}
        self._loud: set[str] = set()
        self._rows: list[tuple[str, Sequence[Any]]] = []
        self._events: list[tuple[str, int, bytes]] = []

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
        quiet = (
            old is not None
            and (change.fields is None or changed(change.fields).keys() <= _QUIET)
            and not _special(body)
        )
        if not quiet:
            self._loud.add(body.run)
        self._events += [(body.run, e.n, encode(e)) for e in body.events]
        self._beside(body, ns, us(change.at), new)

    def _beside(self, body: Body, ns: str, at: int, new: Record) -> None:
        change, run, put = body.edge, body.run, self._rows
        if change.removed:
            self._events = [e for e in self._events if e[0] != run]
            put += [(f"DELETE FROM {table} WHERE run = ?", (run,)) for table in _TABLES]
            if change.blobs:
                put.append((_PURGE, (ns, run, "", at + us_of(OF_RUNS))))
            return
        if change.made is not None:
            made = change.made
            if body.events and (job := body.events[0].data.get("job")):
                put.append((_FORK, (run, ns, job)))
            put.append((_PAYLOAD, (run, bytes(made.payload), _ref(made.payload_ref))))
        if (end := change.end) is not None:
            error = None if end.error is None else encode(end.error).decode()
            put.append((_END, (bytes(end.result), _ref(end.ref), end.size, error, run)))
        for c in change.checkpoints:
            saved = at if c.at is None else us(c.at)
            put.append(
                (_CHECKPOINT, (run, c.number, c.name, c.sha256, c.size, c.epoch, saved, c.schema,
                               c.keep, _ref(c.ref), bytes(c.state)))
            )  # fmt: skip
        for number in change.dropped:
            put.append((_DROPPED, (ns, at + us_of(OF_CHECKPOINTS), run, number)))
            put.append((_DROP, (run, number)))
        for m in change.marks:
            r = m.record
            put.append(
                (_MARK, (run, r.key, r.kind, r.status, r.epoch, at, m.token, m.size, m.after,
                         _ref(r.ref), encode(r)))
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
                db.execute(_UPSERT, _row(record))
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


def _special(body: Body) -> bool:
    """It changes more of the run's row than numbers."""
    c = body.edge
    return bool(
        c.made or c.dispatch or c.early or c.refused or c.alias or c.removed or c.budget
        or c.timeout
    )  # fmt: skip


def us_of(span: timedelta) -> int:
    """Microseconds of a span."""
    return span // timedelta(microseconds=1)


def _ref(ref: BlobRef | None) -> str | None:
    return None if ref is None else encode(ref).decode()


def _row(record: Record) -> tuple[Any, ...]:
    r = record.run
    noted = us(record.removed_at or record.noted_at)
    usd, tokens = record.budget or (0.0, 0)
    tail = (record.early is not None, noted, usd, tokens, freeze(record))
    if r is None:
        return (
            record.id, record.ns, record.seq, None, "", "", "", "", 0, 0, 0, 0, 0, 0, 0, 0, "", 0,
            None, None, None, None, None, None, None, None, None, 0.0, "", "", "", "", "", "", 0,
            "[]", *tail,
        )  # fmt: skip
    return (
        record.id, record.ns, record.seq, r.state.value, r.task, r.queue, r.version, r.agent,
        r.session, r.epoch, r.n, r.ck, r.failures, r.priority, r.resumed, r.shared, r.limit_key,
        record.dispatch, us(r.created_at), us(record.queued_at), us(r.due_at), us(r.ttl_at),
        us(r.deadline_at), us(r.claimed_at), us(r.attempt_at), us(r.started_at), us(r.ended_at),
        record.timeout, r.parent, r.root, r.origin, r.key, r.reason, r.failure, r.acked,
        encode(record.tags).decode(), *tail,
    )  # fmt: skip


def error_of(text: str | None) -> ErrorInfo | None:
    """An error from its column."""
    return None if text is None else _ERROR.decode(text)


def ref_of(text: str | None) -> BlobRef | None:
    """A reference from its column."""
    return None if text is None else _REF.decode(text)
