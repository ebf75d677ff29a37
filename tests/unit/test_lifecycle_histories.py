"""Hypothesis chooses the history: rules over the world of the simulator, its judge at each step.

Faults of every kind may come at any moment; in the end everything heals and must come to its end.
The same world as the seeded search (`chaos.sim`), but here each choice can be shrunk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from chaos.sim.history import History
from chaos.sim.plan import FATES, draw
from chaos.sim.world import World

if TYPE_CHECKING:
    from random import Random

FAULTS = [
    "death", "crash", "host", "drain", "cancel", "store", "failover", "engine fault", "work",
    "broken", "doom",
]  # fmt: skip


class _Histories(RuleBasedStateMachine):
    """One run, or two with the same key."""

    def __init__(self) -> None:
        super().__init__()
        self.history: History | None = None

    @initialize(rng=st.randoms(use_true_random=False), fates=st.sampled_from(FATES))
    def begin(self, rng: Random, fates: tuple[int, ...]) -> None:
        plan = draw(rng)._replace(fates=fates, faults=())
        self.history = History(World(rng, plan))
        for name in ("caller", "engine", "engine", "agent", "agent"):
            self.act(name)

    def act(self, name: str) -> None:
        assert self.history is not None
        self.history.actions[name]()

    @rule(service=st.integers(0, 7), which=st.integers(0, 1))
    def an_engine_looks(self, service: int, which: int) -> None:
        assert self.history is not None
        self.history.w.engines[which].act(service)

    @rule()
    def an_agent_acts(self) -> None:
        self.act("agent")

    @rule()
    def code_goes_on(self) -> None:
        self.act("container")

    @rule(seconds=st.sampled_from([0.4, 1.2, 3.6, 7.2, 35.0, 95.0]))
    def time_passes(self, seconds: float) -> None:
        assert self.history is not None
        self.history.w.pass_time(seconds)

    @rule()
    def something_late_arrives(self) -> None:
        self.act("wire")

    @rule(who=st.sampled_from(["caller", "operator", "tag"]))
    def a_person_acts(self, who: str) -> None:
        self.act(who)

    @rule(fault=st.sampled_from(FAULTS))
    def a_fault(self, fault: str) -> None:
        self.act(fault)

    @rule(fault=st.sampled_from(["away", "zombie"]))
    def an_attempt_is_out_of_sight(self, fault: str) -> None:
        self.act(fault)

    def teardown(self) -> None:
        if self.history is not None:
            self.history.heal()


FEW = os.environ.get("CHAOS_EXAMPLES")
"""The mutation guard wants to know whether it fails, not the smallest history."""

TestHistories = _Histories.TestCase
TestHistories.settings = settings(
    max_examples=int(FEW or 200),
    phases=[Phase.generate] if FEW else list(Phase),
    derandomize=bool(FEW),
    report_multiple_bugs=not FEW,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
