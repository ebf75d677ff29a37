"""Edge store: agents and their leases, each in one value of the settings."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.bus import WrongLast
from headway.wire import decoder, encode
from headway_engine.happenings import Happening, Lost
from headway_engine.store import StoreDown
from headway_engine.store.agreement import GAP, Held, compare, gap_of, jumped, longest
from headway_engine.store.edge.base import ROUNDS
from headway_engine.store.edge.saving import Saving
from headway_engine.store.records import AgentState, Outcome, Renewed

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.rpc import Beat, Register

_OPEN = "state IN ('STARTING', 'RUNNING', 'CANCELLING')"


class Agent(Struct, omit_defaults=True):
    """The value of `agent.<ns>.<agent>`."""

    state: AgentState
    seen_at: datetime
    missing: list[str] = []
    """`run:epoch` that were missing in its last full list."""
    gone: list[str] = []
    """Missing twice: lost as soon as somebody looks."""


AGENT = decoder(Agent)


class Presence(Saving):
    """See the port."""

    liveness: tuple[datetime, datetime] | None
    """Since when this engine has ticked without a gap, and when last."""
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
                    if await self.settings.fresh() and self.settings.seq(key) != seq:
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

        def change(old: Agent | None) -> Agent:
            now = self._now()
            if old is None:
                session = 1
            elif old.state.alive and old.state.session == ask.session:
                session = ask.session
            else:
                session = old.state.session + 1
            state = AgentState(
                ask.agent, ns, session, now + timedelta(seconds=lease), True, ask.queues,
                ask.slots, ask.shared_slots, ask.host, ask.runtime, images=ask.images,
            )  # fmt: skip
            if old is not None:
                state.drain, state.drain_by = old.state.drain, old.state.drain_by
                state.drain_at, state.drain_reason = old.state.drain_at, old.state.drain_reason
            return Agent(state, now)

        new = await self._change_agent(ns, ask.agent, change)
        assert new is not None
        session = new.state.session
        await self.journal.fresh()
        await self.journal.look(run for run, _ in ask.holds)
        mine = {(h.run, h.epoch) for h in self._open_of(ns, ask.agent, session)}
        return (
            session,
            [h for h in ask.holds if tuple(h) in mine],
            [h for h in ask.holds if tuple(h) not in mine],
        )

    async def beat(self, ns: str, ask: Beat, lease: float) -> Renewed:
        """Renew the lease."""
        await self._runs_fresh()
        found: list[Renewed] = []

        def change(agent: Agent | None) -> Agent | None:
            found.clear()
            if agent is None or agent.state.session != ask.session or not agent.state.alive:
                found.append(Renewed(False, [], False))
                return None
            now = self._now()
            agent.seen_at = now
            agent.state.lease_until = now + timedelta(seconds=lease)
            agent.state.degraded = ask.degraded
            agent.state.images = ask.images or agent.state.images
            if self.journal.behind:  # what it should hold is not all known yet
                found.append(Renewed(True, [], False, agent.state.drain))
                return agent
            held = self._open_of(ns, ask.agent, ask.session)
            answer = compare(held, ask.holds, ask.digest, frozenset(agent.missing))
            if ask.holds is not None:
                agent.missing = answer.missing
                agent.gone = sorted({*agent.gone, *answer.gone})
            found.append(Renewed(True, answer.stop, answer.want_holds, agent.state.drain))
            return agent

        await self._change_agent(ns, ask.agent, change)
        return found[0]

    async def drain(self, ns: str, agent: str, how: str, actor: str, reason: str = "") -> None:
        """Keep an operator's word."""
        self._check()

        def change(row: Agent | None) -> Agent | None:
            if row is not None:
                state = row.state
                state.drain, state.drain_by, state.drain_at = how, actor, self._now()
                state.drain_reason = reason
            return row

        await self._change_agent(ns, agent, change)

    async def expire(self, lease: float) -> list[Outcome]:
        """End leases that are over, then lose their runs: once all of them are known."""
        await asyncio.gather(self._lately(), self.settings.lately(self.lately))
        if self.journal.behind:
            return []
        now, live = self._now(), self.liveness
        whole = live is not None and (now - live[0]).total_seconds() >= lease
        if whole and live is not None and (now - live[1]).total_seconds() < max(GAP, lease):
            over = [agent.state for agent in self._all_agents() if self._is_over(agent, lease)]
            for state in over:
                await self._change_agent(state.ns, state.agent, lambda a: self._ended(a, lease))
            if over:
                await self.journal.fresh()  # a claim that was faster is in it
        moves: list[tuple[str, Happening]] = []
        emptied: list[Agent] = []
        for agent in self._all_agents():
            rows = self.db.execute(
                "SELECT id, epoch FROM runs WHERE ns = ? AND agent = ? AND session < ?"
                f" AND {_OPEN}",
                (agent.state.ns, agent.state.agent, agent.state.session),
            ).fetchall()
            moves += [(run, Lost(epoch, "the agent's lease ended", False)) for run, epoch in rows]
            if agent.gone:
                emptied.append(agent)
                moves += self._gone_of(agent)
        out = [o for o in await self.commit(moves) if o.outcome == "ok"]
        for agent in emptied:
            told = set(agent.gone)
            await self._change_agent(
                agent.state.ns, agent.state.agent, lambda a, told=told: _without(a, told)
            )
        return out

    def _is_over(self, agent: Agent, lease: float) -> bool:
        left = (agent.state.lease_until - self._now()).total_seconds()
        return agent.state.alive and not 0 < left <= longest(lease)

    def _ended(self, agent: Agent | None, lease: float) -> Agent | None:
        if agent is None or not self._is_over(agent, lease):
            return None
        agent.state.alive = False
        agent.state.session += 1
        agent.missing, agent.gone = [], []
        return agent

    def _gone_of(self, agent: Agent) -> list[tuple[str, Happening]]:
        held = self._open_of(agent.state.ns, agent.state.agent, agent.state.session)
        why = "the agent does not hold it any more"
        return [(h.run, Lost(h.epoch, why)) for h in held if f"{h.run}:{h.epoch}" in agent.gone]

    async def tick(self, lease: float = 15.0, elapsed: float | None = None) -> None:
        """The clock of leases runs: this engine serves, and RUNS can be read."""
        await self._lately()
        now = self._now()
        since, last = self.liveness or (now, now)
        passed = (now - last).total_seconds()
        if abs(passed) > gap_of(lease):
            since = now
        if jump := jumped(passed, elapsed):
            self.jumps.append((now, timedelta(seconds=jump)))
        self.liveness = (since, now)

    def _shift(self, begun: datetime) -> timedelta:
        """By how much the clock was set ahead since then, as this engine has seen."""
        return sum((by for at, by in self.jumps if begun < at), timedelta())

    async def agents(self, ns: str = "") -> list[AgentState]:
        """Agents with live leases, or recently so."""
        await self._fresh()
        now = self._now()
        open_ones = {
            (n, agent): count
            for n, agent, count in self.db.execute(
                f"SELECT ns, agent, count(*) FROM runs INDEXED BY runs_held WHERE {_OPEN}"
                " GROUP BY ns, agent"
            )
        }
        return [
            msgspec.structs.replace(
                a.state,
                alive=a.state.alive and a.state.lease_until > now,
                open=open_ones.get((a.state.ns, a.state.agent), 0),
            )
            for a in self._all_agents()
            if (not ns or a.state.ns == ns) and a.seen_at > now - timedelta(days=1)
        ]


def _without(agent: Agent | None, told: set[str]) -> Agent | None:
    if agent is None or not told & set(agent.gone):
        return None
    agent.gone = [g for g in agent.gone if g not in told]
    return agent
