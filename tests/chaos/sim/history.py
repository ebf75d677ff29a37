"""A seed's two phases: faults with safety, then everything heals and must come to an end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from chaos.sim.oracle import Broken
from chaos.sim.plan import HEARD, LEASE, SHORT_OUTAGE, draw
from chaos.sim.rules import ENDS
from chaos.sim.world import World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

ROUNDS = 60
"""Rounds of 8 s until everything must have ended."""


class Failure(AssertionError):
    """A seed that broke an invariant, with its trace."""


def run_seed(seed: int) -> Counter[str]:
    """One history; what it reached. Raises Failure with the trace, made by a second run."""
    try:
        return play(seed)
    except Exception as first:
        trace: list[str] = []
        try:
            play(seed, trace)
        except Exception as second:
            if str(first) != str(second):
                trace.append(f"not reproducible: {first!r}")
        raise Failure(f"seed {seed}: {first!r}\n" + "\n".join(trace)) from first


def play(seed: int, trace: list[str] | None = None) -> Counter[str]:
    """One history without a second try."""
    rng = Random(seed)
    history = History(World(rng, draw(rng), trace))
    history.faults()
    history.heal()
    return history.w.oracle.reached


class History:
    """The actions of a world by name, and the two phases."""

    def __init__(self, world: World) -> None:
        self.w = world
        self.actions: dict[str, Callable[[], None]] = {
            "engine": self.engine_acts,
            "agent": self.agent_acts,
            "container": self.container_acts,
            "time": self.time_passes,
            "wire": world.arrive,
            "caller": world.people.enqueue,
            "operator": world.people.decide,
            "death": self.a_container_dies,
            "away": self.an_agent_is_away,
            "crash": self.an_agent_crashes,
            "host": self.a_host_is_lost,
            "drain": self.an_agent_drains,
            "cancel": world.people.cancel,
            "store": self.the_store_goes,
            "failover": self.the_store_fails_over,
            "engine fault": self.an_engine_crashes,
            "work": world.lose_work,
            "ingest": self.ingest_loses_its_tail,
            "broken": self.no_container_starts,
            "doom": self.containers_are_killed,
            "alone": world.arrive,
            "stubborn": self.a_timeout_is_missed,
            "zombie": self.an_agent_goes_inside_once,
            "resolve": self.a_decision_is_rushed,
            "tag": world.people.tag,
        }

    # --- the phases

    def faults(self) -> None:
        """Whatever the plan knows, with the judge at each step."""
        w = self.w
        usual = ("engine",) * 7 + ("agent",) * 7 + ("container",) * 8
        usual += ("time",) * 2 + ("wire",) * 2 + ("caller",) * 2 + ("operator",)
        names = usual + tuple("engine fault" if f == "engine" else f for f in w.faults)
        w.broken = w.faults == ("broken",) or "alone" in w.faults
        w.agents[1].up = "alone" not in w.faults
        w.doomed = "doom" in w.faults
        for name in ("caller", "engine", "engine", "agent", "agent", "agent"):
            self.actions[name]()
        for _ in range(w.plan.steps):
            self.actions[w.rng.choice(names)]()

    def heal(self) -> None:
        """Everything comes back; within ROUNDS every run has ended and nothing is left over."""
        w = self.w
        w.say("--- everything heals")
        w.fates, w.faults = (HEARD,), ()
        w.broken = w.doomed = False
        self.come_back()
        for _ in range(ROUNDS):
            self.settle()
            if self.is_over():
                break
            w.pass_time(8.0)
        self.the_end()

    def come_back(self) -> None:
        """Servers, engines, agents; what was late arrives."""
        w = self.w
        if w.down:
            self.the_store_goes()
        for engine in w.engines:
            engine.up = True
        while w.wire:
            w.arrive()
        for agent in w.agents:
            agent.away = agent.draining = False
            if not agent.up:
                agent.restart(0.0)
        for c in w.orphans:
            c.alive = False  # its agent did not come in time: it ended itself
        w.pass_time(LEASE)

    def settle(self) -> None:
        """One round of everybody's work, in order."""
        w = self.w
        people = w.people
        if people.items:
            people.enqueue()
        e = w.engines[0]
        while w.ingest and w.deliverable() is not None:
            for message in w.ingest:
                message.until = w.clock.now()
            e.intake()
        e.timers()
        e.overdue()
        for engine in w.engines:
            engine.relay()
        e.sweep()
        e.dispatch()
        for agent in w.agents:
            if agent.fresh:
                agent.register()
            while agent.dying:
                agent.bury()
            while agent.out:
                agent.tell()
            while agent.asking is not None:
                agent.ask()
            for c in [c for c in agent.held if not c.alive]:
                agent.saw_end(c, 0.7)
        for agent in w.agents:
            for _ in range(3):
                agent.pull()
            for c in list(agent.held):
                for _ in range(30):
                    if not c.alive:
                        break
                    c.act()
            while agent.out:
                agent.tell()
        # A host that never came back cannot confirm: a person says so.
        people.decide(override=w.rng.random() < 0.3)

    def is_over(self) -> bool:
        """Every run has ended and every caller has an answer."""
        w = self.w
        if w.people.items or w.ingest:
            return False
        return all(row.run.state in ENDS for row in w.tables.runs.values())

    def the_end(self) -> None:
        """Liveness, and what must be true of what is stored."""
        w, need = self.w, self.w.oracle.need
        stuck = [
            f"{r.run.id} {r.run.state} {r.run.reason} due {r.run.due_at}"
            for r in w.tables.runs.values()
            if r.run.state not in ENDS
        ]
        need(not stuck, "I2 stuck after healing", *stuck)
        need(not w.people.items, "I1 a caller without an answer", w.people.items)
        for run in w.people.accepted:
            known = run in w.tables.runs or run in w.people.outcomes
            need(known, "I1 accepted and gone", run)
        for run in w.people.early:
            row = w.tables.runs.get(run)
            if row is not None and not w.failed_over:
                need(row.run.state == "CANCELLED", "C4 cancelled early, yet it ran", run)
        for engine in w.engines:
            engine.relay()
        w.clock.advance(60.0)
        w.engines[0].sweep()
        need(not w.tables.outbox, "I18 outbox rows are left", w.tables.outbox)
        if not w.failed_over:
            for run, row in w.tables.runs.items():
                for n in range(1, row.run.n + 1):
                    need((run, n) in w.published, "E1 RUNS never had an event", run, n)

    # --- who does something

    def engine_acts(self) -> None:
        """One service of one engine."""
        rng = self.w.rng
        rng.choice(self.w.engines).act(rng.randrange(8))

    def agent_acts(self) -> None:
        """One or two things that are to do."""
        agent = self.w.rng.choice(self.w.agents)
        agent.act()
        agent.act()

    def container_acts(self) -> None:
        """A few steps of one, mostly of the newest."""
        w = self.w
        alive = [c for c in w.containers if c.alive]
        if alive:
            c = alive[-1] if w.rng.random() < 0.6 else w.rng.choice(alive)
            for _ in range(w.rng.randrange(1, 5)):
                c.act()

    def time_passes(self) -> None:
        """A moment, a lease, a backoff, a start deadline, a timeout."""
        w = self.w
        w.pass_time(w.rng.choice((0.4, 1.2, 1.2, 3.0, 6.0, 6.0, 35.0, 95.0)))

    # --- faults

    def a_container_dies(self) -> None:
        """Killed; its agent sees it when it looks."""
        w = self.w
        alive = [c for c in w.containers if c.alive]
        if alive:
            c = w.rng.choice(alive)
            c.alive = False
            w.say("killed", c)
            if c.agent.speaks and c in c.agent.held and w.rng.random() < 0.9:
                c.agent.saw_end(c, w.rng.random())

    def an_agent_is_away(self) -> None:
        """Stopped or cut off, or back with its old view."""
        w = self.w
        inside = [c.agent for c in w.containers if c.alive and c.entered and not c.agent.away]
        agent = inside[0] if inside else w.rng.choice(w.agents)
        if agent.up:
            agent.away = not agent.away
            w.say("away" if agent.away else "back", agent.name)
            if agent.away:
                w.pass_time(w.rng.choice((0.4, 3.6, 7.2, 7.2)))

    def an_agent_goes_inside_once(self) -> None:
        """Its container is in a once block; another attempt finds that, and a person is asked."""
        w = self.w
        c = next((c for c in reversed(w.containers) if c.alive and c.agent.speaks), None)
        if c is None:
            return
        for _ in range(8):
            if c.entered is None:
                c.act()
        if c.entered is None or not c.alive:
            return
        c.agent.away = True
        w.say("away inside once", c)
        w.pass_time(7.2)
        other = next(a for a in w.agents if a is not c.agent)
        for engine in w.engines:
            engine.act(0)
        for _ in range(4):
            other.act()
        for found in list(other.held):
            for _ in range(8):
                found.act()
        w.people.decide()
        c.agent.away = w.rng.random() < 0.5

    def a_timeout_is_missed(self) -> None:
        """An agent's own timer fails: the engine ends the attempt by the clock."""
        w = self.w
        if any(c.alive and c.entered for c in w.containers):
            w.clock.advance(95.0)
            for engine in w.engines:
                if engine.up and not w.down:
                    engine.overdue()

    def an_agent_crashes(self) -> None:
        """Its process dies, or comes back."""
        w = self.w
        agent = w.rng.choice(w.agents)
        if not agent.up:
            agent.restart(w.rng.random())
        else:
            agent.away = False
            agent.crash(host=False)
            if w.rng.random() < 0.5:
                agent.restart(w.rng.random())

    def a_host_is_lost(self) -> None:
        """With all its containers; nobody sees them end."""
        w = self.w
        agent = w.rng.choice(w.agents)
        if not agent.up:
            agent.restart(0.0)
        else:
            agent.away = False
            agent.crash(host=True)
            w.pass_time(w.rng.choice((0.4, 7.2)))

    def an_agent_drains(self) -> None:
        """It gives back what runs, and takes nothing new for a while."""
        w = self.w
        agent = w.rng.choice(w.agents)
        agent.draining = not agent.draining
        if agent.draining and agent.speaks:
            for c in list(agent.held):
                if c.alive:
                    agent.killed(c, "drain")

    def the_store_goes(self) -> None:
        """Away, or back; whatever waited goes on."""
        w = self.w
        w.down = not w.down
        w.say("the store is", "away" if w.down else "back")
        if w.down:
            w.oracle.reached["store down"] += 1
            w.down_at = w.clock.now()
            w.clock.advance(w.rng.choice((0.5, 5.0, 20.0)))
        elif (w.clock.now() - w.down_at).total_seconds() > SHORT_OUTAGE:
            w.up_since = w.clock.now()

    def the_store_fails_over(self) -> None:
        """A copy is taken, or takes over."""
        w = self.w
        if w.spare is None:
            w.copy_store()
        else:
            w.fail_over()

    def an_engine_crashes(self) -> None:
        """Or comes back."""
        w = self.w
        engine = w.rng.choice(w.engines)
        if engine.up:
            engine.crash()
            w.say("engine crashed", engine.name)
        else:
            engine.up = True

    def ingest_loses_its_tail(self) -> None:
        """Accepted, not recorded, not synced: only a server that is lazy about it does that."""
        w = self.w
        if w.ingest:
            for new in w.ingest.pop().items:
                w.people.accepted.pop(new.run.id, None)
            w.oracle.reached["INGEST lost its tail"] += 1

    def no_container_starts(self) -> None:
        """Attempts die before their code begins, until this comes again."""
        self.w.broken = not self.w.broken or "alone" in self.w.faults

    def containers_are_killed(self) -> None:
        """Attempts are killed from outside as soon as they run, until this comes again."""
        self.w.doomed = not self.w.doomed or self.w.rng.random() < 0.8

    def a_decision_is_rushed(self) -> None:
        """Somebody decides as soon as there is something to decide."""
        self.w.people.decide()


__all__ = ["Broken", "Failure", "History", "play", "run_seed"]
