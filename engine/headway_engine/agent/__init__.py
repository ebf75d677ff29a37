"""The agent on a host: starts runners, relays between them and the engines, answers for the lease.

One run through it: `claims` pulls work and asks for it, `attempt` finds it a `worker` from the
`pool`, `handover` sends it, `sockets` brings its frames back, `uplink` carries saves and reports,
`ending` and `verdict` say how it ended. Beside that: `leases` (beats), `adoption` and `journal` (a
restart), `port` and `link` (NATS), `ways` (sockets or TCP), `logs` and `redact` (output),
`provider` (variables and secrets), `bodies` (what is large), `telling` (its numbers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.service import Agent

__all__ = ["Agent", "AgentConfig"]


def __getattr__(name: str) -> Any:
    """An engine reads the settings of agents, and loads nothing else of them (PEP 562)."""
    if name == "Agent":
        from headway_engine.agent.service import Agent

        return Agent
    if name == "AgentConfig":
        from headway_engine.agent.config import AgentConfig

        return AgentConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
