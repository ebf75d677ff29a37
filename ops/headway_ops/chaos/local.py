"""The stack of a `headway up` on this machine, as victims: found, checked, hit, never restarted.

`headway up` starts again what is killed. Only its own children and its agent's runners are touched:
a stack that was started in any other way is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headway.discovery import client_file
from headway_engine.config import load_config
from headway_engine.holding import holder
from headway_ops.bench.procs import all_times
from headway_ops.chaos.plan import KINDS
from headway_ops.chaos.runners import container_runners, process_runners, start_ticks
from headway_ops.local.state import LOCK
from headway_ops.say import Exit, Fail
from headway_ops.settings import SERVER_FILE

if TYPE_CHECKING:
    from headway_ops.chaos.runners import Runner

PARTS = ("engine", "agent", "nats", "postgres")


class LocalVictims:
    """The processes of one `headway up`; see `headway_ops.chaos.killer.Victims`."""

    def __init__(self, folder: Path, up: int) -> None:
        """`folder`: its state directory; `up`: its process."""
        self.folder, self.up = folder, up
        # Not the variables of this shell: they may mean another stack.
        self.config = load_config(folder / SERVER_FILE, {})
        agent = self.config.agent
        if agent is None:
            raise Fail(f"{folder / SERVER_FILE} has no agent", "start `headway up` again")
        self.ns = agent.ns
        self.lease = self.config.engine.lease
        self._docker = agent.runtime == "docker"
        self._agent_folder, self._owner = Path(agent.state_dir), agent.owner
        self._runners: dict[str, int] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be hit here: an edge has no Postgres, and its agent is the engine's process."""
        edge = bool(self.config.edge.folder)
        return tuple(k for k in KINDS if not edge or k not in {"postgres", "agent"})

    @property
    def since(self) -> datetime:
        """When this `headway up` was started."""
        boot = 0
        for line in Path("/proc/stat").read_text().splitlines():
            if line.startswith("btime "):
                boot = int(line.split()[1])
        return datetime.fromtimestamp(boot + start_ticks(self.up) / os.sysconf("SC_CLK_TCK"), UTC)

    def names(self, kind: str) -> list[str]:
        """Those of the kind that live now."""
        if kind != "task":
            return [kind] if self.pid(kind) else []
        self._runners = {r.name: r.pid for r in self._found()}
        return sorted(self._runners)

    def _found(self) -> list[Runner]:
        if self._docker:
            return container_runners(self._owner)
        return process_runners(self._agent_folder)

    def pid(self, name: str) -> int:
        """The process behind a name now; 0 = there is none."""
        if name in PARTS:
            children = [p for p, t in all_times().items() if t.parent == self.up]
            return next((p for p in children if part_of(_command(p)) == name), 0)
        return self._runners.get(name, 0)

    async def kill(self, name: str, away: float) -> None:
        """SIGKILL; `headway up` starts it again by itself, an agent its runner."""
        if pid := await asyncio.to_thread(self.pid, name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def find() -> LocalVictims:
    """The stack of this folder; Fail says why there is none that may be hit."""
    if not Path("/proc/stat").exists():
        raise Fail("headway chaos reads /proc: it works on Linux", code=Exit.REFUSED)
    todo = "in a folder of its own: headway up --tasks app.py"
    if os.environ.get("HEADWAY_NATS_URL"):
        raise Fail("HEADWAY_NATS_URL names a stack that may be anybody's; headway chaos kills only"
                   " what `headway up` runs in this folder", "unset it", Exit.REFUSED)  # fmt: skip
    file = client_file()
    if file is None:
        raise Fail("no `headway up` runs in this folder or above, and headway chaos kills nothing"
                   " else", todo, Exit.REFUSED)  # fmt: skip
    pid = holder(file.parent / LOCK)
    if not pid:
        raise Fail(f"{file.parent} was left by a `headway up` that does not run any more",
                   todo, Exit.REFUSED)  # fmt: skip
    return LocalVictims(file.parent, pid)


def part_of(command: list[str]) -> str:
    """Which part of a stack a command line is; empty for anything else. Pure."""
    match command:
        case [_, "-m", "headway_ops", "engine" | "agent" as role, *_]:
            return role
        case [program, *_] if Path(program).name == "nats-server":
            return "nats"
        case [program, *_] if Path(program).name == "postgres":
            return "postgres"
        case _:
            return ""


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []
