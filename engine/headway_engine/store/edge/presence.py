"""Edge store: agents and their leases, each in one value of the settings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from headway.bus import WrongLast
from headway.wire import decoder, encode
from headway_engine.store import StoreDown, leasing
from headway_engine.store.agreement import Held
from headway_engine.store.edge.base import ROUNDS
from headway_engine.store.edge.saving import Saving
from headway_engine.store.leasing import Agent
from headway_engine.store.records import Renewed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from headway.wire.rpc import Beat, Register
    from headway_engine.happenings import Happening
    from headway_engine.store.leasing import Liveness
    from headway_engine.store.records import AgentState, Outcome

_OPEN = "state IN ('STARTING', 'RUNNING', 'CANCELLING')"


AGENT = decoder(Agent)
"""The value of `agent.<ns>.<agent>`."""


class Presence(Saving):
    """See the port."""

    liveness: Liveness | None
    """Of this engine."""
    jumps: list[tuple[datetime, timedelta]]
    """When the clock was seen to have been set ahead, and by how much."""

    def _agent(self, ns: str, agent: str) -> Agent | None:
        return self.settings.value(f"agent.{ns}.{agent}", AGENT)

    def _agents(self) -> list[AgentState]:
        return [a.state for a in self._all_agents()]

    def _all_agents(self) -> list[Agent]:
        return [self.settings.value(key, AGENT) for key, _ in self.settings.under("agent.")]

    async def _change_agent(
        self, ns: str, agent: str, change: Callable[[Agent | None], Agent | None]
    ) -> Agent | None:
        """Write what `change` makes of the agent, which gets a copy; None = nothing is written.

        A look that leads to nothing is made again if it was not the last word.
        """
        key = f"agent.{ns}.{agent}"
        async with self.locks.of([key]):
            for _ in range(ROUNDS):
                old = self._agent(ns, agent)
                seq = self.settings.seq(key)
                copy = None
                if old is not None:
                    copy = msgspec.structs.replace(
                        old,
                        state=msgspec.structs.replace(old.state),
                        missing=list(old.missing),
                        gone=list(old.gone),
                    )
                new = change(copy)
                if new is None:
                    await self.settings.fresh()
                    if self.settings.seq(key) != seq:
                        continue
                    return None
                try:
                    await self.settings.put(key, encode(new), seq)
                except WrongLast:
                    continue
                return new
        raise StoreDown(f"agent {agent} is written to all the time")

    def _open_of(self, ns: str, agent: str, session: int) -> list[Held]:
        rows = self.db.execute(
            f"SELECT id, epoch, state = 'CANCELLING' FROM runs WHERE ns = ? AND agent = ?"
            f" AND session = ? AND {_OPEN} ORDER BY id",
            (ns, agent, session),
        )
        return [Held(run, epoch, bool(cancelling)) for run, epoch, cancelling in rows]

    async def register(
        self, ns: str, ask: Register, lease: float
    ) -> tuple[int, list[tuple[str, int]], list[tuple[str, int]]]:
        """(session, kept, stop)."""
        await self._fresh()

        new = await self._change_agent(
            ns,
            ask.agent,
            lambda old: leasing.registered(old, ns, ask, lease, self._now()),
        )
        assert new is not None
        session = new.state.session
        await self.journal.fresh()
        await self.journal.look(run for run, _ in ask.holds)
        return session, *leasing.parted(ask.holds, self._open_of(ns, ask.agent, session))

    async def beat(self, ns: str, ask: Beat, lease: float) -> Renewed:
        """Renew the lease."""
        await self._runs_fresh()
        found: list[Renewed] = []

        def change(agent: Agent | None) -> Agent | None:
            found.clear()
            now = self._now()
            if agent is None or leasing.standing(agent, ask.session, now) == "over":
                found.append(Renewed(False, [], False))
                return None
            if self.journal.behind:  # what it should hold is not all known yet
                found.append(leasing.renewed(agent, ask, lease, now))
                return agent
            held = self._open_of(ns, ask.agent, ask.session)
            found.append(leasing.beaten(agent, ask, held, lease, now))
            return agent

        await self._change_agent(ns, ask.agent, change)
        return found[0]

    async def drain(self, ns: str, agent: str, how: str, actor: str, reason: str = "") -> None:
        """Keep an operator's word."""
        self._check()

        def change(row: Agent | None) -> Agent | None:
            if row is not None:
                leasing.drained(row.state, how, actor, reason, self._now())
            return row

        await self._change_agent(ns, agent, change)

    async def expire(self, lease: float) -> list[Outcome]:
        """End leases that are over, then lose their runs: once all of them are known."""
        # What ends a lease on an older look loses against the beat that it has not seen.
        await asyncio.gather(self._lately(), self.settings.lately(2 * self.lately))
        if self.journal.behind:
            return []
        if leasing.may_expire(self.liveness, lease, self._now()):
            over = [a.state for a in self._all_agents() if leasing.is_over(a, lease, self._now())]
            for state in over:
                await self._change_agent(state.ns, state.agent, lambda a: self._ended(a, lease))
            if over:
                await self.journal.fresh()  # a claim that was faster is in it
        moves: list[tuple[str, Happening]] = []
        emptied = [agent for agent in self._all_agents() if agent.gone]
        for agent in self._all_agents():
            state = agent.state
            # Only one that lacks something can have lost an attempt of its session.
            below = state.session + bool(agent.gone)
            for run, epoch, session in self.db.execute(
                "SELECT id, epoch, session FROM runs WHERE ns = ? AND agent = ? AND session < ?"
                f" AND {_OPEN}",
                (state.ns, state.agent, below),
            ).fetchall():
                lost = leasing.orphaned(agent, run, epoch, session)
                if lost is not None:
                    moves.append((run, lost))
        out = [o for o in await self.commit(moves) if o.outcome == "ok"]
        for agent in emptied:
            told = set(agent.gone)
            await self._change_agent(
                agent.state.ns, agent.state.agent, lambda a, told=told: _without(a, told)
            )
        return out

    def _ended(self, agent: Agent | None, lease: float) -> Agent | None:
        if agent is None or not leasing.is_over(agent, lease, self._now()):
            return None
        leasing.end(agent)
        return agent

    async def tick(self, lease: float = 15.0, elapsed: float | None = None) -> None:
        """The clock of leases runs: this engine serves, and RUNS can be read."""
        await self._lately()
        now = self._now()
        self.liveness, jump = leasing.ticked(self.liveness, lease, elapsed, now)
        if jump:
            self.jumps.append((now, jump))

    def _shift(self, begun: datetime) -> timedelta:
        """By how much the clock was set ahead since then, as this engine has seen."""
        return sum((by for at, by in self.jumps if begun < at), timedelta())

    async def agents(self, ns: str = "") -> list[AgentState]:
        """Agents with live leases, or recently so."""
        await self._fresh()
        found = leasing.recent(self._all_agents(), ns, self._now())
        open_ones = {
            (n, agent): count
            for n, agent, count in self.db.execute(
                f"SELECT ns, agent, count(*) FROM runs INDEXED BY runs_held WHERE {_OPEN}"
                " GROUP BY ns, agent"
            )
        }
        for state in found:
            state.open = open_ones.get((state.ns, state.agent), 0)
        return found


def _without(agent: Agent | None, told: set[str]) -> Agent | None:
    if agent is None or not told & set(agent.gone):
        return None
    agent.gone = [g for g in agent.gone if g not in told]
    return agent
