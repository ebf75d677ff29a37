"""Memory store: agents and leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.states import RunState
from headway_engine.store import leasing
from headway_engine.store.agreement import Held
from headway_engine.store.memory.queues import Queues
from headway_engine.store.records import Renewed

if TYPE_CHECKING:
    from headway.wire.rpc import Beat, Register
    from headway_engine.happenings import Happening
    from headway_engine.store.records import AgentState, Outcome


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
        old = self.tables.agents.get((ns, ask.agent))
        agent = leasing.registered(old, ns, ask, lease, self._now())
        self.tables.agents[ns, ask.agent] = agent
        session = agent.state.session
        return session, *leasing.parted(ask.holds, self._held(ns, ask.agent, session))

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
        if agent is None or leasing.standing(agent, ask.session, now) == "over":
            return Renewed(False, [], False)
        return leasing.beaten(agent, ask, self._held(ns, ask.agent, ask.session), lease, now)

    def _held(self, ns: str, agent: str, session: int) -> list[Held]:
        return [
            Held(r.run.id, r.run.epoch, r.run.state is RunState.CANCELLING)
            for r in self._open_of(ns, agent, session)
        ]

    async def drain(self, ns: str, agent: str, how: str, actor: str, reason: str = "") -> None:
        """Keep an operator's word."""
        self._check()
        if (row := self.tables.agents.get((ns, agent))) is not None:
            leasing.drained(row.state, how, actor, reason, self._now())

    async def expire(self, lease: float) -> list[Outcome]:
        """End leases that are over, then lose their runs."""
        self._check()
        now, agents = self._now(), self.tables.agents
        if leasing.may_expire(self.tables.liveness, lease, now):
            for agent in agents.values():
                if leasing.is_over(agent, lease, now):
                    leasing.end(agent)
        moves: list[tuple[str, Happening]] = []
        for row in self.tables.runs.values():
            agent = agents.get((row.run.ns, row.run.agent))
            if agent is None or not row.is_open:
                continue
            lost = leasing.orphaned(agent, row.run.id, row.run.epoch, row.run.session)
            if lost is not None:
                moves.append((row.run.id, lost))
        for agent in agents.values():
            agent.gone = []
        return [o for o in await self.commit(moves) if o.outcome == "ok"]

    async def tick(self, lease: float = 15.0, elapsed: float | None = None) -> None:
        """The clock of leases runs."""
        self._check()
        live = self.tables.liveness
        self.tables.liveness, jump = leasing.ticked(live, lease, elapsed, self._now())
        if jump:
            for row in self.tables.runs.values():
                if row.is_open:
                    run = row.run
                    run.claimed_at = run.claimed_at and run.claimed_at + jump
                    run.attempt_at = run.attempt_at and run.attempt_at + jump

    async def agents(self, ns: str = "") -> list[AgentState]:
        """Agents with live leases, or recently so."""
        self._check()
        found = leasing.recent(self.tables.agents.values(), ns, self._now())
        for agent in found:
            agent.open = sum(
                r.is_open and (r.run.ns, r.run.agent) == (agent.ns, agent.agent)
                for r in self.tables.runs.values()
            )
        return sorted(found, key=lambda a: (a.ns, a.agent))
