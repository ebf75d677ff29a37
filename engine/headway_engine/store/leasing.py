"""The rules of agents and their leases that all stores share, with no I/O.

Postgres has those that must hold within one statement in SQL (`agents.sql`); one suite runs both.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from headway_engine.happenings import Lost
from headway_engine.store.agreement import GAP, compare, gap_of, jumped, longest
from headway_engine.store.records import AgentState, Renewed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headway.wire.rpc import Beat, Register
    from headway_engine.store.agreement import Held

Liveness = tuple[datetime, datetime]
"""Since when there were ticks without a gap, and the last one."""


class Agent(Struct, omit_defaults=True):
    """An agent with what a store remembers of its beats."""

    state: AgentState
    seen_at: datetime
    missing: list[str] = []
    """`run:epoch` that were missing in its last full list."""
    gone: list[str] = []
    """Missing twice: lost as soon as somebody looks."""


def standing(
    agent: Agent | None, session: int, now: datetime
) -> Literal["live", "overdue", "over"]:
    """What the session may do: an overdue one nothing until a beat renews it (DECISIONS B1)."""
    if agent is None or agent.state.session != session or not agent.state.alive:
        return "over"
    return "live" if agent.state.lease_until > now else "overdue"


def registered(old: Agent | None, ns: str, ask: Register, lease: float, now: datetime) -> Agent:
    """The agent anew: a session that has not ended is kept, else a new one begins."""
    state = AgentState(
        ask.agent, ns, 1, now + timedelta(seconds=lease), True, ask.queues,
        ask.slots, ask.shared_slots, ask.host, ask.runtime, images=ask.images,
    )  # fmt: skip
    if old is not None:
        was = old.state
        kept = standing(old, ask.session, now) != "over"
        state.session = ask.session if kept else was.session + 1
        state.drain, state.drain_by = was.drain, was.drain_by
        state.drain_at, state.drain_reason = was.drain_at, was.drain_reason
    return Agent(state, now)


def parted(
    holds: Sequence[tuple[str, int]], held: Iterable[Held]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Of what an agent says to hold: what the store gives to it, and what it must stop."""
    mine = {(h.run, h.epoch) for h in held}
    return [h for h in holds if tuple(h) in mine], [h for h in holds if tuple(h) not in mine]


def renewed(agent: Agent, ask: Beat, lease: float, now: datetime) -> Renewed:
    """Renew the lease, and say nothing of what the agent should hold: `agent` is changed."""
    agent.seen_at = now
    agent.state.lease_until = now + timedelta(seconds=lease)
    agent.state.degraded = ask.degraded
    agent.state.images = ask.images or agent.state.images
    return Renewed(True, [], False, agent.state.drain)


def beaten(agent: Agent, ask: Beat, held: Sequence[Held], lease: float, now: datetime) -> Renewed:
    """Renew the lease of a session that is not over: `agent` is changed."""
    answer = compare(held, ask.holds, ask.digest, frozenset(agent.missing))
    if ask.holds is not None:
        agent.missing = answer.missing
        agent.gone = sorted({*agent.gone, *answer.gone})
    said = renewed(agent, ask, lease, now)
    return said._replace(stop=answer.stop, want_holds=answer.want_holds)


def drained(state: AgentState, how: str, actor: str, reason: str, now: datetime) -> None:
    """Keep an operator's word: `state` is changed."""
    state.drain, state.drain_by, state.drain_at, state.drain_reason = how, actor, now, reason


def may_expire(live: Liveness | None, lease: float, now: datetime) -> bool:
    """True if ticks were heard for one whole lease, and lately: agents could have beaten."""
    if live is None:
        return False
    since, last = live
    whole = (now - since).total_seconds() >= lease
    return whole and (now - last).total_seconds() < max(GAP, lease)


def is_over(agent: Agent, lease: float, now: datetime) -> bool:
    """True if its lease is over, or was given before the clock went back."""
    left = (agent.state.lease_until - now).total_seconds()
    return agent.state.alive and not 0 < left <= longest(lease)


def end(agent: Agent) -> None:
    """Its session is over: what it has open is lost, by `orphaned`. `agent` is changed."""
    agent.state.alive = False
    agent.state.session += 1
    agent.missing, agent.gone = [], []


def orphaned(agent: Agent, run: str, epoch: int, session: int) -> Lost | None:
    """What becomes of an open attempt that an agent has under a session; None = it goes on."""
    if session < agent.state.session:
        return Lost(epoch, "the agent's lease ended", dead=False)
    if f"{run}:{epoch}" in agent.gone:
        return Lost(epoch, "the agent does not hold it any more")
    return None


def ticked(
    live: Liveness | None, lease: float, elapsed: float | None, now: datetime
) -> tuple[Liveness, timedelta]:
    """The clock of leases runs on, anew after a gap; and by how much time was set ahead."""
    since, last = live or (now, now)
    passed = (now - last).total_seconds()
    if abs(passed) > gap_of(lease):
        since = now
    return (since, now), timedelta(seconds=jumped(passed, elapsed))


def recent(agents: Iterable[Agent], ns: str, now: datetime) -> list[AgentState]:
    """Those of a namespace (`` = of all) that were seen within a day; whether they live now."""
    return [
        msgspec.structs.replace(a.state, alive=a.state.alive and a.state.lease_until > now)
        for a in agents
        if (not ns or a.state.ns == ns) and a.seen_at > now - timedelta(days=1)
    ]
