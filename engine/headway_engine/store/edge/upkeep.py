"""Edge store: what goes after its time. Runs, keys and outcomes are purged from RUNS as a whole.

A purge names the last sequence that it may take, so it never takes what was written since. Of a
removed run one message stays (its tombstone) until that is past its time too: at no moment is an
older sequence of a run the last one.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from headway import subjects
from headway.bus import jsapi
from headway.errors import HeadwayError
from headway_engine.changes.messages import Body, difference
from headway_engine.store import StoreDown
from headway_engine.store.edge.base import Write
from headway_engine.store.edge.shipping import ALL, Shipping
from headway_engine.store.edge.times import TOMBSTONES, us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway_engine.changes.messages import Record

log = logging.getLogger("headway.engine.edge")

KEYS, REFUSALS = timedelta(days=1), timedelta(days=7)
"""So long after their end, or after they were made."""
PRUNED = 500
"""At once."""


class Upkeep(Shipping):
    """See the port."""

    async def prune(self) -> int:
        """What is past its time, once all is known."""
        await self._fresh()
        if self.journal.behind:
            return 0
        now = self._now()
        count = 0
        rows = self.db.execute(
            "SELECT subject, seq FROM keys WHERE until < ? LIMIT ?", (us(now - KEYS), PRUNED)
        ).fetchall()
        for subject, seq in rows:
            await self._purge_upto(subject, seq)
            self.db.execute("DELETE FROM keys WHERE subject = ? AND seq = ?", (subject, seq))
            count += 1
        count += await self._prune_notes(now)
        upto = self._upto()
        found = self._past(now, upto)
        count += await self._remove(found, upto)
        if len(found) < PRUNED and upto < ALL:
            count += await self._remove_unshipped(now)
        await self._forget_settled(now)
        return count

    def _past(self, now: datetime, upto: int) -> list[str]:
        """Runs past their retention, the oldest first, with no message beyond a sequence."""
        rows = self.db.execute(
            "SELECT id FROM runs WHERE ended_at < ? AND ended_at IS NOT NULL AND seq <= ?"
            " ORDER BY ended_at LIMIT ?",
            (us(now - self.retention), upto, PRUNED),
        ).fetchall()
        return [run for (run,) in rows]

    async def _remove_unshipped(self, now: datetime) -> int:
        """What the hub has not confirmed goes only where there would soon be room for nothing."""
        waiting = self._past(now, ALL)
        if not waiting or not await self._is_full():
            return 0
        # Said first: killed in between, it is said of too many.
        await self._note_lost(len(waiting))
        log.warning(
            "RUNS is nearly full: %d runs past their retention are removed before the hub has"
            " confirmed that it has them; raise edge.runs_bytes, or mend the link",
            len(waiting),
        )
        return await self._remove(waiting, ALL)

    async def _prune_notes(self, now: datetime) -> int:
        """Refusals after a week; tombstones, aliases and cancels of nothing after thirty days."""
        rows = self.db.execute(
            "SELECT id FROM runs WHERE noted_at < ? AND noted_at IS NOT NULL AND state IS NULL"
            " LIMIT ?",
            (us(now - REFUSALS), PRUNED),
        ).fetchall()
        count = 0
        for (run,) in rows:
            record = self.projection.record(run)
            if record is None or record.run is not None:
                continue
            since = record.removed_at or record.noted_at
            keeps = TOMBSTONES if record.removed_at or record.alias or record.early else REFUSALS
            if since is not None and since < now - keeps:
                async with self.locks.of([run]):
                    await self._purge_upto(subjects.of_run(record.ns, run, ">"), record.seq)
                    self.projection.forget(run)
                count += 1
        return count

    async def _remove(self, runs: Sequence[str], upto: int) -> int:
        """Runs past their retention: a tombstone goes over each, then what was before it goes.

        One that was written to since, beyond `upto`, stays. The tombstone of a run that the hub may
        not know tells how it ended.
        """
        confirmed = self._upto()
        removed: list[str] = []

        def plan(run_id: str, record: Record | None) -> Write | None:
            if run_id in removed:
                removed.remove(run_id)
            if record is None or record.run is None or record.run.ended_at is None:
                return None
            if record.seq > upto:
                return None
            removed.append(run_id)
            change = self._change_now()
            if record.seq > confirmed:
                change.fields = difference(None, record.run)
            change.removed = True
            change.blobs = bool(self._refs(run_id))
            return Write(record.ns, Body(run_id, change, record.ns), subjects.SET)

        await self._change(runs, plan)
        for run in removed:
            record = self.projection.record(run)
            if record is not None:
                await self._purge_upto(subjects.of_run(record.ns, run, ">"), record.seq - 1)
        return len(removed)

    async def _purge_upto(self, subject: str, seq: int) -> None:
        try:
            body = {"filter": subject, "seq": seq + 1}
            await jsapi(self.nc, f"STREAM.PURGE.{subjects.RUNS}", body)
        except HeadwayError as e:
            raise StoreDown(f"RUNS cannot be pruned: {e}") from None
