"""Edge store: what is due. When stands in the records; this engine looks, RUNS remembers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headway_engine.lifecycle import START_DEADLINE, TIMEOUT_SLACK
from headway_engine.store.agreement import JUMP
from headway_engine.store.edge.claims import Claims
from headway_engine.store.edge.times import moment, us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.events import Event

_DUE = "state IN ('DELAYED', 'RETRYING', 'WAITING') AND due_at IS NOT NULL"


class Timers(Claims):
    """See the port."""

    async def due(self, limit: int) -> tuple[list[str], datetime | None, datetime]:
        """(due now, when the next one is due, now)."""
        await self._lately()
        now = self._now()
        rows = self.db.execute(
            f"SELECT id FROM runs WHERE {_DUE} AND due_at <= ? ORDER BY due_at, id LIMIT ?",
            (us(now), limit),
        ).fetchall()
        ((later,),) = self.db.execute(
            f"SELECT min(due_at) FROM runs WHERE {_DUE} AND due_at > ?",
            (us(now),),
        )
        return [run for (run,) in rows], moment(later), now

    async def overdue(self, limit: int) -> list[str]:
        """Runs for `Overdue`."""
        await self._lately()
        now = us(self._now())
        found = [
            run
            for sql in (
                "SELECT id FROM runs WHERE deadline_at <= ? AND deadline_at IS NOT NULL"
                " AND ended_at IS NULL AND state <> 'CANCELLING' LIMIT ?",
                "SELECT id FROM runs WHERE ttl_at <= ? AND ttl_at IS NOT NULL"
                " AND ended_at IS NULL AND state IN ('QUEUED', 'DELAYED') AND started_at IS NULL"
                " LIMIT ?",
            )
            for (run,) in self.db.execute(sql, (now, limit))
        ]
        if len(found) < limit:
            found += self._overstayed()
        return list(dict.fromkeys(found))[:limit]

    def _overstayed(self) -> list[str]:
        """Open attempts that do not start, or do not end."""
        now, seen = self._now(), self.liveness
        if seen is not None and (now - seen[1]).total_seconds() >= JUMP:
            return []  # see `tick`: it may be the clock that was set
        found: list[str] = []
        rows = self.db.execute(
            "SELECT id, state, claimed_at, attempt_at, timeout FROM runs INDEXED BY runs_open"
            " WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING') AND state <> 'CANCELLING'"
        )
        for run, state, claimed, begun, timeout in rows:
            at = moment(claimed if state == "STARTING" else begun)
            if at is None:
                continue
            limit = START_DEADLINE
            if state == "RUNNING":
                limit = timedelta(seconds=timeout) + TIMEOUT_SLACK
            if at + self._shift(at) + limit <= now:
                found.append(run)
        return found

    async def late_cancels(self, limit: int) -> list[tuple[str, str, str, str]]:
        """Early cancels of live runs."""
        await self._lately()
        found: list[tuple[str, str, str, str]] = []
        rows = self.db.execute(
            "SELECT id FROM runs WHERE early = 1 AND ended_at IS NULL AND state IS NOT NULL"
            " AND state <> 'CANCELLING' ORDER BY id LIMIT ?",
            (limit,),
        )
        for (run,) in rows.fetchall():
            record = self.projection.record(run)
            if record is not None and record.early is not None:
                found.append((record.ns, run, *record.early))
        return found

    # --- there is no outbox: what is stored in RUNS is published

    async def published(self, events: Sequence[tuple[str, int]]) -> None:
        """Nothing is kept of what RUNS has."""
        self._check()

    async def unpublished(self, older_than: float) -> list[tuple[str, str, str, str, list[Event]]]:
        """Nothing: RUNS is where it was decided."""
        self._check()
        return []
