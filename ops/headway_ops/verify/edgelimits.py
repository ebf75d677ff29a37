"""I22 at the edge: what opened and closed attempts, in the order in which RUNS has it.

That is the order in which it was decided. It is laid down beside the messages, so that memory holds
no more than what is open.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headway_ops.verify.facts import OPEN
from headway_ops.verify.queues import Count, Opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway_ops.verify.edgefold import Told
    from headway_ops.verify.edgelog import EdgeLog
    from headway_ops.verify.facts import History
    from headway_ops.verify.report import Report, Violation

SETTLES = timedelta(seconds=5)
"""A limit was changed: so long what engines were doing may still go by the old one."""


class Openings:
    """Of the queues that have a limit."""

    def __init__(self, log: EdgeLog) -> None:
        self._log, self._db = log, log.scratch
        self._db.execute(
            "CREATE TABLE openings (ns TEXT, queue TEXT, seq INTEGER, n INTEGER, run TEXT,"
            " source TEXT, target TEXT, key TEXT)"
        )

    def take(self, h: History, told: Told) -> None:
        """The events of one run."""
        run = h.run
        limit = self._log.limits.get((run.ns, run.queue))
        if limit is None:
            return
        self._db.executemany(
            "INSERT INTO openings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (run.ns, run.queue, seq, e.n, run.id, e.source, e.target, told.limit_key)
                for e, seq in zip(h.events, told.seqs, strict=True)
                if e.target
                and e.at > limit.since + SETTLES
                and (e.source in OPEN) != (e.target in OPEN)
            ],
        )

    def check(self, report: Report) -> Iterator[Violation]:
        """All of them, queue by queue."""
        for (ns, queue), limit in self._log.limits.items():
            count = Count(f"{ns}/{queue}", limit.runs, limit.keyed)
            for opening in self._db.execute(
                "SELECT run, n, source, target, key FROM openings WHERE ns = ? AND queue = ?"
                " ORDER BY seq, n",
                (ns, queue),
            ):
                report.count("I22")
                yield from count.pass_by(Opening(*opening))
