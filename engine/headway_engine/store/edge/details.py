"""Edge store: everything about one run, and what reviews wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.query.asked import query_of
from headway.states import RunState
from headway.wire import NOTHING, decoder
from headway.wire.bundles import BundleMark
from headway.wire.events import Event
from headway.wire.rpc import MarkRecord
from headway.wire.runs import KIN, CheckpointRow, Kin, MarkRow, RunDetail, RunsQuery
from headway_engine.store.edge.dialect import values
from headway_engine.store.edge.pages import COLUMNS, Pages
from headway_engine.store.edge.rows import ref_of
from headway_engine.store.edge.scanning import Scan
from headway_engine.store.edge.times import moment, us
from headway_engine.store.forking import ForkSource
from headway_engine.store.listing import review_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.runs import Review

EVENTS = 10_000
"""Of a run, in its detail."""
_KIN = """
    SELECT (SELECT count(*) FROM (
               SELECT 1 FROM runs WHERE ns = ?1 AND origin = ?2 AND origin <> '' LIMIT ?5)),
           (SELECT count(*) FROM (
               SELECT 1 FROM runs WHERE ns = ?1 AND failure = ?3 AND failure <> ''
                  AND ended_at >= ?4 AND created_at >= ?4 LIMIT ?5)),
           (SELECT min(ended_at) FROM runs WHERE ns = ?1 AND failure = ?3 AND failure <> '')
"""
_EVENT, _MARK = decoder(Event), decoder(MarkRecord)


class Details(Pages):
    """See the port."""

    async def detail(self, ns: str, run: str) -> RunDetail | None:
        """Row, bodies, events (the first 10,000), checkpoints, marks."""
        await self._fresh(run)
        query = RunsQuery(ids=(run,))
        found = Scan(self.db, self._asked(ns, query_of(query))).page(query, COLUMNS)
        if not found.rows:
            return None
        payload, payload_ref, result, result_ref = self.db.execute(
            "SELECT payload, payload_ref, result, result_ref FROM bodies WHERE run = ?", (run,)
        ).fetchone()
        events = self.db.execute(
            "SELECT body FROM events WHERE run = ? ORDER BY n LIMIT ?", (run, EVENTS)
        )
        return RunDetail(
            self._row(ns, found.rows[0]),
            Raw(payload) if payload else NOTHING,
            ref_of(payload_ref),
            Raw(result) if result else NOTHING,
            ref_of(result_ref),
            [_EVENT.decode(body) for (body,) in events],
            self._checkpoints(run),
            self._marks(run),
        )

    def _checkpoints(self, run: str) -> list[CheckpointRow]:
        rows: list[tuple[int, str, int, int, int, str, str]] = self.db.execute(
            "SELECT number, name, size, at, epoch, sha256, schema FROM checkpoints"
            " WHERE run = ? ORDER BY number",
            (run,),
        ).fetchall()
        return [
            CheckpointRow(number, name, size, moment(at), epoch, sha256, schema)
            for number, name, size, at, epoch, sha256, schema in rows
        ]

    async def kin(self, ns: str, run: str, failure: str, since: datetime) -> Kin:
        """Forks, and runs that failed alike."""
        await self._fresh()
        ((forks, alike, first_at),) = self.db.execute(_KIN, (ns, run, failure, us(since), KIN))
        return Kin(forks, alike, None if first_at is None else moment(first_at))

    async def marks(self, ns: str, run: str) -> list[MarkRow]:
        """Recorded steps, once marks and waits, in the order of time."""
        await self._fresh(run)
        return [] if self._record(run, ns) is None else self._marks(run)

    def _marks(self, run: str) -> list[MarkRow]:
        rows: list[tuple[bytes, int, str, int]] = self.db.execute(
            "SELECT record, at, token, size FROM marks WHERE run = ? ORDER BY at, key", (run,)
        ).fetchall()
        found = ((_MARK.decode(record), at, token, size) for record, at, token, size in rows)
        return [
            MarkRow(r.key, r.kind, r.fn, r.status, r.epoch, moment(at), token, size)
            for r, at, token, size in found
        ]

    async def mark_page(self, ns: str, run: str, after: str, n: int) -> list[BundleMark]:
        """Marks with a key above `after`, with their values."""
        await self._fresh(run)
        if self._record(run, ns) is None:
            return []
        rows = self.db.execute(
            "SELECT record, at, token, size, after FROM marks WHERE run = ? AND key > ?"
            " ORDER BY key LIMIT ?",
            (run, after, n),
        )
        return [_bundled(*row) for row in rows]

    async def fork_source(self, ns: str, run: str) -> ForkSource | None:
        """All that a fork reads; what goes before the fork is written is seen at its commit."""
        await self._fresh(run)
        record = self._record(run, ns)
        if record is None or record.run is None:
            return None
        payload, payload_ref = self.db.execute(
            "SELECT payload, payload_ref FROM bodies WHERE run = ?", (run,)
        ).fetchone()
        large = self.db.execute(
            "SELECT number, ref FROM checkpoints WHERE run = ? AND ref IS NOT NULL", (run,)
        )
        done = self.db.execute(
            "SELECT key, kind, after, ref FROM marks WHERE run = ? AND status = 'done'"
            " ORDER BY key",
            (run,),
        )
        return ForkSource(
            self._load(record),
            payload,
            ref_of(payload_ref),
            record.hash,
            record.schema,
            self._checkpoints(run),
            {number: ref for number, text in large if (ref := ref_of(text)) is not None},
            [(key, kind, after, ref_of(text)) for key, kind, after, text in done],
        )

    async def reviews(self, ns: str, runs: Sequence[str]) -> dict[str, Review]:
        """Of these runs those in REVIEW, and what each waits for."""
        await self._fresh(*runs)
        rows = self.db.execute(
            "SELECT id FROM runs WHERE ns = ?1 AND state = 'REVIEW'"
            " AND id IN (SELECT value FROM json_each(?2))",
            values([ns, list(runs)]),
        ).fetchall()
        found: dict[str, Review] = {}
        for (run,) in rows:
            record = self._record(run, ns)
            if record is not None and record.run is not None:
                since, data = self._sent_to_review(run)
                found[run] = review_of(since, data, record.open, record.run.unconfirmed)
        return found

    def _sent_to_review(self, run: str) -> tuple[datetime | None, dict[str, Any]]:
        """Time and data of the last event that did it."""
        rows = self.db.execute("SELECT body FROM events WHERE run = ? ORDER BY n DESC", (run,))
        for (body,) in rows:
            event = _EVENT.decode(body)
            if event.target == RunState.REVIEW:
                return event.at, event.data
        return None, {}


def _bundled(record: bytes, at: int, token: str, size: int, after: int) -> BundleMark:
    r = _MARK.decode(record)
    kind: Any = r.kind
    return BundleMark(
        r.key, kind, moment(at), r.fn, r.status, token, after, r.epoch, size, r.value, r.ref,
        r.error, r.due_at, r.resolved,
    )  # fmt: skip
