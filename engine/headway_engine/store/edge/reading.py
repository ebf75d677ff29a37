"""Edge store: one run's record, events and states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire import decoder
from headway.wire.events import Event
from headway.wire.runs import CheckpointRow
from headway_engine.store.edge.rows import ref_of
from headway_engine.store.edge.times import moment
from headway_engine.store.edge.upkeep import Upkeep

if TYPE_CHECKING:
    from headway.wire import BlobRef
    from headway_engine.store.records import Run

_EVENT = decoder(Event)


class Reading(Upkeep):
    """See the port."""

    async def find(self, ns: str, prefix: str) -> list[str]:
        """Run ids that begin so, at most 3."""
        await self._fresh()
        low = prefix.upper()
        rows = self.db.execute(
            "SELECT id FROM runs WHERE id >= ? AND id < ? AND ns = ? AND state IS NOT NULL"
            " ORDER BY id LIMIT 3",
            (low, f"{low}~", ns),
        )
        return [run for (run,) in rows]

    async def get(self, ns: str, run: str) -> Run | None:
        """The record."""
        await self._fresh(run)
        record = self._record(run, ns)
        return None if record is None or record.run is None else self._load(record)

    async def events(self, ns: str, run: str, after: int, n: int) -> list[Event]:
        """Events with a number above `after`."""
        await self._fresh(run)
        if self._record(run, ns) is None:
            return []
        rows = self.db.execute(
            "SELECT body FROM events WHERE run = ? AND n > ? ORDER BY n LIMIT ?", (run, after, n)
        )
        return [_EVENT.decode(body) for (body,) in rows]

    async def state(
        self, ns: str, run: str, number: int
    ) -> tuple[CheckpointRow, bytes, BlobRef | None] | None:
        """One checkpoint; 0 = the last."""
        await self._fresh(run)
        record = self._record(run, ns)
        if record is None or record.run is None:
            return None
        row = self.db.execute(
            "SELECT number, name, size, at, epoch, sha256, schema, state, ref FROM checkpoints"
            " WHERE run = ? AND number = ?",
            (run, number or record.run.ck),
        ).fetchone()
        if row is None:
            return None
        number, name, size, _, epoch, sha, schema, state, ref = row
        at: int = row[3]
        return (
            CheckpointRow(number, name, size, moment(at), epoch, sha, schema), state, ref_of(ref),
        )  # fmt: skip
