"""Engine and agent in one process: for a small machine, and half of the way of a save.

The agent asks this engine without NATS in between (`agent.port.Near`); everything else (work,
stops, logs, beats, other engines) goes over NATS, as between two processes. They end together: if
one fails the process ends, to be started anew. Runners are processes of their own and go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headway_engine.assembly import Engine
from headway_engine.assembly_agent import AgentProcess

if TYPE_CHECKING:
    from headway_engine.config import Config


class EngineWithAgent:
    """One engine, and the agent of the same settings beside it."""

    def __init__(self, config: Config) -> None:
        """Raises BadConfig without an [agent] section."""
        self.engine = Engine(config)
        self.agent = AgentProcess(config, near=self.engine)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Drain both and end `run`; idempotent, may come before it."""
        self._stop.set()

    async def run(self) -> None:
        """Until stopped: the agent first, which still has something to say to the engine.

        Raises what ended one of them. Without its engine an agent drains nothing: what runs is left
        to the next one.
        """
        engine = asyncio.create_task(self.engine.run(), name="headway-engine")
        agent = asyncio.create_task(self.agent.run(), name="headway-agent")
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({engine, agent, stop}, return_when=asyncio.FIRST_COMPLETED)
            if engine.done():
                self.agent.leave()
            else:
                self.agent.stop()
            await asyncio.wait({agent})
            self.engine.stop()
            await asyncio.wait({engine})
        finally:
            for task in (stop, agent, engine):
                task.cancel()
        # Of two failures the engine's: the agent's may come of it.
        engine.result()
        agent.result()
