"""The composition root of the agent: settings in, an agent with its runtime and connection out.

Beside `assembly` the only module that knows adapters (runtimes); apart from it, since an agent
needs nothing of an engine and is smaller without.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from headway.bus import connect
from headway.errors import NotReachable
from headway_engine.agent.before import hold
from headway_engine.agent.link import NatsLink
from headway_engine.agent.provider import Provider
from headway_engine.agent.service import Agent
from headway_engine.config import BadConfig
from headway_engine.reaching import nats_settings, until_reached

if TYPE_CHECKING:
    from headway_engine.agent.port import Near
    from headway_engine.agent.ways import Chosen
    from headway_engine.config import Config
    from headway_engine.runtime import Runtime


class AgentProcess:
    """One agent with its connection and runtime: the agent role of a host."""

    def __init__(
        self,
        config: Config,
        *,
        runtime: Runtime | None = None,
        base_image: str = "",
        uid: int = 0,
        near: Near | None = None,
    ) -> None:
        """Raises BadConfig without an [agent] section.

        `near`: an engine in this process. `runtime`: instead of the one that the settings name.
        `base_image`: docker, for versions that name no image; `uid`: process, the user of the
        runners if the agent is root.
        """
        if config.agent is None:
            raise BadConfig("no [agent] section: give at least agent.state_dir")
        self.config, self.agent_config = config, config.agent
        self._runtime, self._base_image, self._uid = runtime, base_image, uid
        self._near, self._left = near, False
        self._provider = Provider(self.agent_config.provider_file, self.agent_config.env_prefix)
        self.stop_event = asyncio.Event()
        self.started = asyncio.Event()
        """Set when the agent has registered and takes work."""
        self.agent: Agent | None = None

    def stop(self) -> None:
        """Drain and end `run`; idempotent, may come before it."""
        self.stop_event.set()

    def leave(self) -> None:
        """End `run` without draining: what runs is left to the next agent, as after a crash."""
        self._left = True
        self.stop_event.set()

    def ready(self) -> bool:
        """It is registered and none of its parts has failed."""
        return self.started.is_set() and self.agent is not None and not self.agent.failed.is_set()

    def _make_runtime(self) -> Runtime:
        if self._runtime is not None:
            return self._runtime
        if self.agent_config.runtime == "docker":
            from headway_engine.agent.ways import CHANNELS
            from headway_engine.runtime.docker import DockerRuntime

            outside = self.agent_config.host_channel_dir
            inside = str(Path(self.agent_config.state_dir).absolute() / CHANNELS)
            return DockerRuntime(
                base_image=self._base_image, path_map=(inside, outside) if outside else None
            )
        from headway_engine.runtime.process import ProcessRuntime

        return ProcessRuntime(Path(self.agent_config.state_dir).absolute(), uid=self._uid)

    async def run(self) -> None:
        """Until stopped, or until a part of the agent fails: that is raised.

        Before it waits for NATS: BadProviderFile, and AgentCannotStart if another process has its
        folder.
        """
        self._provider.check()
        lock = hold(self.agent_config.state_dir)
        try:
            await self._run()
        finally:
            lock.close()

    async def _run(self) -> None:
        c = self.agent_config
        settings = nats_settings(self.config.nats)
        nc = await until_reached(
            "NATS",
            lambda: connect(settings, kind="agent", ident=(c.ns, c.name)),
            self.stop_event,
            NotReachable,
        )
        if nc is None:
            return
        link = NatsLink(nc, c.ns, c.name, self._near)
        agent = self.agent = Agent(c, link, self._make_runtime(), provider=self._provider)
        try:
            await agent.start()
            waits = [
                asyncio.create_task(w)
                for w in (self._registered(agent), self.stop_event.wait(), agent.failed.wait())
            ]
            await asyncio.wait(waits[1:], return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
            await asyncio.wait(waits)
            if agent.failure is not None:
                raise agent.failure
        finally:
            self.started.clear()
            await agent.stop(drain=agent.failure is None and not self._left)
            with contextlib.suppress(Exception):  # it ends either way
                async with asyncio.timeout(2):
                    await nc.close()

    async def _registered(self, agent: Agent) -> None:
        await agent.ready()
        self.started.set()


async def way_of_containers(base_image: str) -> Chosen | None:
    """How containers of this image reach an agent on this host; None = there is no such image.

    For `doctor`; an agent looks by itself at its start. Raises NoWay with what was tried, and
    RuntimeUnavailable without Docker.
    """
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.ways import Chosen, choose
    from headway_engine.runtime import ImageMissing
    from headway_engine.runtime.docker import DockerRuntime

    runtime = DockerRuntime(base_image=base_image)
    try:
        await runtime.ensure_image("")
        with tempfile.TemporaryDirectory(prefix="hw") as folder:
            config = AgentConfig(state_dir=folder, open_network=True)
            return await choose(config, runtime, Path(folder), Chosen())
    except ImageMissing:
        return None
    finally:
        await runtime.close()
