"""One container each: the task's code with its own, maybe stale, view of its run.

Its requests go through its agent. What happens inside a once block needs nobody: the outside world
is not fenced, so an orphan or a zombie goes on with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from chaos.sim.plan import HEARD, LATE, LOST, TWICE, UNHEARD, Op
from headway.context import Context
from headway.effects import _fresh  # pyright: ignore[reportPrivateUsage]  # the rule under test
from headway.wire import ErrorInfo
from headway.wire.saves import SaveCheckpoint, SaveMark
from headway_engine import happenings as h

if TYPE_CHECKING:
    from chaos.sim.agents import Agent
    from chaos.sim.world import World
    from headway.wire.saves import Save
    from headway_engine.store.records import Claimed

Call = SaveCheckpoint | SaveMark | h.Happening


class _Info:
    """What of a Context the SDK's rules read."""

    def __init__(self, run: str, root: str, epoch: int) -> None:
        self.run, self.root, self.epoch = run, root, epoch
        self.attempt = epoch
        self.info = self


class Container:
    """See the module."""

    def __init__(self, world: World, agent: Agent, given: Claimed) -> None:
        run = given.run
        self.w, self.agent = world, agent
        self.run, self.epoch, self.failures = run.id, run.epoch, run.failures
        self.ck = given.checkpoint
        self.marks = {m.key: m for m in given.marks}
        self.unconfirmed = bool(run.unconfirmed)
        """What the agent told it: an older attempt may be alive."""
        self.program, self.fails, self.cause = world.tasks[run.id]
        self.policy = world.policies
        self.pc = 0
        for i, op in enumerate(self.program):  # the saved state says where to go on
            if self.ck and op[0] == "ck" and self._ordinal(i) <= self.ck:
                self.pc = i + 1
        self.call: Call | None = None
        self.entered: Op | None = None
        """The once block whose function runs."""
        self.alive = True
        self.begun = not world.doomed and world.rng.random() < 0.4
        """A save says it as well."""
        self.info = _Info(run.id, run.root, run.epoch)

    def __repr__(self) -> str:
        return f"{self.run}/{self.epoch} on {self.agent.name} at {self.pc}"

    def _ordinal(self, pc: int) -> int:
        return sum(op[0] == "ck" for op in self.program[: pc + 1])

    def inside(self, key: str) -> bool:
        """Its code is in this once block and has not run the effect yet."""
        return self.entered is not None and self.entered[1] == key

    def act(self) -> None:
        """One step of its code."""
        if not self.alive:
            return
        if self.entered is not None:
            self._effect(self.entered)
            return
        if not self.agent.speaks:
            return  # its saves wait
        if self.w.doomed and self.begun:
            self.alive = False
            self.agent.saw_end(self, 0.6)
            return
        if self.call is None:
            self.call = self._next()
        self.send(self.call)

    def send(self, call: Call) -> None:
        """By way of the agent, with the fate of the day."""
        fate = self.w.fate()
        if fate == LOST:
            self.w.say("lost on its way", self, type(call).__name__)
            return
        if fate in (LATE, TWICE):
            self.w.wire.append((self, call))
        if fate in (HEARD, UNHEARD, TWICE):
            outcome = self.w.deliver(self, call)
            if fate != UNHEARD and outcome:
                self.heard(call, outcome)

    def heard(self, call: Call, outcome: str) -> None:
        """An answer has come."""
        if call is not self.call or not self.alive:
            return
        self.call = None
        if outcome.startswith("gap"):
            # The store was set back: it has not all of the checkpoints that this attempt saved.
            self.ck = int(outcome.removeprefix("gap "))
            self.w.oracle.reached["checkpoints set back"] += 1
        elif outcome == "stale_epoch":
            self.alive = False  # it ends itself
            self.agent.killed(self, "stale")
        elif isinstance(call, SaveCheckpoint):
            self.ck, self.pc = call.number, self.pc + 1
        elif isinstance(call, SaveMark):
            self._marked(call, outcome)
        elif isinstance(call, h.Started):
            self.begun = True
        else:
            self.alive = False
            self.agent.drop(self)

    def _marked(self, call: SaveMark, outcome: str) -> None:
        if call.kind == "once" and call.status == "started":
            if outcome == "ok":
                self.entered = self.program[self.pc]
            else:
                self.call = h.Stopped(self.epoch, "cancel")  # no way in
        elif call.status == "failed":
            self.call = h.Failed(self.epoch, "error", ErrorInfo("ValueError", "no"))
        else:
            if call.kind == "once" and self.policy[call.key] == "raise":
                self.w.oracle.done_heard(self.run, call.key)
            self.pc += 1

    # --- its code

    def _effect(self, op: Op) -> None:
        key, self.entered = op[1], None
        if self.w.rng.random() < 0.06:
            kind = self.w.rng.choice(("NotExecuted", "ValueError"))
            self.call = self._mark("once", key, "failed", error=ErrorInfo(kind, "no"))
            return
        self.w.say("effect", self, key)
        self.w.ledger[self.run, key] = True
        self.w.oracle.effect(self, key, self.policy[key], self.token(key))
        self.call = self._mark("once", key, "done", f"{self.epoch}")

    def token(self, key: str) -> str:
        """What the block hands to the outside world."""
        return Context.token(self.info, key)  # type: ignore[arg-type]  # all of it that is read

    def _mark(
        self, kind: str, key: str, status: str, value: str = "null", **fields: Any
    ) -> SaveMark:
        return SaveMark(
            self.run, self.epoch, key, kind, "fn", status, "", Raw(value.encode()), **fields
        )

    def _next(self) -> Call:
        fails = self.failures < self.fails and not (
            self.cause == "state" and self.run in self.w.fixed
        )
        if fails and self.cause == "image":
            return self._failed()
        if not self.begun:
            return h.Started(self.epoch)
        while self.pc < len(self.program):
            call = self._verb(self.program[self.pc])
            if call is not None:
                return call
            self.pc += 1
        return self._failed() if fails else h.Finished(self.epoch, Raw(b"1"))

    def _failed(self) -> h.Failed:
        error, retry = ErrorInfo("ValueError", "no"), self.cause != "stop"
        return h.Failed(self.epoch, self.cause, error, retry=retry, random=self.w.rng.random())

    def _verb(self, op: Op) -> Save | h.Happening | None:
        """The request of a verb; None = its recorded answer is there."""
        verb, key, _ = op
        if verb == "ck":
            number = self.ck + 1
            state = f"{self.run[-1]}{number}{self.epoch}"
            return SaveCheckpoint(
                self.run, self.epoch, number, "turn", f"sha-{state}", 1, Raw(state.encode())
            )
        found = self.marks.get(key)
        if verb == "step":
            if found is not None and found.status == "done":
                return None
            return self._mark("step", key, "done", f"{self.epoch}")
        if verb == "nap":
            if found is not None and found.due_at is not None:
                if found.due_at <= self.w.clock.now():
                    return None
                left = (found.due_at - self.w.clock.now()).total_seconds()
                return h.Suspended(self.epoch, key, "sleep", seconds=left, after=self.ck)
            return h.Suspended(self.epoch, key, "sleep", seconds=5.0, after=self.ck)
        return self._once(key)

    def _once(self, key: str) -> Save | h.Happening | None:
        found = self.marks.get(key)
        if found is not None:
            if found.status == "done" or found.resolved == "done":
                return None
            if not _fresh(self.info, found):  # type: ignore[arg-type]  # all of it that is read
                self.w.oracle.reached["ambiguous once"] += 1
                policy = self.policy[key]
                if policy == "raise":
                    error = ErrorInfo("OnceAmbiguous", key)
                    return h.Failed(self.epoch, "ambiguous", error, key=key, token=self.token(key))
                if self.unconfirmed:
                    error = ErrorInfo("OnceAmbiguous", key)
                    return h.Failed(
                        self.epoch, "ambiguous", error, key=key, token=self.token(key), waits=True
                    )
                self.w.oracle.decides(self, key)
                if policy == "skip" or (policy == "check" and (self.run, key) in self.w.ledger):
                    return self._mark("once", key, "done")
        return self._mark("once", key, "started")
