"""What this engine saw of the queues: runs that came and went, and how long they waited. No I/O.

Each run that comes or goes is seen by the one engine that committed it, so the numbers of several
engines add up. `moves` grows with all that may change what stands in a queue: while it stands still
everywhere, nobody has to ask the store for the queues' numbers.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from headway.wire.fleet import QueueFlow
from headway_engine.metrics.timing import Lately, Timing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from headway.wire.events import Event
    from headway_engine.credits import Place
    from headway_engine.store.records import Claimed, Outcome

RATE_OVER = 10.0
"""Seconds over which runs a second are counted."""
IDLE_AFTER = 120.0
"""Seconds without a run after which a queue is forgotten here, except its Timing."""


class _Flow:
    __slots__ = ("came", "moved_at", "past", "waits", "went")

    def __init__(self, waits: Timing) -> None:
        self.came = self.went = 0
        self.waits = Lately(waits)
        self.moved_at = 0.0
        self.past: deque[tuple[float, int, int]] = deque()

    def tick(self, now: float) -> None:
        if not self.past or self.past[-1][1:] != (self.came, self.went):
            self.moved_at = now
        self.past.append((now, self.came, self.went))
        while len(self.past) > 1 and self.past[1][0] <= now - RATE_OVER:
            self.past.popleft()
        self.waits.tick(now)

    def rates(self) -> tuple[float, float]:
        then, came, went = self.past[0]
        seconds = min(RATE_OVER, max(1.0, self.past[-1][0] - then))
        return (self.past[-1][1] - came) / seconds, (self.past[-1][2] - went) / seconds


class Flows:
    """One per engine; `tick` once a second."""

    def __init__(self) -> None:
        self.moves = 0
        """Grows with what may have changed a queue's numbers, or an agent's."""
        self.waits: dict[Place, Timing] = {}
        """From coming into the queue to the claim, since the start."""
        self.wait, self.start = Timing(), Timing()
        """The same of all queues; from the claim until user code began."""
        self._places: dict[Place, _Flow] = {}

    def seen(self, ns: str, queue: str, events: Iterable[Event]) -> None:
        """Committed events of a run; those of saves name no queue and change none."""
        if not queue:
            return
        self.moves += 1
        for event in events:
            if event.target == "QUEUED":
                self._at((ns, queue)).came += 1
            elif event.target == "STARTING":
                self._at((ns, queue)).went += 1

    def claimed(self, given: Iterable[Claimed]) -> None:
        """What agents were given."""
        for one in given:
            if one.waited is not None:
                place = (one.run.ns, one.run.queue)
                self._at(place)
                self.waits[place].add(one.waited)
                self.wait.add(one.waited)

    def told(self, outcomes: Iterable[Outcome]) -> None:
        """Transitions: of attempts that began, how long that took."""
        for outcome in outcomes:
            run = outcome.run
            if run is None or not outcome.events or outcome.events[0].kind != "started":
                continue
            if run.claimed_at is not None:
                self.start.add((outcome.events[0].at - run.claimed_at).total_seconds())

    def _at(self, place: Place) -> _Flow:
        flow = self._places.get(place)
        if flow is None:
            flow = _Flow(self.waits.setdefault(place, Timing()))
            # What began before the first tick counts as well.
            flow.past.append((float("-inf"), 0, 0))
            self._places[place] = flow
        return flow

    def tick(self, now: float) -> None:
        """A second has gone by; `now`: monotonic seconds."""
        for place, flow in list(self._places.items()):
            flow.tick(now)
            if now - flow.moved_at > IDLE_AFTER:
                del self._places[place]

    def places(self) -> list[Place]:
        """Queues in which something moved lately."""
        return list(self._places)

    def flow(self, place: Place, engine: str, at: datetime) -> QueueFlow | None:
        """What to say of a queue; None = nothing moved there lately."""
        flow = self._places.get(place)
        if flow is None:
            return None
        came, went = flow.rates()
        return QueueFlow(engine, at, round(came, 3), round(went, 3), flow.waits.p95())
