"""The queues as the console knows them: a snapshot, then beats of all engines. Pure.

Settings and counts come from whoever read the store last; what came, went and waited is seen by
each engine by itself, so it is added up here (of waits the longest counts).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from headway.wire.fleet import QueueFlow, QueueRow
    from headway_tui.model.agents import AgentLine

DEPTHS = 60
"""Seconds of the curve of what waits."""
SORTS = ("name", "waiting", "oldest", "running")
"""Orders of the list."""


class Serving(NamedTuple):
    """Who takes runs of a queue."""

    agents: int = 0
    slots: int = 0
    used: int = 0


class QueueLine(NamedTuple):
    """One queue, merged: what a row shows."""

    row: QueueRow
    came: float
    went: float
    wait_p95: float | None
    depth: tuple[int, ...]
    serving: Serving

    @property
    def name(self) -> str:
        """Of the queue."""
        return self.row.queue

    @property
    def waiting(self) -> int:
        """Runs that wait, those on their way to an agent included."""
        return self.row.queued + self.row.dispatched

    @property
    def state(self) -> str:
        """`pause`, `alone` (runs wait and no agent takes them), `full` (at its limit), or `ok`."""
        if self.row.paused:
            return "pause"
        if self.waiting and not self.serving.agents:
            return "alone"
        if self.waiting and self.row.limit and self.row.open >= self.row.limit:
            return "full"
        return "ok"

    def oldest(self, now: datetime) -> float | None:
        """Seconds that the longest wait takes by now; None = nothing waits."""
        if self.row.oldest_at is None:
            return None
        return max(0.0, (now - self.row.oldest_at).total_seconds())

    def note(self, shift: timedelta) -> str:
        """What to know or to do; `shift`: from UTC to the reader's time of day."""
        row = self.row
        if row.paused:
            who = f" by {row.paused_by.removeprefix('user:')}" if row.paused_by else ""
            at = f" {row.paused_at + shift:%H:%M}" if row.paused_at is not None else ""
            why = f' "{row.reason}"' if row.reason else ""
            return f"paused{who}{at}{why}"
        if self.state == "alone":
            return "no agent: `headway agent`"
        if self.state == "full":
            return "at limit: raise it (L)"
        if self.waiting and self.serving.slots and self.serving.used >= self.serving.slots:
            return "all slots are taken: add agents"
        return ""


class QueuesView:
    """What was heard, by queue."""

    def __init__(self) -> None:
        self.rows: dict[str, QueueRow] = {}
        self.flows: dict[str, dict[str, QueueFlow]] = {}
        self.depths: dict[str, deque[int]] = {}
        self.sort = SORTS[0]
        self.changed = True
        self._early: list[QueueRow] | None = None

    def asking(self) -> None:
        """A snapshot is asked for: what is heard from now on is newer than it may be."""
        self._early = []

    def snapshot(self, rows: Iterable[QueueRow]) -> None:
        """The answer of `queues`; what was heard since it was asked for goes over it."""
        early, self._early = self._early or [], None
        rows = list(rows)
        self.rows = {row.queue: row for row in rows}
        self.flows = {row.queue: {f.engine: f for f in row.flows} for row in rows}
        self.depths = {row.queue: deque(row.depth, maxlen=DEPTHS) for row in rows}
        for row in early:
            self.hear(row)
        self.changed = True

    def hear(self, beat: QueueRow) -> None:
        """A beat of one engine; one without `at` knows the flow alone."""
        if self._early is not None:
            self._early.append(beat)
        flows = self.flows.setdefault(beat.queue, {})
        for flow in beat.flows:
            flows[flow.engine] = flow
        known = self.rows.get(beat.queue)
        if known is None:
            self.rows[beat.queue] = beat
        elif beat.at is not None:
            self.rows[beat.queue] = replace(
                beat, retrying=known.retrying, delayed=known.delayed, agents=known.agents
            )
        self.changed = True

    def answered(self, row: QueueRow) -> None:
        """What `queue-set` says that the queue is now."""
        self.rows[row.queue] = row
        self.changed = True

    def tick(self) -> None:
        """A second has gone by: the curves go on."""
        for queue, row in self.rows.items():
            depth = self.depths.setdefault(queue, deque(maxlen=DEPTHS))
            depth.append(row.queued + row.dispatched)
        self.changed = True

    def lines(
        self, agents: Iterable[AgentLine], now: datetime, engines: Iterable[str] | None = None
    ) -> list[QueueLine]:
        """All queues in the order that was chosen; `engines`: those that live, None = any."""
        live = None if engines is None else set(engines)
        serving = serving_of(agents)
        found = [self._line(row, live, serving) for row in self.rows.values()]
        return sorted(found, key=lambda line: (_weight(line, self.sort, now), line.name))

    def _line(self, row: QueueRow, live: set[str] | None, serving: dict[str, Serving]) -> QueueLine:
        flows = [f for e, f in self.flows.get(row.queue, {}).items() if live is None or e in live]
        waits = [f.wait_p95 for f in flows if f.wait_p95 is not None]
        return QueueLine(
            row,
            sum(f.came for f in flows),
            sum(f.went for f in flows),
            max(waits, default=None),
            tuple(self.depths.get(row.queue, ())),
            serving.get(row.queue, Serving()),
        )


def serving_of(agents: Iterable[AgentLine]) -> dict[str, Serving]:
    """By queue, the agents that take runs now, with their slots."""
    found: dict[str, Serving] = {}
    for agent in agents:
        if not agent.takes:
            continue
        for queue in agent.row.queues:
            have = found.get(queue, Serving())
            found[queue] = Serving(
                have.agents + 1, have.slots + agent.slots, have.used + agent.used
            )
    return found


def _weight(line: QueueLine, sort: str, now: datetime) -> float:
    if sort == "waiting":
        return -line.waiting
    if sort == "oldest":
        return -(line.oldest(now) or 0.0)
    if sort == "running":
        return -line.row.open
    return 0.0
