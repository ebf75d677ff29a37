"""Edge store: blobs that nobody names any more.

What follows from RUNS (a dropped checkpoint, a removed run) stands in the projection of every
engine; what an engine does about it stands in the settings, so that two never work on one blob.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from headway.bus import WrongLast
from headway.wire import decoder, encode
from headway_engine.store.edge.applying import OF_CHECKPOINTS, OF_RUNS
from headway_engine.store.edge.rows import ref_of
from headway_engine.store.edge.timers import Timers
from headway_engine.store.edge.times import moment, us
from headway_engine.store.records import Purge

if TYPE_CHECKING:
    from collections.abc import Sequence

TAKEN = timedelta(minutes=5)
"""So long a blob is in the hands of the engine that removes it."""
LATER = timedelta(days=1)
"""Until a blob goes that no row has ever named."""


class Doomed(Struct, omit_defaults=True):
    """The value of `purge.<ns>.<run>.<digest of the key>`."""

    ns: str
    run: str
    key: str
    due_at: datetime
    taken: datetime | None = None
    """An engine removes it since then."""
    done: bool = False
    """It is gone; so is whatever was due by `due_at`."""
    kept: bool = False
    """It was written again, at `taken`: what was to go before that stays."""

    def held(self, now: datetime) -> bool:
        """An engine has it in its hands."""
        return self.taken is not None and self.taken >= now - TAKEN

    def settles(self, due: datetime) -> bool:
        """What RUNS says should go at `due` is answered by this."""
        if self.done:
            return due <= self.due_at
        said = due - (OF_CHECKPOINTS if self.key else OF_RUNS)
        return self.kept and self.taken is not None and said <= self.taken


_DOOMED = decoder(Doomed)


class Purging(Timers):
    """See the port."""

    async def purges(self, limit: int) -> list[Purge]:
        """Blobs to remove now, once it is known which are named."""
        await self._fresh()
        if self.journal.behind:
            return []
        now, found = self._now(), list[Purge]()
        for due, ns, run, key in self._waiting_purges(now):
            if len(found) == limit:
                break
            record = self.projection.record(run)
            named = record is not None and record.run is not None
            if named and (not key or key in self._refs(run)):
                self._forget_purge(ns, run, key)
                await self._settle(Doomed(ns, run, key, now, now, kept=True))
            elif await self._settle(Doomed(ns, run, key, due, now)):
                found.append(Purge(_number(ns, run, key), ns, run, key))
        return found

    def _waiting_purges(self, now: datetime) -> list[tuple[datetime, str, str, str]]:
        """Those that are due and in nobody's hands, the oldest first."""
        waiting: dict[tuple[str, str, str], datetime] = {}
        rows: list[tuple[int, str, str, str]] = self.db.execute(
            "SELECT due_at, ns, run, key FROM purges WHERE due_at <= ?", (us(now),)
        ).fetchall()
        for number, ns, run, key in rows:
            due, settled = moment(number), self._doomed(ns, run, key)
            if settled is not None and settled.settles(due):
                self._forget_purge(ns, run, key)
            elif settled is None or settled.done or settled.kept or not settled.held(now):
                waiting[ns, run, key] = due
        for name, _ in self.settings.under("purge."):
            value: Doomed = self.settings.value(name, _DOOMED)
            over = value.done or value.kept or value.held(now)
            if not over and value.due_at <= now:
                waiting.setdefault((value.ns, value.run, value.key), value.due_at)
        return sorted((due, *place) for place, due in waiting.items())

    def _doomed(self, ns: str, run: str, key: str) -> Doomed | None:
        return self.settings.value(_name(ns, run, key), _DOOMED)

    def _forget_purge(self, ns: str, run: str, key: str) -> None:
        self.db.execute("DELETE FROM purges WHERE ns = ? AND run = ? AND key = ?", (ns, run, key))

    async def _settle(self, value: Doomed) -> bool:
        """Write what becomes of a blob; False: another engine was faster."""
        name = _name(value.ns, value.run, value.key)
        try:
            await self.settings.put(name, encode(value), self.settings.seq(name))
        except WrongLast:
            return False
        return True

    async def _forget_settled(self, now: datetime) -> None:
        """Remove words on blobs that no engine needs any more."""
        for key, row in list(self.settings.under("purge.")):
            value: Doomed = self.settings.value(key, _DOOMED)
            over = value.done or value.kept
            if over and value.taken is not None and value.taken < now - 2 * OF_RUNS:
                with contextlib.suppress(WrongLast):
                    await self.settings.drop(key, row.seq)

    async def purged(self, ids: Sequence[int]) -> None:
        """They are gone."""
        await self._fresh()
        wanted = set(ids)
        for name, _ in list(self.settings.under("purge.")):
            value: Doomed = self.settings.value(name, _DOOMED)
            if _number(value.ns, value.run, value.key) in wanted:
                self._forget_purge(value.ns, value.run, value.key)
                await self._settle(replace(value, done=True))

    async def keep_blob(self, ns: str, run: str, key: str) -> bool:
        """It is written again."""
        await self._fresh()
        value = self._doomed(ns, run, key)
        over = value is None or value.done or value.kept
        if value is not None and value.taken is not None and not over:
            return False
        known = self.db.execute(
            "SELECT 1 FROM purges WHERE ns = ? AND run = ? AND key = ?", (ns, run, key)
        ).fetchone()
        if known is None and over:
            return True
        now = self._now()
        self._forget_purge(ns, run, key)
        return await self._settle(Doomed(ns, run, key, now, now, kept=True))

    async def purge_later(self, ns: str, run: str, keys: Sequence[str]) -> None:
        """In a day."""
        await self._fresh()
        due = self._now() + LATER
        for key in sorted(keys):
            value = self._doomed(ns, run, key)
            if value is None or value.done or value.kept:
                await self._settle(Doomed(ns, run, key, due))

    async def unnamed(self, runs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those that are in no table; none while not all is known."""
        await self._fresh()
        if self.journal.behind:
            return set()
        waiting: set[tuple[str, str]] = set(self.db.execute("SELECT ns, run FROM purges"))
        for name, _ in self.settings.under("purge."):
            value: Doomed = self.settings.value(name, _DOOMED)
            if not value.done and not value.kept:
                waiting.add((value.ns, value.run))
        found: set[tuple[str, str]] = set()
        for ns, run in runs:
            record = self.projection.record(run)
            known = record is not None and (
                record.run is not None
                or (record.ns == ns and bool(record.alias or record.refused or record.early))
            )
            if not known and (ns, run) not in waiting:
                found.add((ns, run))
        return found

    def _refs(self, run: str) -> set[str]:
        """Keys of the blobs that a run names."""
        rows = self.db.execute(
            "SELECT payload_ref FROM bodies WHERE run = ?1 UNION ALL"
            " SELECT result_ref FROM bodies WHERE run = ?1 UNION ALL"
            " SELECT ref FROM checkpoints WHERE run = ?1 UNION ALL"
            " SELECT ref FROM marks WHERE run = ?1",
            (run,),
        )
        return {ref.key for (text,) in rows if (ref := ref_of(text)) is not None}


def _number(ns: str, run: str, key: str) -> int:
    """The same for all engines."""
    digest = sha256("\0".join((ns, run, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _name(ns: str, run: str, key: str) -> str:
    return f"purge.{ns}.{run}.{sha256(key.encode()).hexdigest()[:24]}"
