"""The world of one seed: the clock, the bus, the store and its failures.

The store is the real reference store; what is faked is that it can be away, and come back without
its last commits (live runs then get a higher epoch, at once or as soon as their attempt is over, as
the Postgres store does it). The bus is lists: INGEST and WORK with redelivery, and a wire on which
requests are late, doubled and out of order.
"""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from chaos.sim.agents import NS, Agent, Asking
from chaos.sim.containers import Call, Container
from chaos.sim.engines import Engine
from chaos.sim.oracle import Oracle
from chaos.sim.people import Message, People
from chaos.sim.plan import BEAT, HEARD, LEASE, Op, Plan
from chaos.sim.rules import LIVE_ATTEMPT
from headway.wire.saves import SaveCheckpoint, SaveMark
from headway_engine import happenings as h
from headway_engine.clock import ManualClock
from headway_engine.store.memory.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import datetime
    from random import Random

    from headway_engine.store import ClaimAnswer
    from headway_engine.store.records import Dispatch, Outcome

T = TypeVar("T")
STEP = 1_000_000
"""How far epochs are raised after a failover."""
Letter = tuple[Container, Call] | tuple[str, h.Happening] | tuple[Agent, Asking, int]


class Work:
    """A message of WORK."""

    __slots__ = ("deliveries", "run", "seq", "until")

    def __init__(self, run: str, seq: int, now: datetime) -> None:
        self.run, self.seq, self.until, self.deliveries = run, seq, now, 0


class World:
    """See the module."""

    def __init__(self, rng: Random, plan: Plan, trace: list[str] | None = None) -> None:
        self.rng, self.plan, self.trace = rng, plan, trace
        self.clock = ManualClock()
        self.tables = Tables()
        self.floors: dict[str, int] = {}
        """Run -> its next epoch is higher than this; a failover gives one to each open attempt."""
        self.oracle = Oracle(self)
        self.engines = (Engine(self, "e1"), Engine(self, "e2"))
        self.agents = (Agent(self, "a1"), Agent(self, "a2"))
        self.containers: list[Container] = []
        self.orphans: list[Container] = []
        self.wire: list[Letter] = []
        self.ingest: list[Message] = []
        self.work: list[Work] = []
        self.sent = 0
        """Last sequence of WORK; a server that loses its tail gives sequences out again."""
        self.acked = 0
        """The consumer's floor: it stays when the stream loses its tail."""
        self.stream = "s1"
        """When WORK was created: another one after a wipe."""
        self.published: set[tuple[str, int]] = set()
        """RUNS: (run, event number)."""
        self.nonces = 0
        self.floor = 0
        self.faults, self.fates = plan.faults, plan.fates
        self.down = self.broken = self.doomed = False
        """The store is away; no container starts; containers that start are killed soon."""
        self.up_since = self.down_at = self.clock.now()
        self.spare: tuple[Any, dict[str, int], Any] | None = None
        """A copy of the store that lags behind."""
        self.failed_over = False
        self.ledger: dict[tuple[str, str], bool] = {}
        """The outside world: effects that happened."""
        self.tasks: dict[str, tuple[tuple[Op, ...], int, str]] = {}
        """Run -> its code, how many attempts fail, and of what."""
        self.fixed: set[str] = set()
        """Runs whose unreadable state a person has mended."""
        self.policies: dict[str, str] = {}
        self.people = People(self)
        store = self.engines[0].store
        self.go(store.open())
        self.go(store.deploy(NS, plan.deployment))
        if plan.limit:
            self.go(store.set_queue(NS, self.people.limit(plan.limit), "user:me"))

    def go(self, call: Coroutine[Any, Any, T]) -> T:
        """The reference store never waits: its coroutines end at the first step."""
        try:
            call.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it waited")

    def say(self, *words: object) -> None:
        """A line of the trace, if one is wanted."""
        if self.trace is not None:
            at = (self.clock.now() - self.people.began).total_seconds()
            self.trace.append(f"{at:8.1f}  " + " ".join(map(str, words)))

    def engine(self) -> Engine | None:
        """Any engine that answers, with a store that does; else None."""
        if self.down:
            return None
        one, two = self.engines
        if one.up and two.up:
            return one if self.rng.random() < 0.5 else two
        return one if one.up else two if two.up else None

    def fate(self) -> int:
        """What becomes of the next request."""
        fates = self.fates
        return HEARD if len(fates) == 1 else fates[int(self.rng.random() * len(fates))]

    def before(self, run: str) -> tuple[int, str]:
        """Epoch and state of a run as they are now."""
        row = self.tables.runs.get(run)
        return (-1, "") if row is None else (row.run.epoch, row.run.state.value)

    def maybe_alive(self, run: str, epoch: int) -> bool:
        """The truth, which nobody in the system knows."""
        return any(c.alive and c.run == run and c.epoch == epoch for c in self.containers)

    # --- requests

    def deliver(self, c: Container, call: Call) -> str:
        """A container's request reaches an engine; its outcome, or "" if nobody decided."""
        if not isinstance(call, SaveCheckpoint | SaveMark):
            return self.report(c.run, call)
        engine = self.engine()
        if engine is None:
            return ""
        before = self.before(c.run)
        (done,) = self.go(engine.store.save([call]))
        what = call.number if isinstance(call, SaveCheckpoint) else f"{call.key} {call.status}"
        self.say("save", c, what, done.outcome)
        self.oracle.saved(call, before, done)
        engine.post(c.run, done.events)
        self.oracle.look()
        return f"gap {done.n}" if done.outcome == "gap" else done.outcome

    def report(self, run: str, what: h.Happening) -> str:
        """A report reaches an engine."""
        engine = self.engine()
        return "" if engine is None else self.move(engine, run, what)

    def move(self, engine: Engine, run: str, what: h.Happening) -> str:
        """An engine commits a happening."""
        before = self.before(run)
        (outcome,) = self.go(engine.store.commit([(run, what)]))
        if self.trace is not None:
            words = type(what).__name__, getattr(what, "epoch", ""), getattr(what, "why", "")
            self.say(engine.name, run, *words, outcome.outcome, outcome.message)
        if outcome.outcome != "unknown":
            self.oracle.reported(run, what, before, outcome)
        engine.post(run, outcome.events)
        self.oracle.look()
        return outcome.outcome

    def overdue(self, engine: Engine, run: str) -> None:
        """The engine ends an attempt by the clock: its container knows nothing of it."""
        before = self.before(run)
        self.move(engine, run, h.Overdue())
        after = self.before(run)
        if before[1] in LIVE_ATTEMPT and after[1] not in LIVE_ATTEMPT:
            self.oracle.need(after[0] > before[0], "I5 ended by the clock, not fenced", run, after)
            self.oracle.tracks[run].fenced = before[0]
            self.oracle.reached["timeout by the backstop"] += before[1] == "RUNNING"

    def claim(self, agent: Agent, asking: Asking, session: int) -> ClaimAnswer | None:
        """A claim reaches an engine."""
        engine = self.engine()
        if engine is None:
            return None
        run = asking.work.run
        before = self.before(run)
        answer = self.go(engine.store.claim(NS, agent.name, session, asking.nonce, [run], None))
        self.oracle.look()
        for given in answer.claimed:
            self.say("claimed", given.run.id, given.run.epoch, "by", agent.name, asking.nonce)
            if given.events:
                left = self.clock.now() - agent.beaten
                self.oracle.need(
                    left.total_seconds() < LEASE, "B2 claimed without a lease", agent.name, left
                )
                now = self.tables.agents[NS, agent.name].state
                self.oracle.need(
                    now.alive and now.session == session, "B2 claimed by an ended session", session
                )
                engine.post(given.run.id, given.events)
            self.oracle.claimed(given, before, again=not given.events)
        for outcome in answer.outcomes:
            assert outcome.run is not None
            engine.post(outcome.run.id, outcome.events)
        self.oracle.reached["claim refused"] += bool(answer.refused)
        return answer

    def lease_ended(self, outcome: Outcome) -> None:
        """B1: only if its agent was silent for a lease, and could have been heard."""
        run = outcome.run
        assert run is not None
        row = self.tables.agents[NS, run.agent].state
        if row.alive or not any("lease" in str(e.data.get("why")) for e in outcome.events):
            return  # a new session of its agent, or not held
        agent = next(a for a in self.agents if a.name == run.agent)
        now = self.clock.now()
        for what, since in (("its agent beat", agent.beaten), ("the store came", self.up_since)):
            silent = (now - since).total_seconds()
            self.oracle.need(silent >= LEASE, f"B1 lost {silent} s after {what}", run.id)

    # --- the bus

    def room(self) -> dict[str, tuple[int, int]]:
        """What the dispatcher says of free slots to intake."""
        return {"default": (4, 4)} if self.rng.random() < 0.5 else {}

    def deliverable(self) -> Message | None:
        """The next message of INGEST that nobody has at this moment."""
        now = self.clock.now()
        for message in self.ingest:
            if message.until <= now:
                self.oracle.reached["redelivery"] += message.deliveries > 0
                message.deliveries += 1
                message.until = now + timedelta(seconds=2.0)
                return message
        return None

    def publish(self, dispatch: Dispatch) -> int:
        """Into WORK; the sequence of the last one."""
        for run, _ in dispatch.runs:
            self.sent += 1
            self.work.append(Work(run, self.sent, self.clock.now()))
        return self.sent

    def ack(self, work: Work) -> None:
        """Removes the message, whoever says so: an ack is no fence."""
        if work in self.work:
            self.work.remove(work)
            self.oracle.reached["late ack"] += work.until <= self.clock.now() or work.deliveries > 1
            left = (w.seq for w in self.work if w.seq > self.acked)
            self.acked = max(self.acked, min(left, default=self.sent + 1) - 1)

    def lose_work(self) -> None:
        """A server dies: the tail that was not synced is gone, or all of it with the stream."""
        self.oracle.reached["WORK lost"] += bool(self.work)
        if self.rng.random() < 0.5:
            self.sent = max(0, self.sent - self.rng.randrange(1, 3))
            self.work = [w for w in self.work if w.seq <= self.sent]
        else:
            self.work, self.sent, self.acked = [], 0, 0
            self.stream += "+"
        self.say("WORK is lost", self.stream, self.sent)

    def sweep_out(self) -> None:
        """Take out of WORK what its consumer is past: nobody will ever deliver that."""
        self.oracle.reached["work below the floor"] += any(w.seq <= self.acked for w in self.work)
        self.work = [w for w in self.work if w.seq > self.acked]

    def arrive(self) -> None:
        """Something late comes off the wire, in any order, maybe not for the last time."""
        if not self.wire:
            return
        i = self.rng.randrange(len(self.wire))
        letter = self.wire[i] if self.rng.random() < 0.2 else self.wire.pop(i)
        self.say("late:", letter[0], type(letter[1]).__name__)
        if len(letter) == 3:
            agent, asking, session = letter
            answer = self.claim(agent, asking, session)
            if answer is not None and agent.speaks and agent.asking is asking:
                agent.asking = None
                agent.accept(asking, answer)
        elif isinstance(letter[0], str):
            self.report(letter[0], letter[1])  # type: ignore[arg-type]  # (run, happening)
        else:
            c, call = letter[0], letter[1]
            outcome = self.deliver(c, call)  # type: ignore[arg-type]  # (container, call)
            if outcome and c.agent.speaks:
                c.heard(call, outcome)  # type: ignore[arg-type]

    # --- time

    def pass_time(self, seconds: float) -> None:
        """Time goes on: engines tick, agents that are well beat, then leases end."""
        rest = min(seconds, 4 * BEAT)  # one whole lease after the first tick
        self.clock.advance(seconds - rest)
        engine = self.engine()
        while rest > 0:
            self.clock.advance(min(rest, BEAT))
            rest -= BEAT
            if engine is not None:
                self.go(engine.store.tick(LEASE))
        if engine is not None:
            for agent in self.agents:
                if agent.speaks and not agent.fresh:
                    agent.beat()
            engine.rescue()

    # --- the store fails over

    def copy_store(self) -> None:
        """A standby that is as far as this moment."""
        t = self.tables
        rows = {
            run: replace(
                r,
                run=replace(r.run),
                events=list(r.events),
                checkpoints=dict(r.checkpoints),
                marks=dict(r.marks),
            )
            for run, r in t.runs.items()
        }
        tables = replace(
            t,
            runs=rows,
            keys=dict(t.keys),
            aliases=dict(t.aliases),
            early=dict(t.early),
            batches={k: replace(b, runs=list(b.runs)) for k, b in t.batches.items()},
            agents={
                k: replace(a, state=replace(a.state), missing=set(a.missing), gone=set(a.gone))
                for k, a in t.agents.items()
            },
            outbox=[replace(p, left=set(p.left)) for p in t.outbox],
            versions=dict(t.versions),
            current=dict(t.current),
        )
        self.spare = tables, dict(self.floors), self.oracle.copy()

    def fail_over(self) -> None:
        """The standby takes over: commits since its copy are lost, no epoch is given out twice."""
        if self.spare is None:
            return
        tables, floors, judged = self.spare
        self.spare = None
        lost = sum(t.n for t in self.oracle.tracks.values())
        for name in tables.__struct_fields__:
            setattr(self.tables, name, getattr(tables, name))
        self.oracle.back(judged)
        lost -= sum(t.n for t in self.oracle.tracks.values())
        self.oracle.reached["failover lost commits"] += lost > 0
        self.failed_over = True
        self.floor += STEP
        self.floors.clear()
        self.floors.update(floors)
        for run_id, row in self.tables.runs.items():
            run = row.run
            if run.state in LIVE_ATTEMPT:  # given out before the copy, to nobody else: it goes on
                self.floors[run_id] = max(run.epoch, self.floors.get(run_id, 0)) + STEP
                self.oracle.reached["an attempt outlived a failover"] += 1
            elif run.ended_at is None:
                row.run = raised = copy(run)
                raised.epoch += STEP
        for engine in self.engines:
            engine.posts = []
        self.clock.advance(4.0)
        self.up_since = self.clock.now()
        self.say("failover", lost, "events lost")
        self.oracle.look()
