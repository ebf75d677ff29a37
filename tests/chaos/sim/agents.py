"""Two agents: they pull work, claim it, hold containers, beat, and are told to stop.

`away`: stopped, or cut off; it goes on later with its old view. A crash forgets everything but the
containers, which live on as orphans until a new agent of the name adopts or removes them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from chaos.sim.containers import Container
from chaos.sim.plan import HEARD, LATE, LOST, TWICE, UNHEARD
from headway.wire import ErrorInfo
from headway.wire.rpc import Beat, Register
from headway_engine import happenings as h

if TYPE_CHECKING:
    from datetime import datetime

    from chaos.sim.world import Work, World
    from headway_engine.store import ClaimAnswer

NS = "default"
PATIENCE = 4
"""Tries of a claim until its work is given back."""


class Asking:
    """A claim under way."""

    __slots__ = ("nonce", "tries", "work")

    def __init__(self, nonce: str, work: Work) -> None:
        self.nonce, self.work, self.tries = nonce, work, 0


class Agent:
    """See the module."""

    def __init__(self, world: World, name: str) -> None:
        self.w, self.name = world, name
        self.up, self.away, self.fresh = True, False, True
        """`fresh`: it has to register."""
        self.session = 0
        self.held: list[Container] = []
        self.out: list[tuple[str, h.Happening]] = []
        """Reports of its own that nobody answered yet."""
        self.asking: Asking | None = None
        self.dying: list[Container] = []
        """Killed as stale, and not dead yet."""
        self.beaten: datetime = world.clock.now()
        """When the store last heard its beat."""
        self.draining = False

    def __repr__(self) -> str:
        return self.name

    @property
    def speaks(self) -> bool:
        """It can be heard."""
        return self.up and not self.away

    # --- what its containers tell it

    def drop(self, c: Container) -> None:
        """Its end was reported and answered."""
        if c in self.held:
            self.held.remove(c)

    def killed(self, c: Container, why: str) -> None:
        """It is dead now, or a stubborn one some time later; that is told until it is heard."""
        self.drop(c)
        if why == "stale" and c.alive and "stubborn" in self.w.faults:
            self.dying.append(c)
            return
        c.alive = False
        self.out.append((c.run, h.Stopped(c.epoch, why)))

    def bury(self) -> None:
        """The oldest of those that were killed is dead at last."""
        c = self.dying.pop(0)
        c.alive = False
        self.out.append((c.run, h.Stopped(c.epoch, "stale")))

    def saw_end(self, c: Container, random: float) -> None:
        """A container of its own died."""
        self.drop(c)
        what: h.Happening
        if not c.begun and random < 0.5:
            what = h.GivenBack(c.epoch, "no container", "run" if random < 0.3 else "agent")
        elif random < 0.75:
            what = h.Lost(c.epoch, "killed", dead=True)
        else:
            what = h.Failed(c.epoch, "crash", ErrorInfo("Crash", "exit code 1"), random=0.3)
        self.out.append((c.run, what))

    # --- its own life

    def act(self) -> None:
        """One thing that is to do."""
        if not self.speaks:
            return
        rng = self.w.rng
        if self.dying and rng.random() < 0.15:
            self.bury()
        if self.fresh:
            self.register()
        elif self.out and rng.random() < 0.7:
            self.tell()
        elif self.asking is not None:
            self.ask()
        elif not self.w.work or rng.random() < 0.2:
            self.beat()
        else:
            self.pull()

    def register(self, holds: list[Container] | None = None) -> None:
        """Its session, old or new; what it may not keep it kills."""
        fate = self.w.fate()
        if fate == LOST or (engine := self.w.engine()) is None:
            return
        keep = self.held if holds is None else holds
        ask = Register(
            self.name, "host", "process", ("default",), 4, 4, 1, "0",
            [(c.run, c.epoch) for c in keep if c.alive], self.session,
        )  # fmt: skip
        session, kept, stop = self.w.go(engine.store.register(NS, ask, 3.0))
        self.beaten = self.w.clock.now()
        self.w.say("registered", self.name, session, kept, stop)
        if fate == UNHEARD:
            return
        self.session, self.fresh = session, False
        self.held = keep
        for c in [c for c in keep if (c.run, c.epoch) in stop]:
            self.killed(c, "stale")
        self.w.oracle.reached["adopted"] += bool(kept) and holds is not None

    def tell(self) -> None:
        """The oldest report of its own."""
        run, what = self.out[0]
        fate = self.w.fate()
        if fate == LOST:
            return
        if fate == LATE:
            self.w.wire.append((run, what))
            return
        if fate == TWICE:
            self.w.wire.append((run, what))
        if self.w.report(run, what) and fate != UNHEARD:
            self.out.pop(0)

    def beat(self) -> None:
        """Renew the lease with what it holds; obey the answer."""
        fate = self.w.fate()
        if fate == LOST or (engine := self.w.engine()) is None:
            return
        holds = [(c.run, c.epoch) for c in self.held]
        renewed = self.w.go(engine.store.beat(NS, Beat(self.name, self.session, "", holds), 3.0))
        if renewed.live:
            self.beaten = self.w.clock.now()
        if fate == UNHEARD:
            return
        if not renewed.live:
            self.w.say("session over", self.name)
            for c in list(self.held):
                self.killed(c, "stale")
            self.fresh, self.asking = True, None
            return
        for run, epoch, why in renewed.stop:
            for c in [c for c in self.held if (c.run, c.epoch) == (run, epoch)]:
                self.w.oracle.reached["stopped by the beat's answer"] += 1
                self.killed(c, "cancel" if why == "cancel" else "stale")

    def pull(self) -> None:
        """Take a message of WORK that nobody has at this moment."""
        if self.draining:
            return
        now = self.w.clock.now()
        for work in self.w.work:
            if work.until <= now and work.seq > self.w.acked:
                self.w.oracle.reached["redelivery"] += work.deliveries > 0
                work.deliveries += 1
                work.until = now + timedelta(seconds=2.0)
                self.w.nonces += 1
                self.asking = Asking(f"n{self.w.nonces}", work)
                self.ask()
                return

    def ask(self) -> None:
        """Send the claim, or send it again."""
        asking = self.asking
        assert asking is not None
        fate = self.w.fate()
        asking.tries += 1
        if asking.tries > PATIENCE:
            self.asking = None
            return
        if fate in (LATE, TWICE):
            self.w.wire.append((self, asking, self.session))
        if fate in (LOST, LATE):
            return
        answer = self.w.claim(self, asking, self.session)
        if answer is None or fate not in (HEARD, TWICE):
            return
        self.asking = None
        self.accept(asking, answer)

    def accept(self, asking: Asking, answer: ClaimAnswer) -> None:
        """The claim was decided: containers start, the message is acknowledged."""
        if answer.overdue:
            self.asking = asking
            return
        if answer.session_over:
            self.w.oracle.reached["claim of an ended session"] += 1
            for c in list(self.held):
                self.killed(c, "stale")
            self.fresh = True
            return
        for given in answer.claimed:
            c = Container(self.w, self, given)
            self.held.append(c)
            self.w.containers.append(c)
            self.w.say("started", c)
            if self.w.broken:
                c.alive, c.begun = False, False
                self.saw_end(c, 0.1 if self.w.rng.random() < 0.8 else 0.4)
        if self.w.fate() not in (LOST, LATE):
            self.w.ack(asking.work)

    def crash(self, *, host: bool) -> None:
        """Its process dies; `host`: its containers too, and nobody sees it."""
        self.up = False
        for c in (*self.held, *self.dying):
            if host:
                c.alive = False
            else:
                self.w.orphans.append(c)
        self.dying = []
        self.held, self.out, self.asking, self.fresh = [], [], None, True
        self.w.say("agent crashed", self.name, "with its host" if host else "")

    def restart(self, random: float) -> None:
        """A new process of the name: it adopts its orphans, or removes them first."""
        self.up, self.draining = True, False
        mine = [c for c in self.w.orphans if c.agent is self]
        self.w.orphans = [c for c in self.w.orphans if c.agent is not self]
        keep: list[Container] = []
        for c in mine:
            if random < 0.7:
                keep.append(c)
            else:
                c.alive = False  # removed
        if not mine:
            self.session = 0
        self.held = [c for c in keep if c.alive]
        for c in keep:
            if not c.alive:
                self.out.append((c.run, h.Lost(c.epoch, "gone while nobody looked", dead=True)))
        self.register(self.held)
