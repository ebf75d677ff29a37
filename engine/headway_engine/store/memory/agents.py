"""Memory store: agents and leases."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from headway.states import RunState
from headway_engine.happenings import Happening, Lost
from headway_engine.store.agreement import GAP, Held, compare, gap_of, jumped, longest
from headway_engine.store.memory.queues import Queues
from headway_engine.store.memory.tables import Agent
from headway_engine.store.records import AgentState, Outcome, Renewed

if TYPE_CHECKING:
    from headway.wire.rpc import Beat, Register


class Agents(Queues):
    """See the port."""

    async def register(
        self,
        ns: str,
        ask: Register,
        lease: float,
    ) -> tuple[int, list[tuple[str, int]], list[tuple[str, int]]]:
        """(session, kept, stop)."""
        self._check()
        now = self._now()
        old = self.tables.agents.get((ns, ask.agent))
        if old is None:
            session = 1
        elif old.state.alive and old.state.session == ask.session:
            session = ask.session
        else:
            session = old.state.session + 1
        self.tables.agents[ns, ask.agent] = Agent(
            AgentState(
                ask.agent,
                ns,
                session,
                now + timedelta(seconds=lease),
                True,
                ask.queues,
                ask.slots,
                ask.shared_slots,
                ask.host,
                ask.runtime,
                images=ask.images,
                drain="" if old is None else old.state.drain,
                drain_by="" if old is None else old.state.drain_by,
                drain_at=None if old is None else old.state.drain_at,
                drain_reason="" if old is None else old.state.drain_reason,
            ),
            now,
        )
        mine = {(r.run.id, r.run.epoch) for r in self._open_of(ns, ask.agent, session)}
        return (
            session,
            [h for h in ask.holds if tuple(h) in mine],
            [h for h in ask.holds if tuple(h) not in mine],
        )

    async def beat(
        self,
        ns: str,
        ask: Beat,
        lease: float,
    ) -> Renewed:
        """Renew the lease."""
        self._check()
        now = self._now()
        agent = self.tables.agents.get((ns, ask.agent))
        if agent is None or agent.state.session != ask.session or not agent.state.alive:
            return Renewed(False, [], False)
        agent.seen_at = now
        agent.state.lease_until = now + timedelta(seconds=lease)
        agent.state.degraded = ask.degraded
        agent.state.images = ask.images or agent.state.images
        held = [
            Held(r.run.id, r.run.epoch, r.run.state is RunState.CANCELLING)
            for r in self._open_of(ns, ask.agent, ask.session)
        ]
        answer = compare(held, ask.holds, ask.digest, frozenset(agent.missing))
        if ask.holds is not None:
            agent.missing = set(answer.missing)
            agent.gone |= set(answer.gone)
        return Renewed(True, answer.stop, answer.want_holds, agent.state.drain)

    async def drain(self, ns: str, agent: str, how: str, actor: str, reason: str = "") -> None:
        """Keep an operator's word."""
        self._check()
        if (row := self.tables.agents.get((ns, agent))) is not None:
            state = row.state
            state.drain, state.drain_by, state.drain_at = how, actor, self._now()
            state.drain_reason = reason

    async def expire(self, lease: float) -> list[Outcome]:
        """End leases that are over, then lose their runs."""
        self._check()
        now, live = self._now(), self.tables.liveness
        agents = self.tables.agents.values()
        whole = live is not None and (now - live[0]).total_seconds() >= lease
        if whole and live is not None and (now - live[1]).total_seconds() < max(GAP, lease):
            for agent in agents:
                left = (agent.state.lease_until - now).total_seconds()
                if agent.state.alive and not 0 < left <= longest(lease):
                    agent.state.alive = False
                    agent.state.session += 1
                    agent.missing, agent.gone = set(), set()
        moves: list[tuple[str, Happening]] = []
        for row in self.tables.runs.values():
            agent = self.tables.agents.get((row.run.ns, row.run.agent))
            if agent is None or not row.is_open:
                continue
            if row.run.session < agent.state.session:
                moves.append((row.run.id, Lost(row.run.epoch, "the agent's lease ended", False)))
            elif f"{row.run.id}:{row.run.epoch}" in agent.gone:
                moves.append(
                    (row.run.id, Lost(row.run.epoch, "the agent does not hold it any more"))
                )
        for agent in agents:
            agent.gone = set()
        return [o for o in await self.commit(moves) if o.outcome == "ok"]

    async def tick(self, lease: float = 15.0, elapsed: float | None = None) -> None:
        """The clock of leases runs."""
        self._check()
        now = self._now()
        since, last = self.tables.liveness or (now, now)
        passed = (now - last).total_seconds()
        if abs(passed) > gap_of(lease):
            since = now
        if jump := timedelta(seconds=jumped(passed, elapsed)):
            for row in self.tables.runs.values():
                if row.is_open:
                    run = row.run
                    run.claimed_at = run.claimed_at and run.claimed_at + jump
                    run.attempt_at = run.attempt_at and run.attempt_at + jump
        self.tables.liveness = (since, now)

    async def agents(self, ns: str = "") -> list[AgentState]:
        """Agents with live leases, or recently so."""
        self._check()
        now = self._now()
        return [
            msgspec.structs.replace(
                a.state,
                alive=a.state.alive and a.state.lease_until > now,
                open=sum(
                    r.is_open and r.run.ns == a.state.ns and r.run.agent == a.state.agent
                    for r in self.tables.runs.values()
                ),
            )
            for _, a in sorted(self.tables.agents.items())
            if (not ns or a.state.ns == ns) and a.seen_at > now - timedelta(days=1)
        ]
