"""One storm: random faults while runs go through, then calm, then the audit.

Phase 1 asks only that nothing wrong happens; phase 2 heals everything and demands that all of it
ends within a deadline. A storm that never saw the rare things has failed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from chaos.kit.effects import EffectServer
from chaos.kit.stack import NS, Stack, lay_tasks
from chaos.storm import audit
from chaos.storm.load import Load, Operator
from headway import journal, subjects
from headway.wire import Malformed, decode
from headway.wire.events import AGENT_BEAT, ENGINE_BEAT
from headway_engine.config import load_config
from headway_engine.counters import COUNTED
from headway_ops.chaos.killer import Killer
from headway_ops.chaos.plan import KINDS, draw
from headway_ops.verify import INVARIANTS, Ask, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headway.client import Client

JOURNAL = "acks.jsonl"
NAMED = {"I1", "I3", "I4", "I5", "I14", "I6", "I7", "I8", "I9", "I9b", "I10"}
"""Invariants that have a line of their own in the table."""
RARE = 1000
"""One run in so many may end as poison by chance, under kills every two seconds."""
LIVENESS = 60.0
"""Seconds after healing within which everything must have ended."""
SEEN = {
    "stale_epoch": "stale write refused",
    "lost_lease": "lease lost",
    "redelivery": "redelivery (INGEST, WORK)",
    "duplicate_delivery": "enqueue seen again",
    "duplicate_enqueue": "duplicate enqueue",
    "late_save": "save repeated",
    "ambiguous_once": "ambiguous once",
    "replayed_outbox": "outbox replay",
    "review": "REVIEW",
}
"""Counters that must not be zero, or the storm has proved nothing about them."""
NOT_AT_THE_EDGE = {"replayed_outbox"}
"""There the commit is what observers read."""


class Setting(msgspec.Struct, frozen=True):
    """What kind of storm."""

    seed: int
    runs: int = 500
    seconds: float = 45.0
    """Of faults."""
    every: float = 2.0
    runtime: str = "process"
    engines: int = 2
    agents: int = 2
    lease: float = 2.0
    kinds: tuple[str, ...] = KINDS
    edge: bool = False
    """On NATS alone."""

    @property
    def to_see(self) -> dict[str, str]:
        """Of `SEEN` what there is."""
        left_out = NOT_AT_THE_EDGE if self.edge else set[str]()
        return {name: what for name, what in SEEN.items() if name not in left_out}


class Verdict(msgspec.Struct):
    """What came of it: each line of `wrong` is a fault, each of `notes` something to know."""

    setting: Setting
    took: float
    ended_after: float
    """Seconds from healing until the last run had ended, by the store."""
    heard_after: float
    """... until its caller had heard it."""
    runs: int
    wrong: dict[str, list[str]]
    counters: dict[str, int]
    hits: dict[str, int]
    said: dict[str, int]
    notes: list[str]

    @property
    def unseen(self) -> list[str]:
        """Counters that are zero and should not be."""
        return [what for name, what in self.setting.to_see.items() if not self.counters.get(name)]

    @property
    def ok(self) -> bool:
        """Nothing wrong, and everything seen."""
        return not any(self.wrong.values()) and not self.unseen


class Eyes:
    """Hears the beats of engines and agents: the last counters of each process that ever lived.

    What is killed takes up to a second of counts with it, so the sums are lower bounds.
    """

    def __init__(self) -> None:
        self._engines: dict[str, dict[str, float]] = {}
        self._agents: dict[str, list[dict[str, float]]] = {}

    async def open(self, client: Client) -> None:
        """Listen on this client's connection."""

        async def on_beat(msg: Any) -> None:
            with contextlib.suppress(Malformed):
                beat = decode(ENGINE_BEAT, msg.data)
                self._engines[beat.engine] = beat.counters

        async def on_agent(msg: Any) -> None:
            with contextlib.suppress(Malformed):
                beat = decode(AGENT_BEAT, msg.data)
                counted = {k: n for k, n in beat.counters.items() if k != "tasks"}
                lives = self._agents.setdefault(beat.agent, [{}])
                # An agent keeps its name over restarts: numbers that fell are those of a new life.
                if any(counted.get(k, 0) < n for k, n in lives[-1].items()):
                    lives.append({})
                lives[-1] = counted

        await client.connection.subscribe(subjects.beat_engine(), cb=on_beat)
        await client.connection.subscribe(subjects.beat_agent(NS), cb=on_agent)

    def sums(self) -> dict[str, int]:
        """Each counter over all processes; those of agents under `agent_<name>`."""
        found = Counter[str]()
        for counters in self._engines.values():
            found.update({name: int(counters.get(name, 0)) for name in COUNTED})
        for lives in self._agents.values():
            for counters in lives:
                found.update({f"agent_{name}": int(n) for name, n in counters.items()})
        found["redelivery"] = found["redelivered"] + found["agent_redelivered"]
        return dict(found)


async def storm(setting: Setting, folder: Path, say: Callable[[str], None]) -> Verdict:
    """Run it in a scratch folder; everything that it started is gone afterwards."""
    begun = time.monotonic()
    file = lay_tasks(folder / "tasks")
    stack = Stack(
        folder, runtime=setting.runtime, engines=setting.engines, agents=setting.agents,
        lease=setting.lease, edge=setting.edge, say=say,
    )  # fmt: skip
    os.environ[journal.VARIABLE] = str(folder / JOURNAL)  # for the agents, and their tasks
    journal.open_journal(str(folder / JOURNAL))
    async with EffectServer(file.parent, folder / "ledger.jsonl") as effects:
        try:
            await stack.start()
            await stack.deploy(file)
            verdict = await _run(setting, stack, effects, say)
        finally:
            journal.open_journal("")
            del os.environ[journal.VARIABLE]
            await stack.stop()
    verdict.wrong["left behind"] = left_behind(stack)
    verdict.took = time.monotonic() - begun
    return verdict


async def _run(
    setting: Setting, stack: Stack, effects: EffectServer, say: Callable[[str], None]
) -> Verdict:
    clients = [await stack.client() for _ in range(3)]
    eyes, load = Eyes(), Load(clients, effects, setting.seed)
    operator = Operator(clients[0], load, effects)
    killer = Killer(stack, say)
    faults = draw(setting.seed, setting.kinds, setting.every, setting.seconds, freeze=setting.lease)
    await eyes.open(clients[1])
    operating = asyncio.create_task(operator.run())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(killer.run(faults))
            group.create_task(load.pour(setting.runs, setting.seconds * 0.95))
        killer.heal()
        stack.heal()
        healed = time.monotonic()
        load.healed_at = time.time()
        say(f"healed after {len(killer.hits)} faults; {len(load.unanswered)} runs still open")
        await load.finish(LIVENESS)
        took = time.monotonic() - healed
        await asyncio.sleep(1.5)  # the last beats
    finally:
        operating.cancel()
        await asyncio.gather(operating, return_exceptions=True)
        for client in clients:
            await client.close()
    return await _judge(setting, stack, effects, load, operator, killer, eyes, took)


async def _judge(
    setting: Setting,
    stack: Stack,
    effects: EffectServer,
    load: Load,
    operator: Operator,
    killer: Killer,
    eyes: Eyes,
    took: float,
) -> Verdict:
    stored = await (
        audit.read_edge(stack.nats.url) if setting.edge else audit.read(stack.postgres.dsn())
    )
    policies = {run: plan.policy for run, (_, plan) in load.plans.items()}
    numbers = {run: plan.number for run, (_, plan) in load.plans.items()}
    report = await verify(
        Ask(
            load_config(stack.folder / "engine-1.toml", {}),
            settled=True,
            journals=[stack.folder / JOURNAL],
            ledgers=[effects.ledger],
        )
    )

    def of(*invariants: str) -> list[str]:
        return [f"{v.invariant} run {v.run} event {v.n}: {v.what}"
                for v in report.violations if v.invariant in invariants]  # fmt: skip

    again, more, zombies = audit.once_again(effects.entries, policies)
    hits: dict[str, int] = {}
    for hit in killer.hits:
        what = f"{hit.kind} {'killed' if hit.how == 'kill' else 'frozen'}"
        hits[what] = hits.get(what, 0) + 1
    notes = [f"overridden by the operator: {operator.overrides}"] if operator.overrides else []
    notes += [f"operator was refused, {why}: {n}" for why, n in operator.refused.items()]
    notes += [f"operator decided, {why}: {n}" for why, n in operator.seen.items()]
    notes += audit.latest(stored, load.healed_at)
    notes += [f"by the rule of three: {line}" for line in load.poison]
    by_chance = max(1, len(load.plans) // RARE)
    if zombies:
        notes.append(f"zombies that did again under rerun: {len(zombies)}")
    return Verdict(
        setting, 0.0, audit.last_end(stored) - load.healed_at, took, len(stored.states),
        {
            "lost": of("I1"),
            "illegal transitions": of("I3", "I4", "I5", "I14"),
            "saves lost or foreign": of("I6", "I7", "I8"),
            "effects after their done (verify)": of("I9", "I9b", "I10"),
            "any other promise": of(*(set(INVARIANTS) - NAMED)),
            "once re-run after its done": again,
            "at most once, but more": more,
            "stuck": audit.stuck(stored)
            + [f"no answer to the caller of {run}" for run in sorted(load.unanswered)],
            "checkpoints": audit.checkpoints(stored, effects.entries, numbers),
            "cancels": audit.broken_cancels(stored, load.notes),
            "callers": load.wrong,
            "poison, more than by chance": load.poison[by_chance:],
            "ended by themselves": stack.ended,
        },
        eyes.sums(), hits, dict(load.said), notes,
    )  # fmt: skip


def left_behind(stack: Stack) -> list[str]:
    """I16 and sockets: what a stopped stack must not leave."""
    found = [r for agent in stack.agents for r in stack.runners_of(agent, ended=True)]
    runners = [f"runner {r.name} (pid {r.pid})" for r in found]
    folders = [stack.agent_folder(name) for name in stack.agents]
    return runners + [f"socket {s}" for f in folders for s in sorted(f.glob("ch/**/*.sock"))]
