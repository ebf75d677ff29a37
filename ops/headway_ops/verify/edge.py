"""The same promises at the edge, where RUNS is the truth: read from the stream, not from rows.

The projection of an engine, if it is given, is compared with what RUNS says (I23): lists, queues
and due times come from it, so a row that differs is an answer that is wrong.
"""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway_ops.verify import bodies, epochs, path, retries, standing
from headway_ops.verify.edgelog import EdgeLog
from headway_ops.verify.edgerows import Rows
from headway_ops.verify.looking import SUSPECTS, CannotLook
from headway_ops.verify.report import Report, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nats.aio.client import Client as NatsClient

    from headway_ops.verify.edgefold import Told
    from headway_ops.verify.facts import History

_SKIPPED = {
    "I1": "no journal is given",
    "I7": "no journal is given",
    "I9": "no effect ledger is given",
    "I15": "containers are not asked",
    "I16": "containers are not asked",
    "I17": "from messages alone: blobs are not asked",
    "I18": "at the edge an event is told by being stored",
    "I19": "at the edge WORK is a copy of what RUNS says",
    "I20": "logs are not asked",
    "I22": "the edge does not keep since when a limit holds",
}


async def verify_edge(
    nc: NatsClient,
    projection: Path | None = None,
    *,
    settled: bool = False,
    grace: float = standing.GRACE,
    second_look: float = 2.0,
    patience: float = 15.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Check all runs of an edge; `projection`: the SQLite file of one of its engines.

    The other arguments as in `Ask`. Raises CannotLook if RUNS cannot be read. Changes nothing.
    """
    report = Report()
    for invariant, why in _SKIPPED.items():
        report.skip(invariant, why)
    log = EdgeLog(nc)
    rows: Rows | None = None
    try:
        await log.read()
        if projection is None:
            report.skip("I23", "no projection is given")
        else:
            try:
                rows = Rows(projection)
                if rows.stream() != log.created:
                    report.skip("I23", "the projection is of another RUNS")
                    rows.close()
                    rows = None
            except (sqlite3.Error, ValueError) as e:
                report.skip("I23", f"the projection cannot be read: {e}")
                rows = None
        looking = _Looking(log, rows, report, now, settled=settled, grace=grace)
        looking.all()
        await looking.again(second_look, 0.0 if settled else patience)
    except HeadwayError as e:
        raise CannotLook(f"RUNS cannot be read after {report.runs} runs: {e}") from None
    finally:
        if rows is not None:
            rows.close()
        log.close()
    return report


class _Looking:
    def __init__(
        self,
        log: EdgeLog,
        rows: Rows | None,
        report: Report,
        now: Callable[[], datetime],
        *,
        settled: bool,
        grace: float,
    ) -> None:
        self._log, self._rows, self._report, self._now = log, rows, report, now
        self._settled, self._grace = settled, grace
        self._suspects: dict[tuple[str, str], list[Violation]] = {}
        """(namespace, run): what may be true only for a moment."""

    def all(self) -> None:
        """Every run that RUNS has, then every row that has none."""
        report, known = self._report, set[str]()
        for told in self._log.all():
            known.add(told.id)
            h = self._log.history(told)
            if h is not None:
                self._one(h)
            self._compare(told)
            still = [] if h is None else list(self._standing(h, report))
            if still:
                self._suspects.setdefault((told.ns, told.id), []).extend(still)
        for seq, why in self._log.unread:
            report.note("I4", f"message {seq} of RUNS says nothing and is skipped: {why}"[:300])
        if self._rows is not None:
            for run, seq in self._rows.ids():
                if run not in known and seq <= self._log.upto:
                    self._suspects.setdefault(("", run), []).append(
                        Violation("I23", run, "the projection has it, RUNS has no message of it")
                    )

    def _one(self, h: History) -> None:
        report = self._report
        report.runs += 1
        report.events += len(h.events)
        for e in h.events:
            report.seen[e.kind] = report.seen.get(e.kind, 0) + 1
        for check in (path.check, epochs.check, retries.check, bodies.check):
            for violation in check(h, report):
                report.add(violation)

    def _standing(self, h: History, report: Report) -> Iterator[Violation]:
        return standing.check(h, report, self._now(), settled=self._settled, grace=self._grace)

    def _compare(self, told: Told) -> None:
        if self._rows is None:
            return
        self._report.count("I23")
        if wrong := self._rows.compare(told):
            # The engine may be writing it, or the pruner removing it, at this moment.
            self._suspects.setdefault((told.ns, told.id), []).extend(wrong)

    async def again(self, every: float, patience: float) -> None:
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
