"""What the edge store's areas share: look, decide, write on condition, look again.

`_change` is the only way to write to RUNS: a plan decides from the record, what it says is
published under the condition that nobody has written to the id since, and applied when it is
stored. A plan that lost, or that wants to write nothing on an old look, is asked again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headway import fencing, subjects
from headway.wire import Malformed, decode, encode
from headway_engine.changes.messages import BODY, Body, Change, Record
from headway_engine.store import StoreDown
from headway_engine.store.edge.journal import Draft
from headway_engine.store.edge.settings import ROOM

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta

    from headway.bus import Connection
    from headway.wire.fleet import TaskSpec
    from headway.wire.rpc import MarkRecord, VersionInfo
    from headway_engine.clock import Clock
    from headway_engine.store.edge.journal import Journal
    from headway_engine.store.edge.locks import Locks
    from headway_engine.store.edge.projection import Projection
    from headway_engine.store.edge.registry import Registry
    from headway_engine.store.edge.settings import Settings
    from headway_engine.store.records import Run

ROUNDS = 50
"""Lost races in a row until a write counts as impossible now."""


class Unstorable(Exception):
    """A message that RUNS cannot take; its text says why."""


class Write(NamedTuple):
    """What a plan wants to be stored for one id."""

    ns: str
    body: Body
    kind: str
    """The last tokens of the subject."""
    before: Sequence[Body] = ()
    """Parts of it that were too much for one message, stored with it (as `set`)."""
    beside: Sequence[fencing.Message] = ()
    """Other messages, stored with it; each with its own condition."""


class EdgeBase:
    """What all areas use."""

    engine: str
    clock: Clock
    retention: timedelta
    lately: float
    """Seconds: what looks again and again by itself is content with a look that is no older."""
    nc: Connection
    projection: Projection
    journal: Journal
    settings: Settings
    registry: Registry
    locks: Locks

    @property
    def db(self) -> sqlite3.Connection:
        """The projection's connection, for reads on the loop's thread."""
        return self.projection.db

    def _now(self) -> datetime:
        return self.clock.now()

    def _check(self) -> None:
        """Overridden by the store."""

    async def _fresh(self, *runs: str) -> None:
        """See all that was written, by anyone, before this was called. Raises StoreDown.

        While the projection lacks much, that holds for the settings and for these runs; of others
        there is what was read so far.
        """
        self._check()
        await asyncio.gather(self.journal.fresh(), self.settings.fresh(), self.journal.look(runs))

    async def _runs_fresh(self) -> None:
        """The same of runs alone, for half of what it costs. Raises StoreDown."""
        self._check()
        await self.journal.fresh()

    async def _lately(self) -> None:
        """See what was written until a moment ago; a decision on less loses. Raises StoreDown."""
        self._check()
        await self.journal.lately(self.lately)

    async def _whole(self) -> None:
        """See all, and wait for it while the projection lacks much. Raises StoreDown."""
        self._check()
        await asyncio.gather(self.journal.whole(), self.settings.fresh())

    # --- the record of an id

    def _record(self, run: str, ns: str = "") -> Record | None:
        """What is known of the id; None if it is none of this namespace."""
        found = self.projection.record(run)
        return None if found is None or (ns and found.ns != ns) else found

    def _known(self, ns: str, task: str, version: str) -> tuple[TaskSpec, VersionInfo] | None:
        return self.registry.known(ns, task, version)

    def _load(self, record: Record) -> Run:
        """The run with its policy and open marks; a copy."""
        assert record.run is not None
        run = msgspec.structs.replace(record.run, marks=record.open)
        known = self._known(run.ns, run.task, run.version)
        if known is not None:
            spec = known[0]
            run.policy = spec.policy()
            run.timeout = spec.timeout
        return run

    def _mark_of(self, run: str, key: str) -> tuple[MarkRecord, str, int] | None:
        """(record, token, after) of a recorded mark."""
        return self.projection.mark(run, key)

    def _change_now(self) -> Change:
        return Change(self.engine, self._now())

    # --- writing

    async def _change(
        self, runs: Iterable[str], plan: Callable[[str, Record | None], Write | None]
    ) -> dict[str, str]:
        """Carry out a plan for each id; why it could not be stored, of those that RUNS refuses.

        `plan` gets the id and its record, and is asked again whenever the record was not the last
        word; None = there is nothing to write. Raises StoreDown.
        """
        todo = list(dict.fromkeys(runs))
        rejected: dict[str, str] = {}
        if not todo:
            return rejected
        async with self.locks.of(todo):
            await self.journal.look(todo, again=False)
            for _ in range(ROUNDS):
                drafts: list[Draft] = []
                quiet: dict[str, int] = {}
                for run in todo:
                    record = self.projection.record(run)
                    write = plan(run, record)
                    if write is None:
                        quiet[run] = 0 if record is None else record.seq
                        continue
                    try:
                        drafts.append(self._draft(run, record, write))
                    except Unstorable as e:
                        rejected[run] = str(e)
                todo = []
                if drafts:
                    won = await self.journal.write(drafts)
                    todo = [d.run for d, ok in zip(drafts, won, strict=True) if not ok]
                if quiet:
                    # Not by what these say: another call may have read it in between.
                    await self.journal.fresh()
                    await self.journal.look(quiet)
                    for run, seq in quiet.items():
                        record = self.projection.record(run)
                        if (0 if record is None else record.seq) != seq:
                            todo.append(run)
                if not todo:
                    return rejected
        raise StoreDown(f"runs that are written to all the time: {', '.join(todo[:3])}")

    def _draft(self, run: str, record: Record | None, write: Write) -> Draft:
        last = record.seq if record is not None and record.ns == write.ns else 0
        messages = [
            fencing.Message(subjects.of_run(write.ns, run, kind), self._encoded(body))
            for body, kind in (*((b, subjects.SET) for b in write.before), (write.body, write.kind))
        ]
        return Draft(run, subjects.of_run(write.ns, run, ">"), last, [*messages, *write.beside])

    def _encoded(self, body: Body) -> bytes:
        try:
            data = encode(body)
            decode(BODY, data)  # what cannot be read again must not become the truth
        except (Malformed, UnicodeEncodeError, ValueError, TypeError, OverflowError) as e:
            raise Unstorable(f"it cannot be stored: {e}"[:300]) from None
        if len(data) > self.nc.max_payload - ROOM:
            raise Unstorable(f"it is too large for one message: {len(data):,} bytes")
        return data
