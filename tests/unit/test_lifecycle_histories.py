"""Random histories of one run with stale actors, losses and repeats: the invariants hold always.

Each container is an actor with its own, maybe stale, view. An actor's request may be `lost`: the
store commits, the actor does not learn it and sends it again. The effect inside `once` is not
fenced, as the outside world is not. Invariants are those of the store's contract: one terminal
event, legal gapless path, growing epochs, resume from the last acknowledged checkpoint, no effect
after an acknowledged done mark, no claim after a cancel, a lost attempt is told that it is stale,
no decision on a once mark while somebody may still run its effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headway.states import OPEN, TERMINAL, RunState, may_move
from headway.wire import ErrorInfo
from headway_engine import happenings as h
from headway_engine.clock import ManualClock
from headway_engine.store.memory import MemoryStore
from support.factories import EPOCH, NS, a_checkpoint, a_deployment, a_once, an_agent, an_enqueue

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headway_engine.store.records import Run

T = TypeVar("T")
ERROR = ErrorInfo("ValueError", "no")


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The memory store never waits: its coroutines end at the first step."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


@dataclass(eq=False)
class Actor:
    """One container's view."""

    run: Run
    ck: int
    mark: str
    """Of the once mark, as it knows it: `` | started | ran | done | ambiguous."""
    dead: bool = False
    last: str = ""
    """The end that it has sent: from there on it only sends that again, until it is heard."""


class _History(RuleBasedStateMachine):
    """One run."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(EPOCH)
        self.store = MemoryStore("e1", self.clock)
        self.actors: list[Actor] = []
        self.acked = 0
        self.effects = self.reruns = 0
        self.done_acked = False
        self.claims = 0
        self.lost: set[int] = set()
        """Epochs whose loss was committed."""

    @initialize(
        delay=st.booleans(), ttl=st.booleans(), deadline=st.booleans(), attempts=st.integers(1, 4)
    )
    def enqueue(self, delay: bool, ttl: bool, deadline: bool, attempts: int) -> None:
        at_once(self.store.open())
        at_once(self.store.deploy(NS, a_deployment(max_attempts=attempts, timeout=300.0)))
        fields: dict[str, Any] = {}
        for on, name, seconds in (
            (delay, "due_at", 5.0),
            (ttl, "ttl_at", 90.0),
            (deadline, "deadline_at", 2000.0),
        ):
            if on:
                fields[name] = EPOCH + (self.clock.now() - EPOCH) + _seconds(seconds)
        item = an_enqueue(**fields)
        self.id = item.run.id
        for _ in range(2):  # a repeat
            at_once(self.store.enqueue(NS, [item], {}))

    # --- the world

    def record(self) -> Run:
        run = at_once(self.store.get(NS, self.id))
        assert run is not None
        return run

    def commit(self, happening: h.Happening) -> str:
        (outcome,) = at_once(self.store.commit([(self.id, happening)]))
        return outcome.outcome

    @rule(repeat=st.booleans(), chance=st.integers(0, 7))
    def claim(self, repeat: bool, chance: int) -> None:
        before = self.record()
        if chance:
            at_once(self.store.dispatch(NS, "default", 5, 5))
        self.claims += 1
        agent = f"a{self.claims % 2}"
        session, _, _ = at_once(self.store.register(NS, an_agent(f"{agent}-{self.claims}"), 1e9))
        for turn in range(1 + repeat):
            answer = at_once(
                self.store.claim(
                    NS, f"{agent}-{self.claims}", session, f"n{self.claims}", [self.id], None
                )
            )
            for got in answer.claimed:
                assert got.run.epoch == before.epoch + 1
                assert got.checkpoint == self.acked, "resumes from the last acknowledged one"
                if turn == 0:
                    mark = next((m for m in got.marks if m.key == "mail"), None)
                    status = "" if mark is None else mark.status
                    if status == "started":
                        assert mark is not None
                        status = "" if mark.resolved == "rerun" else "ambiguous"
                    self.actors.append(Actor(got.run, got.checkpoint, status))

    @rule(seconds=st.sampled_from([1.0, 6.0, 31.0, 340.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        at_once(self.store.tick())
        due, _, _ = at_once(self.store.due(5))
        at_once(self.store.commit([(run, h.Due()) for run in due]))
        late = at_once(self.store.overdue(5))
        before = self.record()
        at_once(self.store.commit([(run, h.Overdue()) for run in late]))
        after = self.record()
        if before.state in OPEN and after.state not in OPEN:
            assert after.epoch > before.epoch, "the engine ended it: its container knows nothing"

    @rule(how=st.sampled_from(["lease", "lease", "dead", "given_back"]))
    def attempt_goes_away(self, how: str) -> None:
        run = self.record()
        actor = next((a for a in self.actors if a.run.epoch == run.epoch), None)
        if run.state not in OPEN or actor is None:
            return
        if how == "given_back":
            actor.dead = actor.dead or run.state is RunState.STARTING
            self.commit(h.GivenBack(run.epoch, "no container", "run"))
        else:
            self.lose(actor, how)

    def lose(self, actor: Actor, how: str) -> None:
        """Nobody hears of the attempt any more; `dead`: somebody saw its container end."""
        epoch = actor.run.epoch
        actor.dead = actor.dead or how == "dead"
        assert self.commit(h.Lost(epoch, how, dead=actor.dead)) == "ok"
        assert self.record().epoch > epoch, "what is lost is fenced at once, not at the next claim"
        self.lost.add(epoch)

    @precondition(lambda self: self.fresh())
    @rule(how=st.sampled_from(["lease", "lease", "dead"]), steps=st.integers(0, 2))
    def lost_inside_once_and_found_by_the_next(self, how: str, steps: int) -> None:
        # Random steps come here too seldom: what follows is where people decide.
        if (actor := self.next_attempt()) is None:
            return
        for _ in range(steps):
            self.checkpoint(actor, unheard=False)
        self.once(actor, unheard=False)
        self.lose(actor, how)
        if (found := self.next_attempt()) is not None:
            assert found.mark == "ambiguous"
            self.once(found, unheard=False)
            assert self.record().state is RunState.REVIEW

    @precondition(lambda self: self.fresh())
    @rule()
    def its_agent_forgets_the_timeout(self) -> None:
        if (actor := self.next_attempt()) is not None:
            self.checkpoint(actor, unheard=False)
            self.time_passes(340.0)
            assert self.record().state not in OPEN

    def fresh(self) -> bool:
        """Nobody was in the once block yet."""
        if not hasattr(self, "id") or self.done_acked or any(a.mark for a in self.actors):
            return False
        run = self.record()
        return run.state is RunState.QUEUED and not run.marks

    def next_attempt(self) -> Actor | None:
        """Claim the run now; None if it is not to be had."""
        count = len(self.actors)
        self.claim(repeat=False, chance=1)
        return self.actors[-1] if len(self.actors) > count else None

    @rule(data=st.data())
    def zombie_exits(self, data: st.DataObject) -> None:
        epochs = self.record().unconfirmed
        if epochs:
            epoch = data.draw(st.sampled_from(epochs))
            for actor in self.actors:
                actor.dead = actor.dead or actor.run.epoch == epoch
            self.commit(h.Stopped(epoch, "stale"))

    @rule(chance=st.integers(0, 7))
    def cancel(self, chance: int) -> None:
        if chance == 0:
            self.commit(h.Cancel("user:me", "enough"))

    @rule(decision=st.sampled_from(["done", "rerun"]))
    def resume(self, decision: str) -> None:
        run = self.record()
        once = tuple((mark.key, decision) for mark in run.marks)
        if self.commit(h.Resume("user:me", once)) == "ok" and once:
            inside = [a for a in self.actors if a.mark == "started" and not a.dead and not a.last]
            assert not inside, "decided while an older attempt may still run the effect"
            self.reruns += decision == "rerun"
            self.done_acked = self.done_acked or decision == "done"

    # --- an actor does something

    @precondition(lambda self: any(not a.dead for a in self.actors))
    @rule(
        data=st.data(),
        steps=st.lists(
            st.sampled_from(["checkpoint", "once", "once", "once", "finish", "fail", "suspend"]),
            min_size=1,
            max_size=4,
        ),
        lost=st.booleans(),
    )
    def actor_acts(self, data: st.DataObject, steps: list[str], lost: bool) -> None:
        actor = data.draw(st.sampled_from([a for a in self.actors if not a.dead]))
        for i, step in enumerate(steps):
            if actor.dead:
                return
            step = actor.last or step
            unheard = lost and i == len(steps) - 1
            if step == "checkpoint":
                self.checkpoint(actor, unheard)
            elif step == "once":
                self.once(actor, unheard)
            else:
                self.report(actor, step, unheard)

    def saved(self, actor: Actor, save: Any) -> bool:
        (done,) = at_once(self.store.save([save]))
        if done.outcome == "stale_epoch":
            assert not self.may_write(actor)
            actor.dead = True  # the runner ends itself
        return done.outcome == "ok"

    def may_write(self, actor: Actor) -> bool:
        run = self.record()
        return run.epoch == actor.run.epoch and run.state in OPEN

    def checkpoint(self, actor: Actor, unheard: bool) -> None:
        allowed = self.may_write(actor)
        ok = self.saved(actor, a_checkpoint(actor.run, actor.ck + 1))
        assert ok or not allowed
        assert allowed or not ok or self.acked == actor.ck + 1, "a repeat of an acknowledged one"
        if ok:
            self.acked = actor.ck + 1
            if not unheard:
                actor.ck += 1

    def once(self, actor: Actor, unheard: bool) -> None:
        if actor.mark == "ran":
            return
        if actor.mark == "ambiguous":
            self.commit(h.Failed(actor.run.epoch, "ambiguous", ERROR, key="mail"))
            actor.dead = True
            return
        if actor.mark == "done":
            return
        if actor.mark == "":
            if self.saved(actor, a_once(actor.run, "mail", "started")) and not unheard:
                actor.mark = "started"  # from here the effect may happen, whatever the store says
            return
        assert not self.done_acked, "an effect after its acknowledged done mark"
        self.effects += 1
        actor.mark = "ran"
        if self.saved(actor, a_once(actor.run, "mail", "done")):
            self.done_acked = True
            actor.mark = "done"

    def report(self, actor: Actor, step: str, unheard: bool) -> None:
        epoch = actor.run.epoch
        ends: dict[str, h.Happening] = {
            "finish": h.Finished(epoch),
            "fail": h.Failed(epoch, "error", ERROR),
            "suspend": h.Suspended(epoch, "nap", "sleep", seconds=5.0),
        }
        outcome = self.commit(ends[step])
        assert outcome in ("ok", "already", "stale_epoch")
        # `already` says that its own end was committed: it would go away in peace.
        assert epoch not in self.lost or outcome == "stale_epoch"
        actor.last = step
        actor.dead = actor.dead or not unheard

    # --- what must always hold

    @invariant()
    def path_is_legal_and_gapless(self) -> None:
        if not hasattr(self, "id"):
            return
        events = at_once(self.store.events(NS, self.id, 0, 10_000))
        assert [e.n for e in events] == list(range(1, len(events) + 1))
        state: RunState | None = None
        epoch = -1
        cancelled = False
        for event in events:
            if event.kind in ("cancelling", "cancelled"):
                cancelled = True
            if event.kind == "starting":
                assert not cancelled, "a claim after a cancel"
                assert event.epoch > epoch, "epochs grow over claims"
                epoch = event.epoch
            if event.target:
                assert event.source == (state.value if state else "")
                assert may_move(state, RunState(event.target))
                assert state not in TERMINAL
                state = RunState(event.target)
        run = self.record()
        assert run.state is state
        assert run.n == len(events)
        assert sum(1 for e in events if e.target in TERMINAL) == (state in TERMINAL)

    @invariant()
    def effects_are_at_most_once_unless_somebody_said_rerun(self) -> None:
        assert self.effects <= 1 + self.reruns

    @invariant()
    def retries_are_counted_within_the_policy(self) -> None:
        if hasattr(self, "id"):
            run = self.record()
            assert run.failures <= run.policy.max_attempts
            if run.state is RunState.RETRYING:
                assert run.due_at is not None
                assert run.failures < run.policy.max_attempts


def _seconds(seconds: float) -> Any:
    return ManualClock(EPOCH).advance(seconds) - EPOCH


TestHistory = _History.TestCase
TestHistory.settings = settings(
    max_examples=250,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
