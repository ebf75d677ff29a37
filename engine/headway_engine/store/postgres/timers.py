"""Timers, the outbox's sweeper and the pruner: what time alone makes of the rows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from headway.ids import encode
from headway_engine.lifecycle import START_DEADLINE, TIMEOUT_SLACK
from headway_engine.store.agreement import JUMP
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.records import Purge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.events import Event

_SQL = statements.load("timers")
_PURGES = statements.load("purges")

PRUNE_BATCH = 500
_COUNT = re.compile(r"(\d+)$")


class Timers(Part):
    """See the port."""

    async def due(self, limit: int) -> tuple[list[str], datetime | None, datetime]:
        """(due now, when the next one is due, now)."""
        found = await self.db.fetch(_SQL["due"], limit)
        row = (await self.db.fetch(_SQL["next_due"]))[0]
        return [r[0] for r in found], row["next"], row["now"]

    async def overdue(self, limit: int) -> list[str]:
        """Runs for `Overdue`: TTL, deadline, start deadline, timeout backstop."""
        found = await self.db.fetch(
            _SQL["overdue"],
            limit,
            START_DEADLINE.total_seconds(),
            TIMEOUT_SLACK.total_seconds(),
            JUMP,
        )
        return [row[0] for row in found][:limit]

    async def late_cancels(self, limit: int) -> list[tuple[str, str, str, str]]:
        """Early cancels that their run's enqueue did not see."""
        found = await self.db.fetch(_SQL["late_cancels"], limit)
        return [(row[0], row[1], row[2], row[3]) for row in found]

    async def published(self, events: Sequence[tuple[str, int]]) -> None:
        """RUNS has them: spent outbox rows go with this engine's next batch."""
        self.outbox.published(events)

    async def unpublished(
        self,
        older_than: float,
    ) -> list[tuple[str, str, str, str, list[Event]]]:
        """(run, ns, task, queue, events); answer with `published` when RUNS has them."""
        found = await self.db.fetch(_SQL["unpublished"], older_than)
        batches: dict[int, dict[str, int]] = {}
        wanted: set[tuple[str, int]] = set()
        about: dict[str, tuple[str, str, str]] = {}
        for row in found:
            last = batches.setdefault(row["outbox"], {})
            if row["ns"] is None:
                continue  # pruned: nothing to publish
            about[row["run"]] = (row["ns"], row["task"], row["queue"])
            wanted.add((row["run"], row["number"]))
            last[row["run"]] = max(last.get(row["run"], 0), row["number"])
        for outbox, last in batches.items():
            self.outbox.add(outbox, last.items())
        events: dict[str, list[Event]] = {}
        if wanted:
            ordered = sorted(wanted)
            for row in await self.db.fetch(
                _SQL["events_of"], [run for run, _ in ordered], [n for _, n in ordered]
            ):
                events.setdefault(row["run"], []).append(rows.event_of(row))
        return [(run, *about[run], found_events) for run, found_events in events.items()]

    async def prune(self) -> int:
        """Small batches; statistics after growth."""
        removed = 0
        for name in (
            "prune_keys", "prune_outcomes", "prune_cancels", "prune_tombstones", "prune_dispatches",
        ):  # fmt: skip
            removed += await self._delete(name, PRUNE_BATCH)
        now = await self.now()
        before = now - self.retention
        horizon = encode(int((before + timedelta(milliseconds=1)).timestamp() * 1000), 0)
        removed += await self._delete("prune_runs", PRUNE_BATCH, before, horizon)
        for name in ("prune_items", "prune_jobs"):
            removed += await self._delete(name, PRUNE_BATCH, before)
        grown = (await self.db.fetch(_SQL["grown"]))[0]
        if grown["changed"] > 5_000 and grown["changed"] > grown["live"] // 10:
            await self.db.call(lambda c: c.execute(_SQL["analyze"]))
        return removed

    async def purges(self, limit: int) -> list[Purge]:
        """Blobs to remove now."""
        found = await self.db.fetch(_PURGES["due"], limit)
        if kept := [row["id"] for row in found if row["named"]]:
            await self.purged(kept)
        return [
            Purge(row["id"], row["ns"], row["run"], row["key"]) for row in found if not row["named"]
        ]

    async def purged(self, ids: Sequence[int]) -> None:
        """They are gone."""
        await self.db.fetch(_PURGES["done"], sorted(ids))

    async def keep_blob(self, ns: str, run: str, key: str) -> bool:
        """It is written again."""
        return not await self.db.fetch(_PURGES["keep"], ns, run, key)

    async def purge_later(self, ns: str, run: str, keys: Sequence[str]) -> None:
        """In a day, unless a row names them by then."""
        await self.db.fetch(_PURGES["later"], ns, run, list(keys))

    async def unnamed(self, runs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those that are in no table."""
        found = await self.db.fetch(
            _PURGES["unnamed"], [ns for ns, _ in runs], [run for _, run in runs]
        )
        return {(row["ns"], row["run"]) for row in found}

    async def _delete(self, name: str, *args: object) -> int:
        status = await self.db.call(lambda c: c.execute(_SQL[name], *args))
        match = _COUNT.search(status)
        return int(match.group(1)) if match else 0
