"""Agents, their sessions, and what becomes of a run whose agent is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headway.wire.fleet import AgentRow
    from headway.wire.rpc import Beat, Register
    from headway_engine.store.records import AgentState, Outcome, Renewed

__all__ = ["Leases"]


class Leases(Protocol):
    """Agents, their sessions, and what becomes of a run whose agent is silent."""

    async def register(
        self,
        ns: str,
        ask: Register,
        lease: float,
    ) -> tuple[int, list[tuple[str, int]], list[tuple[str, int]]]:
        """(session, kept, stop). The same session with a live lease keeps its attempts."""
        ...

    async def beat(
        self,
        ns: str,
        ask: Beat,
        lease: float,
    ) -> Renewed:
        """Renew the lease.

        With the full list: what the store gives to this agent but it does not hold, in two beats
        running, is lost now; what it holds but is not open is on the stop list (DECISIONS B3).
        Lost runs come out of `expire`.
        """
        ...

    async def drain(self, ns: str, agent: str, how: str, actor: str, reason: str = "") -> None:
        """Keep an operator's word for this agent, with who gave it and when (`Renewed.drain`).

        It outlives the agent's sessions; an agent that is not known is left unknown.
        """
        ...

    async def expire(self, lease: float) -> list[Outcome]:
        """End leases that are over: raise the agent's session, then lose its runs (B2).

        Only if the store has been writable and beats served for one whole lease (B1). Also those
        runs that beats found missing.
        """
        ...

    async def tick(self, lease: float = 15.0, elapsed: float | None = None) -> None:
        """This engine serves beats and the store commits: the clock of B1, once a second.

        `elapsed`: seconds since this engine's last tick, by a clock that nobody sets. If the
        store's clock has jumped ahead of that, open attempts get the jump on top of their time.
        """
        ...

    async def agents(self, ns: str = "") -> list[AgentState]:
        """Agents, with live leases or recently so; all namespaces if empty."""
        ...

    async def agent_rows(self, ns: str) -> list[AgentRow]:
        """As agents, for the api."""
        ...
