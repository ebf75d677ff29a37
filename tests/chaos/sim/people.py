"""Callers and operators: they enqueue, again and twice, cancel, decide, deploy what is missing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from chaos.sim.plan import CAUSES, LOST, POLICIES, PROGRAMS, SECOND, SPECS, UNHEARD
from chaos.sim.rules import ENDS
from headway.states import RunState
from headway.wire.fleet import QueueAsk
from headway_engine import happenings as h
from headway_engine.store.records import NewRun, Run

if TYPE_CHECKING:
    from datetime import datetime

    from chaos.sim.world import World
    from headway_engine.store.records import EnqueueOutcome

NS = "default"


class Message:
    """A message of INGEST."""

    __slots__ = ("deliveries", "items", "until")

    def __init__(self, items: list[NewRun], now: datetime) -> None:
        self.items, self.until, self.deliveries = items, now, 0


class People:
    """See the module."""

    def __init__(self, world: World) -> None:
        self.w = world
        self.began = now = world.clock.now()
        self.items: list[NewRun] = []
        """What shall be enqueued, and is not recorded as far as its caller knows."""
        self.accepted: dict[str, bool] = {}
        """Runs whose PubAck came, durable or not."""
        self.outcomes: dict[str, str] = {}
        self.early: dict[str, bool] = {}
        """Cancelled before anybody knew the id."""
        rng, plan = world.rng, world.plan
        for key in ("mail", "card"):
            world.policies[key] = rng.choice(POLICIES)
        ttl = rng.choice((20.0, 20.0, 1000.0))
        for i in range(plan.runs):
            fields: dict[str, Any] = {}
            chance = rng.random()
            if chance < 0.15:
                fields["due_at"] = now + timedelta(seconds=5)
            if chance > 0.8:
                fields["ttl_at"] = now + timedelta(seconds=rng.choice((3.0, 30.0)))
            if 0.1 < chance < 0.3:
                fields["deadline_at"] = now + timedelta(seconds=rng.choice((2.0, 20.0, 300.0)))
            if "operator" in plan.faults and rng.random() < 0.5:
                fields["version"] = "v2"
            if plan.keyed:
                fields |= {"key": "k", "keep_key": rng.random() < 0.2}
            run = Run(
                f"R{i + 1}", NS, "research", "default", RunState.QUEUED, now,
                timeout=60.0, **fields,
            )  # fmt: skip
            body = "b" if rng.random() < 0.2 else "a"
            until = now + timedelta(seconds=ttl) if plan.keyed else None
            self.items.append(NewRun(run, b"1", None, body, key_until=until, queued_at=now))
            fails = rng.choice((0, 0, 0, 1, 1, 2, 9))
            world.tasks[run.id] = rng.choice(PROGRAMS), fails, rng.choice(CAUSES)

    def limit(self, limit: int) -> QueueAsk:
        """So many open attempts at most."""
        return QueueAsk("default", limit=limit)

    # --- callers

    def enqueue(self) -> None:
        """Publish one that is not known to be recorded: the first time, or again."""
        if not self.items:
            return
        w = self.w
        new = w.rng.choice(self.items)
        fate = w.fate()
        if fate == LOST:
            return
        now = w.clock.now()
        copies = [new, new] if w.rng.random() < 0.1 else [new]
        items = [self._stamped(n, now) for n in copies]
        w.ingest.append(Message(items, now))
        w.say("published", new.run.id)
        if fate != UNHEARD:
            self.accepted[new.run.id] = True

    def _stamped(self, new: NewRun, now: datetime) -> NewRun:
        """As the engine reads it: windows count from the INGEST time."""
        until = new.key_until
        if until is not None:
            until = now + (until - self.began)
        return replace(new, run=replace(new.run), queued_at=now, key_until=until)

    def recorded(self, run: str, outcome: EnqueueOutcome) -> None:
        """The answer to the caller, if it comes."""
        if self.w.fate() in (LOST, UNHEARD):
            return
        self.outcomes[run] = outcome.outcome
        self.items = [new for new in self.items if new.run.id != run]

    def cancel(self) -> None:
        """Somebody has enough."""
        w = self.w
        if (engine := w.engine()) is None:
            return
        run = f"R{w.rng.randrange(w.plan.runs) + 1}"
        if run in w.tables.runs:
            before = w.before(run)[1]
            w.move(engine, run, h.Cancel("user:me", "enough"))
            after = w.before(run)[1]
            final = after in ("CANCELLING", "CANCELLED") or before in ENDS
            w.oracle.need(final, "P7 a cancel was acknowledged and is not final", before, after)
        elif (NS, run) not in w.tables.aliases:
            w.go(engine.store.early_cancel(NS, run, "user:me", "enough"))
            self.early[run] = True
            w.oracle.reached["cancel before the record"] += 1
            w.say("cancelled early", run)

    # --- operators

    def decide(self, *, override: bool = False) -> None:
        """Resume what waits for a person, or for its time."""
        w = self.w
        if (engine := w.engine()) is None:
            return
        for run_id, row in list(w.tables.runs.items()):
            run = row.run
            if run.state not in ("REVIEW", "RETRYING", "DELAYED"):
                continue
            if run.state != "REVIEW" and (override or w.rng.random() < 0.8):
                continue
            if run.reason == "version":
                which = SPECS.index(w.plan.spec)
                w.go(engine.store.deploy(NS, SECOND[which]))
            if run.reason == "state":
                w.fixed.add(run_id)
            # As a person reads them: the record in the table has them from its last transition.
            marks = row.open_marks() if run.state == "REVIEW" else ()
            once = tuple((m.key, w.rng.choice(("done", "rerun"))) for m in marks)
            if w.rng.random() < 0.05:
                once = once[1:]
            outcome = w.move(engine, run_id, h.Resume("user:me", once, override=override))
            refused = outcome == "refused" and len(once) == len(marks) and bool(once)
            w.oracle.reached["decision refused: maybe alive"] += refused

    def tag(self) -> None:
        """Somebody tags any run at any moment; it goes on as if nobody had."""
        w = self.w
        if (engine := w.engine()) is None or not w.tables.runs:
            return
        run = w.rng.choice(sorted(w.tables.runs))
        before, had = w.before(run), w.tables.runs[run].run.tags
        add, remove = w.rng.choice(("x", "y")), w.rng.choice(("x", "z"))
        happening = h.Tag("user:me", (add,), (remove,) if add != remove else ())
        outcome = w.move(engine, run, happening)
        w.oracle.need(w.before(run) == before, "a tag has moved or fenced its run", before)
        w.oracle.need(add in w.tables.runs[run].run.tags, "a tag is not there", run, outcome)
        w.oracle.reached["tagged"] += w.tables.runs[run].run.tags != had

    def rash(self) -> None:
        """An operator who does not wait for the dead."""
        self.decide(override=True)
