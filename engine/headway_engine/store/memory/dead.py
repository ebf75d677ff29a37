"""Memory store: dead letters by class, and what reviews wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.states import RunState
from headway.wire.steering import DeadAsk, DeadClass, DeadPage
from headway_engine.store.listing import NEWEST, message_of, review_of
from headway_engine.store.memory.tables import Base, Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.runs import Review


class Dead(Base):
    """See the port."""

    async def dead(self, ns: str, ask: DeadAsk) -> DeadPage:
        """Classes, the largest first."""
        self._check()
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.tables.runs.values():
            run = row.run
            if run.ns == ns and run.failure and not run.acked:
                key = (run.failure, run.task if ask.by == "task" else "")
                found.setdefault(key, []).append(row)
        classes = sorted((_class(rows) for rows in found.values()), key=_largest)
        total = sum(c.count for c in classes)
        return DeadPage(classes[: ask.n], self._now(), total, len(classes[ask.n :]))

    async def reviews(self, ns: str, runs: Sequence[str]) -> dict[str, Review]:
        """Of these runs those in REVIEW, and what each waits for."""
        self._check()
        found: dict[str, Review] = {}
        for run in runs:
            row = self.tables.runs.get(run)
            if row is None or row.run.ns != ns or row.run.state is not RunState.REVIEW:
                continue
            last = [e for e in row.events if e.target == RunState.REVIEW][-1:]
            at, data = (last[0].at, last[0].data) if last else (None, {})
            found[run] = review_of(at, data, row.open_marks(), row.run.unconfirmed)
        return found


def _largest(c: DeadClass) -> tuple[int, str, str]:
    return (-c.count, c.failure, c.task)


def _ended(row: Row) -> datetime:
    assert row.run.ended_at is not None
    return row.run.ended_at


def _class(rows: list[Row]) -> DeadClass:
    """One class of these runs."""
    rows.sort(key=lambda row: (_ended(row), row.run.id), reverse=True)
    newest, tasks = rows[0], {row.run.task for row in rows}
    points = [row.run.ck for row in rows[:NEWEST]]
    top = max(points, key=lambda ck: (points.count(ck), ck))
    reached = next(row for row in rows if row.run.ck == top)
    ck = reached.checkpoints.get(top)
    return DeadClass(
        newest.run.failure, min(tasks), len(rows), _ended(rows[-1]), _ended(newest),
        newest.run.id, len(tasks), top, "" if ck is None else ck.name,
        message_of(None if newest.end is None else newest.end.error),
    )  # fmt: skip
