"""Two engines without state of their own, but with stale reads and work half done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.sim.plan import LEASE
from chaos.sim.rules import LIVE_ATTEMPT
from headway_engine import happenings as h
from headway_engine.store.memory import MemoryStore

if TYPE_CHECKING:
    from chaos.sim.world import World
    from headway.wire.events import Event
    from headway_engine.store.memory.tables import Row
    from headway_engine.store.records import Dispatch, Transition

NS = "default"
DUE, OVERDUE = h.Due(), h.Overdue()


class Store(MemoryStore):
    """The reference store, with the floors that Postgres keeps after a failover."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name, world.clock, world.tables)
        self.floors = world.floors

    def _carry_out(self, row: Row, t: Transition) -> None:
        super()._carry_out(row, t)
        if row.run.state not in LIVE_ATTEMPT:
            row.run.epoch = max(row.run.epoch, self.floors.pop(row.run.id, 0))


class Engine:
    """One process."""

    def __init__(self, world: World, name: str) -> None:
        self.w, self.name = world, name
        self.store = Store(world, name)
        self.up, self.lives = True, 0
        self.due: list[str] = []
        """What it read as due, and has not committed yet."""
        self.late: list[str] = []
        self.posts: list[tuple[str, Event]] = []
        """Committed, not yet in RUNS."""

    def crash(self) -> None:
        """Everything in flight is gone."""
        self.up = False
        self.due, self.late, self.posts = [], [], []
        self.lives += 1
        self.store = Store(self.w, f"{self.name}.{self.lives}")

    def act(self, which: int) -> None:
        """One look of one of its services, mostly of one that has something to do."""
        if not self.up or self.w.down:
            return
        if self.w.rng.random() < 0.7:
            if self.w.ingest:
                self.intake()
                return
            if any(row.waits for row in self.w.tables.runs.values()):
                self.dispatch()
                return
        (
            self.relay, self.relay, self.dispatch, self.timers, self.overdue,
            self.rescue, self.timers, self.sweep,
        )[which]()  # fmt: skip

    def intake(self) -> None:
        """A message of INGEST: commit, answer, acknowledge; or die between two of these."""
        message = self.w.deliverable()
        if message is None:
            return
        crash = self.w.rng.random() if "engine" in self.w.faults else 1.0
        if self.w.floor:
            for new in message.items:
                new.run.epoch = max(new.run.epoch, self.w.floor)
        outcomes, given = self.w.go(self.store.enqueue(NS, message.items, self.w.room()))
        for new, outcome in zip(message.items, outcomes, strict=True):
            self.w.say("enqueued", outcome.run, outcome.outcome)
            self.w.oracle.look()
            self.w.oracle.enqueued(new, outcome)
            self.post(outcome.run, outcome.events)
        for dispatch in given:
            self.publish(dispatch, crash < 0.1)
        if crash < 0.25:
            self.w.oracle.reached["engine crashed between commit and answer"] += 1
            self.crash()
            return
        for new, outcome in zip(message.items, outcomes, strict=True):
            self.w.people.recorded(new.run.id, outcome)
        self.w.ingest.remove(message)

    def dispatch(self) -> None:
        """Choose runs and publish them to WORK."""
        dispatch = self.w.go(self.store.dispatch(NS, "default", 4, 4))
        if dispatch is not None and dispatch.runs:
            fails = "engine" in self.w.faults and self.w.rng.random() < 0.3
            self.publish(dispatch, fails)
            if fails:
                self.crash()

    def publish(self, dispatch: Dispatch, fails: bool) -> None:
        """Into WORK, unless the engine dies just before."""
        if fails:
            self.w.oracle.reached["engine crashed between dispatch and publish"] += 1
            return
        last = self.w.publish(dispatch)
        self.w.go(self.store.dispatched([(dispatch.id, last)], self.w.stream))

    def timers(self) -> None:
        """What it read the last time is committed now: maybe another engine did meanwhile."""
        due, self.due = self.due, self.w.go(self.store.due(10))[0]
        if self.w.rng.random() < 0.6:
            due, self.due = self.due, []
        for run in due:
            outcome = self.w.move(self, run, DUE)
            self.w.oracle.reached["timer fired twice"] += outcome in ("already", "refused")

    def overdue(self) -> None:
        """The same for TTL, deadline, start deadline and the backstop."""
        late, self.late = self.late, self.w.go(self.store.overdue(10))
        if self.w.rng.random() < 0.6:
            late, self.late = self.late, []
        for run in late:
            self.w.overdue(self, run)

    def rescue(self) -> None:
        """End leases that are over."""
        self.w.go(self.store.tick(LEASE))
        for outcome in self.w.go(self.store.expire(LEASE)):
            run = outcome.run
            assert run is not None
            self.w.say("lease ended", run.id, run.state, run.epoch)
            self.w.lease_ended(outcome)
            self.post(run.id, outcome.events)
        self.w.oracle.look()

    def relay(self) -> None:
        """What it committed goes to RUNS; then the outbox rows go."""
        posts, self.posts = self.posts, []
        for run, event in posts:
            self.w.published.add((run, event.n))
        self.w.go(self.store.published([(run, e.n) for run, e in posts]))

    def sweep(self) -> None:
        """What a dead engine left: events that nobody published, work that is gone from WORK."""
        for run, _, _, _, events in self.w.go(self.store.unpublished(5.0)):
            for event in events:
                self.w.oracle.reached["outbox replay"] += (run, event.n) not in self.w.published
                self.w.published.add((run, event.n))
            self.w.go(self.store.published([(run, e.n) for e in events]))
        w, floor = self.w, {(NS, "default"): self.w.acked}
        behind = {
            number
            for number, batch in w.tables.batches.items()
            if batch.stream_created == w.stream and (batch.last_seq or 0) > w.sent
        }
        gone = w.go(self.store.undispatched(floor, w.stream, 5.0, w.sent))
        w.sweep_out()
        for dispatch in gone:
            w.oracle.reached["dispatch replay"] += 1
            w.oracle.reached["work behind the end of WORK"] += dispatch.id in behind
            self.publish(dispatch, fails=False)

    def post(self, run: str, events: list[Event]) -> None:
        """Remember for RUNS."""
        self.posts += [(run, e) for e in events]
