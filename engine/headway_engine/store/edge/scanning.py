"""Reads of the projection for lists, each with a bounded amount of work.

The terms that have an index choose ids in order, at most `SCAN` of them; the other terms are tested
on their rows, some at a time, until the page is full. What is left is another request: the page
says where it goes on. Lists are read in another thread, on a connection of their own: the engine's
loop has no time for them, and each answer shows one moment.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from headway_engine.store import StoreDown
from headway_engine.store.edge.damage import Damaged, is_damage
from headway_engine.store.edge.dialect import JOINS, teach, values
from headway_engine.store.filtering import DERIVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from headway.wire.runs import RunsQuery
    from headway_engine.store.filtering import Where

T = TypeVar("T")
Row = tuple[Any, ...]

SCAN = 2500
"""Runs that one request looks at."""
CHUNK = 250
"""Rows that are read at once."""

_tags = msgspec.json.Decoder(tuple[str, ...])
_FACETS = {
    "status": "lower(r.state)", "task": "r.task", "queue": "r.queue", "agent": "r.agent",
    "image": "r.version", "tag": "r.tags", "error": "hw_said(b.error)",
}  # fmt: skip


class Reader:
    """The connection of lists: one answer at a time, each of one moment."""

    def __init__(self, path: Path, before: Callable[[], object]) -> None:
        """`before`: called before each read; then the file says all that is to be seen."""
        self._path, self._before = path, before
        self._db: sqlite3.Connection | None = None
        self._file = 0
        self._use = threading.Lock()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads, in another thread.

        Raises StoreDown, Damaged if the file is gone, or what SQLite says of a damaged one.
        """
        try:
            self._before()
            return await asyncio.to_thread(self._read, work)
        except FileNotFoundError as e:
            raise Damaged(str(e)) from None
        except (sqlite3.Error, OSError) as e:
            if is_damage(e):
                raise
            raise StoreDown(f"the projection cannot be read: {e}") from None

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._use:
            db = self._current()
            db.execute("BEGIN")
            try:
                return work(db)
            finally:
                db.execute("ROLLBACK")

    def _current(self) -> sqlite3.Connection:
        """The connection to the file that is there: it may have been made anew."""
        file = self._path.stat().st_ino
        if self._db is None or file != self._file:
            if self._db is not None:
                self._db.close()
            self._db, self._file = self._open(), file
        return self._db

    def _open(self) -> sqlite3.Connection:
        where = f"{self._path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA cache_size=-16000")
        teach(db)
        return db

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed."""
        with self._use:
            if self._db is not None:
                self._db.close()
                self._db = None


class Found(NamedTuple):
    """Rows of a page."""

    rows: list[Row]
    following: str
    """The id after which there may be more; empty = this was all."""


class Counted(NamedTuple):
    """Values of fields, and how many runs have each."""

    matched: int
    partly: bool
    values: dict[str, Counter[str]]


class Scan:
    """One query, on one connection."""

    def __init__(self, db: sqlite3.Connection, asked: Where) -> None:
        self._db, self._asked = db, asked

    def page(self, query: RunsQuery, columns: str) -> Found:
        """At most `n` rows; the first of the columns is the id."""
        rest = self._asked.rest
        scan = max(SCAN, query.n + 1) if rest else query.n + 1
        looked = self._looked(scan, query.after, oldest=query.sort == "oldest")
        found: list[Row] = []
        for row in self._rows(looked, columns):
            found.append(row)
            if len(found) > query.n:
                return Found(found[: query.n], found[query.n - 1][0])
        return Found(found, looked[-1] if rest and len(looked) == scan else "")

    def total(self) -> tuple[int, bool]:
        """How many runs match, and whether that is an estimate: exact while a request can see all.

        Beyond that: the rows that the indexed terms choose, times the share of the newest that
        match.
        """
        rest = self._asked.rest
        looked = self._looked(SCAN + 1)
        matched = sum(1 for _ in self._rows(looked, "r.id")) if rest else len(looked)
        if len(looked) <= SCAN:
            return matched, False
        sql = f"SELECT count(*) FROM ({_parts(self._asked, '')})"
        ((chosen,),) = self._db.execute(sql, values(self._asked.args[: self._asked.scanned]))
        if not rest:
            return chosen, False
        return max(matched, chosen * matched // len(looked)), True

    def facets(self, by: Sequence[str]) -> Counted:
        """Of the newest runs that the indexed terms choose."""
        looked = self._looked(SCAN + 1)
        counts: dict[str, Counter[str]] = {field: Counter() for field in by}
        columns = ", ".join(_FACETS[field] for field in by)
        matched = 0
        for row in self._rows(looked, columns):
            matched += 1
            for field, value in zip(by, row, strict=True):
                counts[field].update(v for v in _facet(field, value) if v)
        return Counted(matched, len(looked) > SCAN, counts)

    def _looked(self, scan: int, after: str = "", *, oldest: bool = False) -> list[str]:
        """Ids that the indexed terms choose, in order, at most so many."""
        args = values(self._asked.args[: self._asked.scanned])
        order, beyond = ("ASC", ">") if oldest else ("DESC", "<")
        further = ""
        if after:
            args.append(after)
            further = f" AND r.id {beyond} ?{len(args)}"
        args.append(scan)
        sql = f"{_parts(self._asked, further)} ORDER BY id {order} LIMIT ?{len(args)}"
        return [run for (run,) in self._db.execute(sql, args)]

    def _rows(self, looked: Sequence[str], columns: str) -> Iterator[Row]:
        """The rows of these that meet the other terms, in the same order."""
        args, rest = values(self._asked.args), self._asked.rest
        joins = " ".join(j for column, j in JOINS.items() if column in rest or column in columns)
        sql = (
            f"SELECT {columns} FROM json_each(?{len(args) + 1}) x"
            f" CROSS JOIN runs r ON r.id = x.value {joins} WHERE {rest or 'true'} ORDER BY x.key"
        )
        for at in range(0, len(looked), CHUNK):
            ids = values([list(looked[at : at + CHUNK])])
            yield from self._db.execute(sql, args + ids).fetchall()


def _parts(asked: Where, further: str) -> str:
    """The ids that the indexed terms choose; SQLite merges parts that are in order.

    With its plus an id has no index: a part in another order is found by its own and then sorted.
    Of children and forks SQLite would take the wrong one.
    """
    return " UNION ALL ".join(
        f"SELECT {'+' if part.order == 'none' else ''}r.id AS id FROM runs r"
        f"{' INDEXED BY runs_derived' if DERIVED in part.condition else ''} WHERE r.ns = ?1"
        f"{part.condition and f' AND {part.condition}'}{further}"
        for part in asked.parts
    )


def _facet(field: str, value: str | None) -> Sequence[str]:
    if value is None:
        return ()
    if field == "tag":
        return tuple(set(_tags.decode(value)))
    return (value.partition(": ")[0],) if field == "error" else (value,)
