"""Reads what callers' journals speak of, and has each line judged by `acks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_ops.verify import acks, sql
from headway_ops.verify.database import ref_hash, rows_by
from headway_ops.verify.facts import Run

if TYPE_CHECKING:
    from datetime import datetime

    from headway_ops.verify.ask import Ask
    from headway_ops.verify.database import Database
    from headway_ops.verify.report import Report


class Callers:
    """The journals that were given."""

    def __init__(self, ask: Ask, db: Database, report: Report) -> None:
        self.ask, self.db, self.report = ask, db, report

    async def all(self, oldest: datetime | None) -> None:
        """Every line. `oldest`: when the oldest enqueue that waits in INGEST came; None = none.

        Look at INGEST first: what is not in it any more is in the store by then.
        """
        if not self.ask.journals:
            self.report.skip("I1", "no journal is given")
            self.report.skip("I7", "from rows alone: no journal is given")
            return
        waits = None if oldest is None else oldest.timestamp() - acks.SKEW
        for file in self.ask.journals:
            for batch in acks.read(file, self.report):
                wanted = [a for a in batch if self.ask.wants(a.run, a.ns)]
                if wanted:
                    await self._batch(wanted, waits)

    async def _batch(self, batch: list[acks.Ack], waits: float | None) -> None:
        spaces = {acks.looked_at(a): a.ns for a in batch}
        ids = list(spaces)
        points = [(a.run, a.number) for a in batch if a.op == "checkpoint"]
        keys = [(a.run, a.key) for a in batch if a.op == "mark"]
        async with self.db.snapshot() as conn:
            runs = {r["id"]: Run(*r) for r in await conn.fetch(sql.RUNS_BY_ID, ids)}
            found = await conn.fetch(sql.ACKED_RUNS, ids, [spaces[i] for i in ids])
            rows = {r["id"]: r for r in found}
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
                waits is not None and a.at >= waits,
            )  # fmt: skip
            saved: acks.Saved | None = None
            if a.op == "checkpoint" and (c := checkpoints[a.run].get(a.number)) is not None:
                saved = acks.Saved(c["sha256"], c["epoch"])
            elif a.op == "mark" and (m := marks[a.run].get(a.key)) is not None:
                saved = acks.Saved(m["found"] or ref_hash(m["ref"]), m["epoch"], m["status"])
            for violation in acks.check(a, stored, saved, self.report):
                self.report.add(violation)
