"""Reads RUNS and WORK for the checker, by direct get: no consumer is made."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from headway import subjects
from headway.bus import JetStreamRefused, jsapi
from headway.history import Stored, history
from headway.wire import Malformed, decode
from headway.wire.events import RUN_EVENTS
from headway.wire.rpc import WORK_BODY
from headway_ops.verify import sql
from headway_ops.verify.facts import TERMINAL
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.bus import Connection
    from headway.wire.events import Event
    from headway_ops.verify.ask import Ask
    from headway_ops.verify.database import Database
    from headway_ops.verify.report import Report

BATCH = 500
"""Messages judged at once."""
OLD_WORK = timedelta(seconds=60)
"""Work that lies longer for a run that has ended is in nobody's hands."""
COUNTED_RUNS = 200_000
"""Runs whose events in RUNS are counted; a note, so the rest may go without."""


async def batches(nc: Connection, stream: str, subject: str) -> AsyncGenerator[list[Stored]]:
    """All messages under a filter."""
    batch: list[Stored] = []
    async for message in history(nc, stream, subject):
        batch.append(message)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class Streams:
    """What NATS holds, against what the store holds."""

    def __init__(self, ask: Ask, nc: Connection, db: Database, report: Report) -> None:
        self.ask, self.nc, self.db, self.report = ask, nc, db, report

    def _batches(self, stream: str, subject: str) -> AsyncGenerator[list[Stored]]:
        return batches(self.nc, stream, subject)

    # --- RUNS

    async def runs(self) -> None:
        """Every event that was told is stored so; those that nobody was told are counted."""
        ask = self.ask
        filter_ = f"hw.run.{ask.ns or '*'}.{ask.run or '*'}.ev"
        seen: dict[str, int] = {}
        async for batch in self._batches(subjects.RUNS, filter_):
            told: list[tuple[str, str, Event]] = []
            for message in batch:
                _, _, ns, run, _ = message.subject.split(".")
                if not ask.wants(run, ns):
                    continue
                try:
                    body = decode(RUN_EVENTS, message.data)
                except Malformed:
                    self._add(run, 0, 0, f"message {message.seq} of RUNS does not read")
                    continue
                told += [(run, ns, e) for e in body.events]
            if told:
                await self._told(told)
            for run, _, e in told:
                if run in seen or len(seen) < COUNTED_RUNS:
                    seen[run] = seen.get(run, 0) | 1 << e.n
        await self._untold(seen)

    async def _told(self, told: list[tuple[str, str, Event]]) -> None:
        async with self.db.snapshot() as conn:
            rows = await conn.fetch(
                sql.TOLD, [t[0] for t in told], [t[2].n for t in told], [t[1] for t in told]
            )
        stored = {(row["run"], row["n"]): row for row in rows}
        self.report.count("I18", len(told))
        for run, _, e in told:
            row = stored[run, e.n]
            if row["pruned"] or self.report.named(run, e.n):
                continue
            if not row["there"]:
                self._add(run, e.n, e.epoch, f"RUNS tells {e.kind} of a run that is not stored")
            elif row["kind"] is None:
                self._add(run, e.n, e.epoch, f"RUNS tells {e.kind}, the store has no such event")
            elif (e.kind, e.epoch, e.source, e.target) != tuple(row[3:7]):
                self._add(run, e.n, e.epoch, f"RUNS tells {e.kind} with epoch {e.epoch}, stored is"
                          f" {row['kind']} with epoch {row['epoch']}")  # fmt: skip

    async def _untold(self, seen: dict[str, int]) -> None:
        """Events between others of their run that RUNS does not have.

        RUNS acknowledges before it writes, so a server that dies may forget: no promise is broken.
        """
        missing = Counter[str]()
        for run, bits in seen.items():
            low = (bits & -bits).bit_length() - 1
            holes = bits.bit_length() - low - bits.bit_count()
            if holes:
                missing[run] = holes
        if missing:
            self.report.note("I18", f"RUNS has forgotten {missing.total()} events of"
                             f" {len(missing)} runs; the store has them")  # fmt: skip

    def _add(self, run: str, n: int, epoch: int, what: str) -> None:
        self.report.add(Violation("I18", run, what, n, epoch))

    # --- WORK

    async def work(self) -> None:
        """No old message for a run that has ended, and none that no consumer sees."""
        first = await self._stale()
        hidden = await self._hidden()
        if not first and not hidden:
            return
        await asyncio.sleep(self.ask.second_look)
        again = await self._stale()
        for seq in first.keys() & again.keys():
            self.report.add(first[seq])
        for subject, many in (await self._hidden()).items():
            if hidden.get(subject) == many:
                self.report.add(
                    Violation("I19", "", f"{many} messages on {subject} are seen by no consumer")
                )

    async def _stale(self) -> dict[int, Violation]:
        found: dict[int, Violation] = {}
        served: dict[str, bool] = {}
        before = datetime.now(UTC) - OLD_WORK
        async for batch in self._batches(subjects.WORK, f"hw.work.{self.ask.ns or '*'}.*"):
            self.report.count("I19", len(batch))
            old = [m for m in batch if self.ask.settled or datetime.fromisoformat(m.time) < before]
            runs: dict[str, Stored] = {}
            for message in old:
                try:
                    runs[decode(WORK_BODY, message.data).run] = message
                except Malformed:
                    what = f"message {message.seq} of WORK does not read"
                    found[message.seq] = Violation("I19", "", what)
            rows = await self.db.conn.fetch(sql.STATES, list(runs))
            for row in rows:
                message = runs[row["id"]]
                if row["state"] not in TERMINAL or not self.ask.wants(row["id"]):
                    continue
                if message.subject not in served:
                    served[message.subject] = await self._served(message.subject)
                if served[message.subject]:
                    what = f"it is {row['state']}, and message {message.seq} of WORK offers it"
                    found[message.seq] = Violation("I19", row["id"], what, row["n"])
        return found

    async def _served(self, subject: str) -> bool:
        _, _, ns, queue = subject.split(".")
        return bool(await self.db.conn.fetchval(sql.SERVED, ns, queue))

    async def _hidden(self) -> dict[str, int]:
        found: dict[str, int] = {}
        ask = {"subjects_filter": f"hw.work.{self.ask.ns or '*'}.*"}
        info = await jsapi(self.nc, f"STREAM.INFO.{subjects.WORK}", ask)
        by_subject: dict[str, int] = info["state"].get("subjects") or {}
        for subject, messages in by_subject.items():
            _, _, ns, queue = subject.split(".")
            name = subjects.work_consumer(ns, queue)
            try:
                consumer: dict[str, Any] = await jsapi(
                    self.nc, f"CONSUMER.INFO.{subjects.WORK}.{name}"
                )
            except JetStreamRefused:
                found[subject] = messages
                continue
            hidden = messages - consumer["num_pending"] - consumer["num_ack_pending"]
            if hidden > 0:
                found[subject] = hidden
        return found
