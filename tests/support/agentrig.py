"""An agent on the process runtime over an engine in memory, with tasks in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headway_engine.agent import Agent, AgentConfig
from headway_engine.agent.config import WarmConfig
from headway_engine.runtime.process import ProcessRuntime
from support import agent_tasks
from support.fakelink import FakeEngine, FakeLink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


class Rig:
    """An agent on the process runtime over a fake engine; another one can take its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "src").mkdir()
        shutil.copy(agent_tasks.__file__, folder / "src" / "hwtasks.py")
        self.engine = FakeEngine(("hwtasks",), str(folder / "src"))
        self.warm = WarmConfig(low=0, high=0)
        self.agents: list[Agent] = []
        self.options: dict[str, object] = {}

    async def agent(self) -> Agent:
        """Start one; the earlier one must have been stopped."""
        config = AgentConfig(
            state_dir=str(self.folder / "s"),
            runtime="process",
            warm=self.warm,
            kill_after=0.5,
            **self.options,  # pyright: ignore[reportArgumentType]  # fields by name
        )
        agent = Agent(config, FakeLink(self.engine), ProcessRuntime(self.folder / "s"))
        self.agents.append(agent)
        await agent.start()
        await asyncio.wait_for(agent.ready(), 10)
        return agent

    def pid_of(self, agent: Agent, run: str) -> int:
        """Process id of the runner that has it."""
        worker = agent.attempts.live[run].worker
        assert worker is not None
        assert worker.handle is not None
        return int(worker.handle.id)


@asynccontextmanager
async def rigged() -> AsyncGenerator[Rig]:
    """A rig; whatever its agents left running is removed."""
    with tempfile.TemporaryDirectory(prefix="hw") as text:
        rig = Rig(Path(text))
        yield rig
        for agent in rig.agents:
            await agent.stop(drain=False)
        for agent in rig.agents[-1:]:
            for handle in await agent.runtime.list_all(agent.pool.owner):
                await agent.runtime.remove(handle)


def first(found: Sequence[object]) -> object:
    """The first one, or None."""
    return found[0] if found else None


def reaped(pid: int) -> bool:
    """Take the exit status of a dead child; False while it lives."""
    return os.waitpid(pid, os.WNOHANG) != (0, 0)


def gone(pid: int) -> bool:
    """Is there no process with this id?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
