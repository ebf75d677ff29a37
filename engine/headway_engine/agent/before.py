"""What must hold before an agent connects: its folder is its own."""

from __future__ import annotations

from pathlib import Path

from headway.errors import HeadwayError
from headway_engine import holding


class AgentCannotStart(HeadwayError):
    """The agent cannot start runners on this host."""

    code = "agent_cannot_start"


def hold(state_dir: str) -> holding.Lock:
    """The agent's folder, made if need be, for this process alone until the lock is closed.

    Two agents in one folder would end each other's runners and write one journal. Whoever dies
    without closing it holds nobody up. Raises AgentCannotStart, and OSError for a folder that
    cannot be made.
    """
    try:
        return holding.hold(Path(state_dir), "agent", "agent.state_dir")
    except holding.FolderHeld as e:
        raise AgentCannotStart(str(e)) from e
