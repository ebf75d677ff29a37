"""The same promises at the edge, where RUNS is the truth: read from the stream, not from rows.

The projection of an engine, if there is one, is compared with what RUNS says (I23): lists, queues
and due times come from it, so a row that differs is an answer that is wrong.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headway import subjects
from headway.bus import connect
from headway.errors import HeadwayError
from headway_engine.assembly import make_blobs, nats_settings
from headway_engine.blobs import BlobsDown
from headway_engine.streams import oldest
from headway_ops.verify import bodies, containers, effects, epochs, outputs, path, retries, standing
from headway_ops.verify.ask import SUSPECTS, Ask, CannotLook
from headway_ops.verify.edgecallers import callers
from headway_ops.verify.edgelimits import Openings
from headway_ops.verify.edgelog import EdgeLog
from headway_ops.verify.edgerows import Rows
from headway_ops.verify.objects import Objects
from headway_ops.verify.report import Report, Violation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from headway.bus import Connection
    from headway_engine.blobs import Blobs
    from headway_ops.verify.edgefold import Told
    from headway_ops.verify.facts import History

PROJECTION = "projection.sqlite3"
"""In the folder of an engine."""
AT_ONCE = 200
"""Runs with large bodies that are looked at together."""
_SKIPPED = {
    "I18": "at the edge an event is told by being stored",
    "I19": "at the edge WORK is a copy of what RUNS says",
}


async def verify_runs(ask: Ask) -> Report:
    """Check an edge by its settings. Raises CannotLook if its NATS does not answer."""
    nats = ask.config.nats
    try:
        ident = f"verify-{secrets.token_hex(4)}"
        nc = await connect(nats_settings(nats), kind="engine", ident=ident)
    except HeadwayError as e:
        raise CannotLook(f"NATS at {nats.url.rpartition('@')[2]}: {e}") from None
    blobs: Blobs | None = None
    opened = ""
    try:
        if ask.blobs:
            blobs = make_blobs(ask.config, nc)
            try:
                await blobs.open()
            except BlobsDown as e:
                opened = str(e)
        file = Path(ask.config.edge.folder) / PROJECTION
        report = await verify_edge(nc, file, ask, blobs=None if opened else blobs)
        if opened:
            report.skip("I17", f"from messages alone: {opened}")
        return report
    finally:
        if blobs is not None:
            await blobs.close()
        await nc.close()


async def verify_edge(
    nc: Connection,
    projection: Path | None,
    ask: Ask,
    *,
    blobs: Blobs | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Check the runs of an edge; `projection`: the SQLite file of one of its engines.

    Raises CannotLook if RUNS cannot be read, OSError for journals and ledgers. Changes nothing.
    """
    report = Report()
    for invariant, why in _SKIPPED.items():
        report.skip(invariant, why)
    log = EdgeLog(nc, ask)
    rows: Rows | None = None
    try:
        waiting = await oldest(nc, subjects.INGEST)
        await log.read()
        rows = _projection(projection, log, report)
        looking = _Looking(nc, log, rows, blobs, ask, report, now)
        await looking.all()
        await callers(ask, log, report, waiting)
        await looking.around(waiting)
    except HeadwayError as e:
        raise CannotLook(f"RUNS cannot be read after {report.runs} runs: {e}") from None
    finally:
        if rows is not None:
            rows.close()
        log.close()
    return report


def _projection(file: Path | None, log: EdgeLog, report: Report) -> Rows | None:
    """The projection, if it is one of this RUNS and can be read."""
    if file is None:
        report.skip("I23", "no projection is given")
        return None
    rows: Rows | None = None
    try:
        rows = Rows(file)
        if rows.stream() == log.created:
            return rows
        report.skip("I23", "the projection is of another RUNS")
    except (sqlite3.Error, ValueError) as e:
        report.skip("I23", f"the projection {file} cannot be read: {e}")
    if rows is not None:
        rows.close()
    return None


class _Looking:
    """The parts of one check."""

    def __init__(
        self,
        nc: Connection,
        log: EdgeLog,
        rows: Rows | None,
        blobs: Blobs | None,
        ask: Ask,
        report: Report,
        now: Callable[[], datetime],
    ) -> None:
        self._nc, self._log, self._rows, self._ask = nc, log, rows, ask
        self._report, self._now = report, now
        self._objects = None if blobs is None else Objects(blobs, log, report)
        self._page: list[History] = []
        """Runs whose large bodies are still to be looked at."""
        self._suspects: dict[tuple[str, str], list[Violation]] = {}
        """(namespace, run): what may be true only for a moment."""
        self._openings = Openings(log)
        self._ledger: effects.Ledger = {}

    async def all(self) -> None:
        """Every run that RUNS has, then every row that has none; then a second look."""
        report, ask, known = self._report, self._ask, set[str]()
        if ask.ledgers:
            self._ledger = effects.read(ask.ledgers, report)
        else:
            report.skip("I9", "no effect ledger is given")
        if self._objects is None:
            report.skip("I17", "from messages alone: blobs are not asked")
        for told in self._log.all():
            known.add(told.id)
            h = self._log.history(told)
            if h is not None:
                await self._one(h, told)
            self._compare(told)
            still = [] if h is None else list(self._standing(h, report))
            if still:
                self._suspects.setdefault((told.ns, told.id), []).extend(still)
        await self._bodies()
        for seq, why in self._log.unread:
            report.note("I4", f"message {seq} of RUNS says nothing and is skipped: {why}"[:300])
        if self._rows is not None and ask.whole and not ask.ns:
            for run, seq in self._rows.ids():
                if run not in known and seq <= self._log.upto:
                    self._suspects.setdefault(("", run), []).append(
                        Violation("I23", run, "the projection has it, RUNS has no message of it")
                    )
        await self._again(ask.second_look, 0.0 if ask.settled else ask.patience)

    async def around(self, waiting: datetime | None) -> None:
        """What belongs to no single run; `waiting`: the oldest enqueue in INGEST."""
        ask, report = self._ask, self._report
        if ask.whole:
            for violation in self._openings.check(report):
                report.add(violation)
            if self._objects is not None and not ask.ns:
                before = ask.unnamed_before(self._now(), waiting)
                await self._of_blobs(lambda o: o.unnamed(before))
        else:
            report.skip("I22", "of a whole installation alone")
        if ask.logs:
            try:
                await outputs.logs(ask, self._nc, report)
            except HeadwayError as e:
                report.skip("I20", str(e))
        else:
            report.skip("I20", "logs are not asked")
        if ask.containers:
            await containers.check(self._log.agents(self._now()), report)
        else:
            report.skip("I15", "containers are not asked")
            report.skip("I16", "containers are not asked")

    async def _one(self, h: History, told: Told) -> None:
        report = self._report
        report.runs += 1
        report.events += len(h.events)
        for e in h.events:
            report.seen[e.kind] = report.seen.get(e.kind, 0) + 1
        for check in (path.check, epochs.check, retries.check, bodies.check):
            for violation in check(h, report):
                report.add(violation)
        if (outside := self._ledger.get(h.run.id)) is not None:
            for violation in effects.check(h, outside, report):
                report.add(violation)
        if not report.holes(h.run.id):
            self._openings.take(h, told)
        if self._objects is not None and bodies.blobs_of(h):
            self._page.append(h)
            if len(self._page) >= AT_ONCE:
                await self._bodies()

    def _standing(self, h: History, report: Report) -> Iterator[Violation]:
        ask = self._ask
        return standing.check(h, report, self._now(), settled=ask.settled, grace=ask.grace)

    # --- large bodies

    async def _bodies(self) -> None:
        page, self._page = self._page, []
        if page:
            await self._of_blobs(lambda o: o.of(page))

    async def _of_blobs(self, part: Callable[[Objects], Awaitable[None]]) -> None:
        if self._objects is None:
            return
        try:
            await part(self._objects)
        except BlobsDown as e:
            self._report.skip("I17", str(e))

    # --- the projection, and what may be true only for a moment

    def _compare(self, told: Told) -> None:
        if self._rows is None:
            return
        self._report.count("I23")
        if wrong := self._rows.compare(told):
            # The engine may be writing it, or the pruner removing it, at this moment.
            self._suspects.setdefault((told.ns, told.id), []).extend(wrong)

    async def _again(self, every: float, patience: float) -> None:
        """What complains still, after a while, is a finding; only the first ones are looked at."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        beyond = list(self._suspects.items())[SUSPECTS:]
        self._suspects = dict(list(self._suspects.items())[:SUSPECTS])
        while self._suspects:
            await asyncio.sleep(every)
            await self._log.read_settings()
            self._suspects = {
                place: left
                for place, said in self._suspects.items()
                if (left := await self._still(*place, said))
            }
            if loop.time() >= until:
                break
        for _, said in (*self._suspects.items(), *beyond):
            for violation in said:
                self._report.add(violation)

    async def _still(self, ns: str, run: str, said: list[Violation]) -> list[Violation]:
        """Of these what is so still."""
        if not ns:
            there = self._rows is not None and any(run == r for r, _ in self._rows.ids())
            return said if there else []
        told = await self._log.again(ns, run)
        h = self._log.history(told)
        now = {v.invariant for v in self._standing(h, Report())} if h is not None else set[str]()
        left = [v for v in said if v.invariant in now]
        if self._rows is not None and any(v.invariant == "I23" for v in said):
            left += self._rows.compare(told)
        return left
