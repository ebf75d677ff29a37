"""Edge store: dead letters by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire.steering import DeadAsk, DeadClass, DeadPage
from headway_engine.store.edge.reading import Reading
from headway_engine.store.edge.rows import error_of
from headway_engine.store.edge.times import moment
from headway_engine.store.filtering import DEAD
from headway_engine.store.listing import NEWEST, message_of

if TYPE_CHECKING:
    from typing import Any

_CLASSES = (
    "SELECT failure, min(task), count(*), min(ended_at), max(ended_at), count(DISTINCT task)"
    f" FROM runs r WHERE ns = ? AND {DEAD} GROUP BY failure"
)
_NEWEST = (
    "SELECT id, ck FROM runs r INDEXED BY runs_dead_class WHERE ns = ?1 AND failure = ?2"
    f" AND {DEAD}"
    "{} ORDER BY ended_at DESC, id DESC LIMIT ?4"
)


class Dead(Reading):
    """See the port."""

    async def dead(self, ns: str, ask: DeadAsk) -> DeadPage:
        """Classes, the largest first; dead letters alone are read, by their index."""
        await self._fresh()
        by_task = ask.by == "task"
        rows = self.db.execute(f"{_CLASSES}, task" if by_task else _CLASSES, (ns,)).fetchall()
        rows.sort(key=lambda row: (-row[2], row[0], row[1]))
        classes = [self._class(ns, row, by_task=by_task) for row in rows[: ask.n]]
        total = sum(row[2] for row in rows)
        return DeadPage(classes, self._now(), total, len(rows[ask.n :]))

    def _class(self, ns: str, row: tuple[Any, ...], *, by_task: bool) -> DeadClass:
        first: int
        last: int
        failure, task, count, first, last, tasks = row
        newest: list[tuple[str, int]] = self.db.execute(
            _NEWEST.format(" AND task = ?3" if by_task else ""), (ns, failure, task, NEWEST)
        ).fetchall()
        points = [ck for _, ck in newest]
        top = max(points, key=lambda ck: (points.count(ck), ck))
        reached = next(run for run, ck in newest if ck == top)
        name = self.db.execute(
            "SELECT name FROM checkpoints WHERE run = ? AND number = ?", (reached, top)
        ).fetchone()
        sample = newest[0][0]
        error = self.db.execute("SELECT error FROM bodies WHERE run = ?", (sample,)).fetchone()
        return DeadClass(
            failure, task, count, moment(first), moment(last), sample, tasks, top,
            name[0] if name else "", message_of(error_of(error[0] if error else None)),
        )  # fmt: skip
