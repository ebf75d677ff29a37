"""One check from beginning to end: what is asked for is read, judged, counted."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import asyncpg

from headway import subjects
from headway.bus import Connection, connect
from headway.errors import HeadwayError
from headway_engine.assembly import make_blobs
from headway_engine.blobs import BlobsDown
from headway_engine.reaching import nats_settings
from headway_engine.streams import oldest
from headway_ops.settings import shown_dsn
from headway_ops.verify import bodies, containers, effects, epochs, path, retries, sql, standing
from headway_ops.verify.ask import SUSPECTS, CannotLook
from headway_ops.verify.callers import Callers
from headway_ops.verify.database import Database
from headway_ops.verify.objects import Objects
from headway_ops.verify.outputs import logs
from headway_ops.verify.queues import Count, Opening
from headway_ops.verify.report import Report, Violation
from headway_ops.verify.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import datetime

    from headway_engine.blobs import Blobs
    from headway_ops.verify.ask import Ask
    from headway_ops.verify.facts import History

OUTBOX_AGE = 30.0
"""Seconds that an outbox row may wait for its publisher: sweepers look every 5 s at what is older
than 5 s. Longer only while NATS is away."""


async def verify_rows(ask: Ask) -> Report:
    """Check everything that `ask` gives sources for; what cannot be reached is said per line.

    Raises CannotLook if Postgres cannot be read, OSError for journals and ledgers. Changes nothing.
    """
    report = Report()
    dsn = ask.config.postgres.dsn
    db = Database(dsn)
    try:
        await db.open()
        await db.conn.fetchval(sql.SCHEMA)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        await db.close()
        raise CannotLook(f"Postgres at {shown_dsn(dsn)}: {str(e) or type(e).__name__}") from None
    looking = _Looking(ask, db, report)
    try:
        await looking.connect()
        await looking.all()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, TimeoutError) as e:
        why = str(e) or type(e).__name__
        raise CannotLook(f"Postgres broke off after {report.runs} runs: {why}") from None
    finally:
        await looking.close()
    return report


class _Looking:
    """The parts of one check; they share the connection, so they go one after the other."""

    def __init__(self, ask: Ask, db: Database, report: Report) -> None:
        self.ask, self.db, self.report = ask, db, report
        self.nc: Connection | None = None
        self.blobs: Blobs | None = None
        self.objects: Objects | None = None
        self.ledger: effects.Ledger = {}
        self._suspects: list[tuple[str, int, list[Violation]]] = []
        self._oldest: datetime | None = None

    async def connect(self) -> None:
        """To NATS and the blob store; what does not answer is left out, and said."""
        ask, report = self.ask, self.report
        blobs_on_nats = ask.blobs and ask.config.blobs.kind == "objects"
        if ask.nats or blobs_on_nats:
            settings = nats_settings(ask.config.nats)
            try:
                self.nc = await connect(
                    settings, kind="engine", ident=f"verify-{secrets.token_hex(4)}"
                )
                self._oldest = await oldest(self.nc, subjects.INGEST)
            except HeadwayError as e:
                self._without_nats(str(e))
        if not ask.nats:
            self._without_nats("NATS is not asked")
        if not ask.blobs or ask.config.blobs.kind == "memory":
            report.skip("I17", "from rows alone: blobs are not asked")
        elif self.nc is not None or not blobs_on_nats:
            assert self.nc is not None or ask.config.blobs.kind == "s3"
            self.blobs = make_blobs(ask.config, self.nc)  # pyright: ignore[reportArgumentType] S3 needs no NATS
            try:
                await self.blobs.open()
                self.objects = Objects(self.blobs, self.db, report)
            except BlobsDown as e:
                report.skip("I17", f"from rows alone: {e}")

    def _without_nats(self, why: str) -> None:
        for invariant in ("I19", "I20"):
            self.report.skip(invariant, why)
        self.report.skip("I18", f"from rows alone: {why}")

    async def close(self) -> None:
        """Give everything back."""
        await self.db.close()
        if self.blobs is not None:
            await self.blobs.close()
        if self.nc is not None:
            await self.nc.close()

    async def all(self) -> None:
        """Every part, one after the other: they share the connection."""
        ask, report = self.ask, self.report
        await Callers(ask, self.db, report).all(self._oldest)
        if ask.ledgers:
            self.ledger = effects.read(ask.ledgers, report)
        else:
            report.skip("I9", "no effect ledger is given")
        await self._runs()
        await self._second_look()
        await self._around()
        if self.nc is not None and ask.nats:
            nc = self.nc
            streams = Streams(ask, nc, self.db, report)
            await self._part("I18", streams.runs)
            if ask.whole:
                await self._part("I19", streams.work)
            else:
                report.skip("I19", "of a whole installation alone")
            if ask.logs:
                await self._part("I20", lambda: logs(ask, nc, report))
            else:
                report.skip("I20", "logs are not asked")
        report.skip("I23", "there is no projection in server mode: lists are queries")

    async def _part(self, invariant: str, part: Callable[[], Awaitable[None]]) -> None:
        """A part that needs NATS or blobs; that it does not answer now is said, not raised."""
        try:
            await part()
        except (HeadwayError, BlobsDown) as e:
            self.report.skip(invariant, str(e))

    async def _around(self) -> None:
        """What belongs to no single run."""
        ask, report = self.ask, self.report
        if not ask.whole:
            report.skip("I22", "of a whole installation alone")
        else:
            await self._outbox()
            await self._limits()
            if self.objects is not None and not ask.ns:
                before = ask.unnamed_before(await self.db.now(), self._oldest)
                objects = self.objects
                await self._part("I17", lambda: objects.unnamed(before))
        if ask.containers:
            await containers.check(await self.db.agents(), report)
        else:
            report.skip("I15", "containers are not asked")
            report.skip("I16", "containers are not asked")

    # --- runs

    async def _runs(self) -> None:
        low, high = self.ask.bounds()
        async for now, page in self.db.histories(low, high, self.ask.ns):
            for h in page:
                if not self.ask.run or h.run.id == self.ask.run:
                    self._one(h, now)
            objects = self.objects
            if objects is not None:
                await self._part("I17", lambda o=objects, p=page: o.of(p))

    def _one(self, h: History, now: datetime) -> None:
        report = self.report
        report.runs += 1
        report.events += len(h.events)
        for e in h.events:
            report.seen[e.kind] = report.seen.get(e.kind, 0) + 1
        for violation in self._judge(h):
            report.add(violation)
        still = list(self._standing(h, now, report))
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

    def _standing(self, h: History, now: datetime, report: Report) -> Iterator[Violation]:
        """What may be true only for a moment."""
        return standing.check(h, report, now, settled=self.ask.settled, grace=self.ask.grace)

    async def _second_look(self) -> None:
        """Who stood still for a moment only is no finding: an engine may just have died."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (0.0 if self.ask.settled else self.ask.patience)
        while self._suspects:
            await asyncio.sleep(self.ask.second_look)
            suspects, self._suspects = self._suspects, []
            for at in range(0, len(suspects), 500):
                await self._again(suspects[at : at + 500])
            if loop.time() >= until:
                break
        for _, _, still in self._suspects:
            for violation in still:
                self.report.add(violation)

    async def _again(self, part: list[tuple[str, int, list[Violation]]]) -> None:
        """Those that are where they were, with the same complaint, stay suspects."""
        now, page = await self.db.some([run for run, _, _ in part])
        there = {h.run.id: h for h in page}
        for run, n, still in part:
            h = there.get(run)
            if h is None or (h.run.n != n and not self.ask.settled):
                continue
            again = {v.invariant for v in self._standing(h, now, Report())}
            if left := [v for v in still if v.invariant in again]:
                self._suspects.append((run, n, left))

    # --- what others should have been told

    async def _outbox(self) -> None:
        self.report.count("I18")
        if self.ask.nats and self.nc is None:
            return  # while NATS is away they wait, and that is said already
        rows = await self._untold()
        loop = asyncio.get_running_loop()
        until = loop.time() + self.ask.patience
        while rows and loop.time() < until:
            # NATS may just be back: sweepers need a few seconds.
            await asyncio.sleep(self.ask.second_look)
            again = await self._untold()
            rows = {place: row for place, row in again.items() if place in rows}
        for row in rows.values():
            self.report.add(
                Violation("I18", row["run"], f"not told to RUNS since {row['age']:.0f} s; engine"
                          f" {row['engine']} wrote it", row["n"])
            )  # fmt: skip

    async def _untold(self) -> dict[tuple[str, int], asyncpg.Record]:
        rows = await self.db.conn.fetch(sql.OUTBOX, OUTBOX_AGE)
        return {(row["run"], row["n"]): row for row in rows}

    async def _limits(self) -> None:
        """Queues that have a limit, since it was set."""
        conn = self.db.conn
        for queue in await conn.fetch(sql.LIMITS, self.ask.ns):
            name = f"{queue['ns']}/{queue['queue']}"
            count = Count(name, queue["run_limit"], queue["key_limit"])
            async with self.db.snapshot():
                async for e in conn.cursor(
                    sql.OPENINGS, queue["ns"], queue["queue"], queue["at"], prefetch=2000
                ):
                    if self.report.holes(e["run"]):
                        continue
                    self.report.count("I22")
                    opening = Opening(e["run"], e["n"], e["source"], e["target"], e["limit_key"])
                    for violation in count.pass_by(opening):
                        self.report.add(violation)
