"""The SQLite projection of RUNS: the engine's working set, and what lists are read from.

It is never the truth. It remembers up to where it has applied RUNS in the same transaction as what
it applied, so after any crash it goes on from there; it is made anew where it is missing, damaged,
of another schema, or of another stream. It is written without fsync for each commit: a power cut
takes back its last commits, never its order (WAL, `synchronous=NORMAL`).

Each message is applied once: one that is not after the record's own sequence is skipped. So the
writer may apply what it has published at once, and meet it again when it reads the stream.

What the engine itself has published is in its records at once, and in the tables before anybody
looks at them (`db`), or a moment later: nobody waits for that.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections import OrderedDict
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from headway.wire import decoder
from headway.wire.rpc import MarkRecord
from headway_engine.changes.messages import thaw
from headway_engine.store.edge import dialect
from headway_engine.store.edge.applying import TABLES, Changes
from headway_engine.store.edge.damage import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from headway_engine.changes.messages import Record
    from headway_engine.store.edge.applying import Message

SCHEMA = 3
"""Of `projection.sql`: another number in the file means that it is made anew."""
CACHED = 4000
"""Records that are kept decoded."""
LATEST = 1 << 62
"""Beyond any sequence."""
_INDEX = re.compile(r"(?ms)^(?=CREATE INDEX (\w+))(.*?);")
_INDEXES = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"


_MARK = decoder(MarkRecord)


class Projection:
    """One file. All calls are short and belong to one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection = None  # pyright: ignore[reportAttributeAccessIssue]  # by open
        self._written = 0
        """All messages up to this one have their rows."""
        self.skipped = 0
        """Messages that said nothing that could be followed."""
        self.made = 0
        """How often another file took the place of the one that was there: who has waited for
        something since it looked at a record looks again if this has changed."""
        self._cache: OrderedDict[str, Record] = OrderedDict()
        self._noted: Changes | None = None
        """What is to be written before anybody looks at the tables."""
        self._upto = 0
        """All messages up to this one are applied, once that is written."""
        self.lost: Callable[[], object] = lambda: None
        """Called when rows could not be written: what they tell is read from RUNS again."""
        self.stream = ""
        """When RUNS was made, of which it tells."""

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; the tables say all that was noted. Raises sqlite3.Error."""
        self.flush()
        return self._db

    @property
    def watermark(self) -> int:
        """All messages up to this one are applied."""
        return max(self._written, self._upto)

    # --- the file

    def open(self, stream: str, last: int) -> str:
        """Open for this stream (its creation time), which ends at `last`.

        Why it was made anew; empty = it goes on where it was.
        """
        why = "it was not there"
        if self.path.exists():
            try:
                why = self._connect(stream, last)
            except (sqlite3.Error, KeyError, ValueError) as e:
                why = f"it is damaged ({e})"
            if not why:
                return ""
        self.stream = stream
        self.make_anew()
        return why

    def _connect(self, stream: str, last: int) -> str:
        self.stream = stream
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
        self._written = int(meta["watermark"])
        self.db.execute("UPDATE meta SET value = '0' WHERE name = 'closed'")
        return "RUNS has lost messages that it knows" if self.watermark > last else ""

    def _plug(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16000"):
            self.db.execute(f"PRAGMA {pragma}")
        dialect.teach(self.db)

    def make_anew(self) -> None:
        """An empty one. Raises sqlite3.Error or OSError where there can be none: ask again."""
        self._leave()
        self._plug()
        self.db.executescript(_schema())
        self.db.execute(f"PRAGMA user_version={SCHEMA}")
        meta = [("stream", self.stream), ("watermark", "0"), ("closed", "0")]
        self.db.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        self._written = 0

    def take_over(self, path: Path) -> None:
        """Go on with a file that was made aside, and closed there, for the same stream.

        A crash in the middle leaves no file, or the new one. Raises Damaged if it cannot be used,
        sqlite3.Error or OSError: then there is none, and it is to be made anew.
        """
        self._leave()
        path.rename(self.path)
        if why := self._connect(self.stream, LATEST):
            raise Damaged(why)

    def _leave(self) -> None:
        """Close the file and remove it, log and all: that must not meet another file."""
        self.close()
        self.made += 1
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove(self.path)

    def drop_indexes(self) -> None:
        """An empty projection is filled sooner without; `index` brings them back."""
        for (name,) in self.db.execute(_INDEXES).fetchall():
            self.db.execute(f"DROP INDEX {name}")

    def index(self) -> None:
        """Make the indexes that are not there."""
        there = {name for (name,) in self.db.execute(_INDEXES)}
        for name, sql in _INDEX.findall(_schema()):
            if name not in there:
                self.db.execute(sql)

    def close(self) -> None:
        """Close the file; it may be opened again."""
        with contextlib.suppress(sqlite3.Error):
            self.flush()
        self._cache.clear()
        if self._db is not None:  # pyright: ignore[reportUnnecessaryComparison]
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("UPDATE meta SET value = '1' WHERE name = 'closed'")
            with contextlib.suppress(sqlite3.Error):
                self.db.close()

    # --- reading

    def record(self, run: str) -> Record | None:
        """All that decides about an id, or None if RUNS does not know it."""
        if self._noted is not None and (noted := self._noted.records.get(run)) is not None:
            return noted
        found = self._cache.get(run)
        if found is not None:
            self._cache.move_to_end(run)
            return found
        # Of what is noted the rest may wait (and must, while more is being noted).
        row = self._db.execute("SELECT record FROM runs WHERE id = ?", (run,)).fetchone()
        if row is None:
            return None
        try:
            found = thaw(row[0])
        except msgspec.MsgspecError as e:
            raise Damaged(f"the record of {run}: {e}") from None
        self._keep(found)
        return found

    def holder(self, key: str) -> str:
        """The run that took this idempotency key last, by the key's subject; empty = none."""
        row = self.db.execute("SELECT run FROM keys WHERE subject = ?", (key,)).fetchone()
        return "" if row is None else row[0]

    def mark(self, run: str, key: str) -> tuple[MarkRecord, str, int] | None:
        """(record, token, after) of a recorded mark. Raises sqlite3.Error."""
        if self._noted is not None:
            if (found := self._noted.marks.get((run, key))) is not None:
                return found
            if run in self._noted.removed:
                self.flush()
        row = self._db.execute(
            "SELECT record, token, after FROM marks WHERE run = ? AND key = ?", (run, key)
        ).fetchone()
        return None if row is None else (_MARK.decode(row[0]), row[1], row[2])

    def _keep(self, record: Record) -> None:
        self._cache[record.id] = record
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)

    # --- writing

    def apply(self, messages: Iterable[Message], watermark: int | None = None) -> None:
        """Make the rows of these messages, in their order, and note how far RUNS is applied."""
        self.note(messages, self.watermark if watermark is None else watermark)
        self.flush()

    def note(self, messages: Iterable[Message], watermark: int) -> None:
        """As `apply`, but the rows are written when somebody looks at the tables, or by `flush`."""
        self._noted = self._noted or Changes(self)
        for message in messages:
            self._noted.take(message)
        self._upto = max(self._upto, watermark)

    def flush(self) -> None:
        """Write what was noted; if that fails it is forgotten, and read from RUNS again."""
        if self._noted is not None:
            changes, upto = self._noted, self._upto
            self._noted, self._upto = None, 0
            self.write(changes, upto)

    def write(self, changes: Changes, watermark: int) -> None:
        """Make the rows of what was gathered, in one transaction with how far RUNS is applied.

        If that fails nothing is written: it is read from RUNS again.
        """
        db = self.db
        upto = max(watermark, self._written)
        try:
            db.execute("BEGIN IMMEDIATE")
            changes.write(db)
            if upto != self._written:
                db.execute("UPDATE meta SET value = ? WHERE name = 'watermark'", (str(upto),))
            db.execute("COMMIT")
        except BaseException:
            self._cache.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            self.lost()
            raise
        self._written = upto
        for record in changes.records.values():
            self._keep(record)

    def forget(self, run: str) -> None:
        """RUNS has no message of this id any more."""
        self.flush()
        self._cache.pop(run, None)
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            for table in TABLES:
                self.db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
            self.db.execute("DELETE FROM runs WHERE id = ?", (run,))

    def forget_key(self, subject: str) -> None:
        """RUNS has no holder of this key any more."""
        self.db.execute("DELETE FROM keys WHERE subject = ?", (subject,))


def remove(path: Path) -> None:
    """Remove a projection, and what SQLite has beside it."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _schema() -> str:
    return (
        resources.files("headway_engine.store.edge").joinpath("projection.sql").read_text("utf-8")
    )
