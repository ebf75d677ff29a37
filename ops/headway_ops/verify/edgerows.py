"""I23 at the edge: the rows of the SQLite projection equal what RUNS says. Reads only."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from headway_ops.verify.edgefold import Told

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = (
    "state", "task", "queue", "version", "agent", "limit_key", "parent", "root", "origin", "key",
    "reason", "failure",
)  # fmt: skip
_NUMBERS = (
    "session", "epoch", "n", "ck", "failures", "priority", "resumed", "shared", "acked",
)  # fmt: skip
_TIMES = (
    "created_at", "due_at", "ttl_at", "deadline_at", "claimed_at", "attempt_at", "started_at",
    "ended_at",
)  # fmt: skip
_COLUMNS = (*_TEXTS, *_NUMBERS, *_TIMES, "dispatch", "budget_usd", "budget_tokens", "tags")


class Rows:
    """The projection of one engine, which may be at work on it."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error if it cannot be read."""
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        self._db.row_factory = sqlite3.Row

    def close(self) -> None:
        """Give it back."""
        self._db.close()

    def stream(self) -> str:
        """The creation time of the RUNS that it is made from."""
        ((made,),) = self._db.execute("SELECT value FROM meta WHERE name = 'stream'")
        return made

    def ids(self) -> Iterator[tuple[str, int]]:
        """(id, last sequence) of all rows."""
        for row in self._db.execute("SELECT id, seq FROM runs ORDER BY id"):
            yield row[0], row[1]

    def compare(self, told: Told) -> list[Violation]:
        """What differs at this moment; on a live system it may just be on its way."""
        self._db.execute("BEGIN")  # one moment for all of its rows
        try:
            return self._compare(told)
        finally:
            self._db.execute("ROLLBACK")

    def _compare(self, told: Told) -> list[Violation]:
        found: Any = self._db.execute("SELECT * FROM runs WHERE id = ?", (told.id,)).fetchone()
        seq = 0 if found is None else found["seq"]
        if found is None or seq != told.seq:
            what = f"the projection has it up to message {seq}, RUNS up to {told.seq}"
            return [self._of(told, what)]
        wrong = self._columns(told, found) if told.fields else self._gone(told, found)
        for what, have, want in self._beside(told):
            if have != want:
                wrong.append(self._of(told, f"its {what} in the projection are others: {have!r},"
                                      f" by RUNS {want!r}"[:400]))  # fmt: skip
        return wrong

    def _gone(self, told: Told, row: sqlite3.Row) -> list[Violation]:
        if row["state"] is None:
            return []
        return [self._of(told, f"the projection has it as {row['state']}, RUNS has no such run")]

    def _columns(self, told: Told, row: sqlite3.Row) -> list[Violation]:
        f = told.fields
        want: dict[str, Any] = {name: f.get(name, "") for name in _TEXTS}
        want |= {name: int(f.get(name, 0)) for name in _NUMBERS}
        want |= {name: _us(told.time(name)) for name in _TIMES}
        want |= {"dispatch": told.dispatch, "budget_usd": told.budget[0]}
        want |= {"budget_tokens": told.budget[1], "tags": tuple(f.get("tags", ()))}
        have = {name: row[name] for name in _COLUMNS}
        have["tags"] = tuple(msgspec.json.decode(row["tags"]))
        return [
            self._of(told, f"{name} is {have[name]!r} in the projection, {want[name]!r} by RUNS")
            for name in _COLUMNS
            if have[name] != want[name]
        ]

    def _beside(self, told: Told) -> Iterator[tuple[str, Any, Any]]:
        """(rows, as they are, as they should be)."""
        one = (told.id,)
        rows = self._db.execute("SELECT n, body FROM events WHERE run = ? ORDER BY n", one)
        have = [(r["n"], b["kind"], b.get("epoch", 0), b.get("target", ""))
                for r in rows for b in (msgspec.json.decode(r["body"]),)]  # fmt: skip
        yield "events", have, [(e.n, e.kind, e.epoch, e.target) for e in told.events]
        rows = self._db.execute(
            "SELECT number, name, sha256, size, epoch FROM checkpoints WHERE run = ?"
            " ORDER BY number",
            one,
        )
        points = sorted(told.checkpoints.items())
        yield (
            "checkpoints",
            _tuples(rows),
            [(number, name, c.sha256, c.size, c.epoch) for number, (name, c) in points],
        )
        rows = self._db.execute(
            "SELECT key, kind, status, epoch, token FROM marks WHERE run = ? ORDER BY key", one
        )
        yield (
            "marks",
            _tuples(rows),
            [(m.key, m.kind, m.status, m.epoch, m.token) for _, m in sorted(told.marks.items())],
        )
        rows = self._db.execute(
            "SELECT epoch, model, tokens_in, tokens_out, cost_usd FROM usage WHERE run = ?"
            " ORDER BY epoch, model",
            one,
        )
        yield (
            "sums of what it used",
            _tuples(rows),
            [(*place, *sums) for place, sums in sorted(told.usage.items())],
        )

    def _of(self, told: Told, what: str) -> Violation:
        return Violation("I23", told.id, what, told.fields.get("n", 0), told.fields.get("epoch", 0))


def _tuples(rows: Iterable[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows]


def _us(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // timedelta(microseconds=1)
