"""What must hold before an agent connects: its folder is its own."""

from __future__ import annotations

from pathlib import Path

from headway.errors import HeadwayError
from headway_engine.holding import Held, Lock

LOCK = "lock"
"""In an agent's folder: held while it lives."""


class AgentCannotStart(HeadwayError):
    """The agent cannot start runners on this host."""

    code = "agent_cannot_start"


def hold(state_dir: str) -> Lock:
    """The agent's folder, made if need be, for this process alone until the lock is closed.

    Two agents in one folder would end each other's runners and write one journal. Whoever dies
    without closing it holds nobody up. Raises AgentCannotStart, and OSError for a folder that
    cannot be made.
    """
    folder = Path(state_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder / LOCK)
    try:
        lock.take()
    except Held as e:
        raise AgentCannotStart(
            f"{folder} is in use by another agent (pid {e.pid or 'unknown'}): stop that one, or"
            " give this one a folder of its own in agent.state_dir"
        ) from None
    except PermissionError:
        raise
    except OSError as e:
        raise AgentCannotStart(
            f"cannot lock {folder / LOCK}: {e.strerror}; put agent.state_dir on a local disk"
        ) from e
    return lock
