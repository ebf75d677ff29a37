"""One check from beginning to end: what is asked for is read, judged, counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from headway.ids import encode
from headway_ops.settings import shown_dsn
from headway_ops.verify import acks, bodies, effects, epochs, path, retries, sql, standing
from headway_ops.verify.database import LAST, Database, ref_hash, rows_by
from headway_ops.verify.facts import Run
from headway_ops.verify.report import Report, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from headway_ops.verify.facts import History

SECOND_LOOK = 2.0
"""Seconds until a run that seems to stand still is looked at once more."""
SUSPECTS = 10_000
"""Runs that get a second look, at most; the rest are believed at once."""
OUTBOX_AGE = 30.0
"""Seconds that an outbox row may wait for its publisher: sweepers look every 5 s at what is older
than 5 s. Longer only while NATS is away."""


class CannotLook(Exception):
    """The store cannot be read: nothing is known. The message says what and why."""


@dataclass(slots=True)
class Ask:
    """What to look at."""

    dsn: str
    """Of Postgres."""
    ns: str = ""
    """This namespace alone; empty = all."""
    run: str = ""
    """This run alone."""
    since: datetime | None = None
    """Runs made since then alone."""
    settled: bool = False
    """All should be at rest: nothing left but REVIEW, what waits for its time, held queues."""
    journals: Sequence[Path] = ()
    """Written by `headway.journal`."""
    ledgers: Sequence[Path] = ()
    """Written by the outside world; see `effects`."""
    grace: float = standing.GRACE
    """Seconds that a timer, a rescuer or a sweeper may be late."""
    second_look: float = SECOND_LOOK

    def bounds(self) -> tuple[str, str]:
        """Ids above the first, up to the second."""
        if self.run:
            return self.run[:-1], self.run
        if self.since is not None:
            return encode(max(0, int(self.since.timestamp() * 1000)), 0), LAST
        return "", LAST

    def wants(self, run: str, ns: str = "") -> bool:
        """Is this run among those to look at?"""
        low, high = self.bounds()
        return (run == self.run if self.run else low < run <= high) and ns in ("", self.ns or ns)


async def verify(ask: Ask) -> Report:
    """Check everything that `ask` gives sources for. Raises CannotLook, OSError for its files."""
    report = Report()
    db = Database(ask.dsn)
    try:
        await db.open()
        await db.conn.fetchval(sql.SCHEMA)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        await db.close()
        why = str(e) or type(e).__name__
        raise CannotLook(f"Postgres at {shown_dsn(ask.dsn)}: {why}") from None
    try:
        await _Looking(ask, db, report).all()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        if isinstance(e, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        why = str(e) or type(e).__name__
        raise CannotLook(f"Postgres broke off after {report.runs} runs: {why}") from None
    finally:
        await db.close()
    return report


class _Looking:
    """The parts of one check; they share the connection, so they go one after the other."""

    def __init__(self, ask: Ask, db: Database, report: Report) -> None:
        self.ask, self.db, self.report = ask, db, report
        self.ledger: effects.Ledger = {}
        self._suspects: list[tuple[str, int, list[Violation]]] = []

    async def all(self) -> None:
        await self._journals()
        if self.ask.ledgers:
            self.ledger = effects.read(self.ask.ledgers, self.report)
        else:
            self.report.skip("I9", "no effect ledger is given")
        await self._runs()
        await self._second_look()
        if not self.ask.run:
            await self._outbox()

    # --- runs

    async def _runs(self) -> None:
        low, high = self.ask.bounds()
        async for now, page in self.db.histories(low, high, self.ask.ns):
            for h in page:
                if not self.ask.run or h.run.id == self.ask.run:
                    self._one(h, now)
            await asyncio.sleep(0)

    def _one(self, h: History, now: datetime) -> None:
        report = self.report
        report.runs += 1
        report.events += len(h.events)
        for e in h.events:
            report.seen[e.kind] = report.seen.get(e.kind, 0) + 1
        for violation in self._judge(h):
            report.add(violation)
        still = list(self._standing(h, now))
        if not still:
            return
        if len(self._suspects) < SUSPECTS:
            self._suspects.append((h.run.id, h.run.n, still))
        else:
            for violation in still:
                report.add(violation)

    def _judge(self, h: History) -> Iterator[Violation]:
        """What is true or false whenever it is looked at."""
        report = self.report
        yield from path.check(h, report)
        yield from epochs.check(h, report)
        yield from retries.check(h, report)
        yield from bodies.check(h, report)
        if (told := self.ledger.get(h.run.id)) is not None:
            yield from effects.check(h, told, report)

    def _standing(self, h: History, now: datetime) -> Iterator[Violation]:
        """What may be true only for a moment."""
        ask = self.ask
        return standing.check(h, self.report, now, settled=ask.settled, grace=ask.grace)

    async def _second_look(self) -> None:
        """Who stood still for a moment only is no finding."""
        if not self._suspects:
            return
        await asyncio.sleep(self.ask.second_look)
        scratch = Report()
        for at in range(0, len(self._suspects), 500):
            part = self._suspects[at : at + 500]
            now, page = await self.db.some([run for run, _, _ in part])
            again = {
                h.run.id: {
                    v.invariant
                    for v in standing.check(
                        h, scratch, now, settled=self.ask.settled, grace=self.ask.grace
                    )
                }
                for h in page
            }
            numbers = {h.run.id: h.run.n for h in page}
            for run, n, still in part:
                for violation in still:
                    moved = numbers.get(run) != n and not self.ask.settled
                    if not moved and violation.invariant in again.get(run, ()):
                        self.report.add(violation)

    # --- what callers were told

    async def _journals(self) -> None:
        if not self.ask.journals:
            self.report.skip("I1", "no journal is given")
            self.report.skip("I7", "from stored rows alone: no journal is given")
            return
        for file in self.ask.journals:
            for batch in acks.read(file, self.report):
                wanted = [a for a in batch if self.ask.wants(a.run, a.ns)]
                if wanted:
                    await self._acked(wanted)

    async def _acked(self, batch: list[acks.Ack]) -> None:
        spaces = {acks.looked_at(a): a.ns for a in batch}
        ids = list(spaces)
        points = [(a.run, a.number) for a in batch if a.op == "checkpoint"]
        keys = [(a.run, a.key) for a in batch if a.op == "mark"]
        async with self.db.snapshot() as conn:
            runs = {r["id"]: Run(*r) for r in await conn.fetch(sql.RUNS_BY_ID, ids)}
            rows = {
                r["id"]: r for r in await conn.fetch(sql.ACKED_RUNS, ids, [spaces[i] for i in ids])
            }
            checkpoints = await rows_by(
                conn, sql.ACKED_CHECKPOINTS, [p[0] for p in points], [p[1] for p in points]
            )
            marks = await rows_by(conn, sql.ACKED_MARKS, [k[0] for k in keys], [k[1] for k in keys])
        for a in batch:
            run = acks.looked_at(a)
            row = rows[run]
            stored = acks.Stored(
                runs.get(run), row["hash"] or "", row["result"] or ref_hash(row["ref"]),
                row["pruned"], row["winner"] or "", row["code"] or "",
            )  # fmt: skip
            saved: acks.Saved | None = None
            if a.op == "checkpoint" and (c := checkpoints[a.run].get(a.number)) is not None:
                saved = acks.Saved(c["sha256"], c["epoch"])
            elif a.op == "mark" and (m := marks[a.run].get(a.key)) is not None:
                saved = acks.Saved(m["found"] or ref_hash(m["ref"]), m["epoch"], m["status"])
            for violation in acks.check(a, stored, saved, self.report):
                self.report.add(violation)

    # --- what others should have been told

    async def _outbox(self) -> None:
        async with self.db.snapshot() as conn:
            rows = await conn.fetch(sql.OUTBOX, OUTBOX_AGE)
        self.report.count("I18")
        for row in rows:
            self.report.add(
                Violation("I18", row["run"], f"not told to RUNS since {row['age']:.0f} s; engine"
                          f" {row['engine']} wrote it", row["n"])
            )  # fmt: skip
