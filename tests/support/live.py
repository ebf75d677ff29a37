"""The whole stack in one process: engine, agent on real runner processes, client; real servers."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from headway import bus
from headway.client import Client
from headway.wire.fleet import Deployment
from headway_engine.agent import Agent, AgentConfig
from headway_engine.agent.config import WarmConfig
from headway_engine.agent.link import NatsLink
from headway_engine.config import BlobsConfig
from headway_engine.runtime.process import ProcessRuntime
from support import body_tasks
from support.engines import config_for, running_engine
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.handles import RunHandle
    from headway.wire.events import Event
    from headway.wire.runs import RunDetail
    from headway_engine.assembly import Engine
    from headway_engine.config import Config
    from headway_engine.runtime import Runtime


class Live:
    """What a test drives."""

    def __init__(self, client: Client, engine: Engine, agent: Agent, folder: Path) -> None:
        self.client, self.engine, self.agent, self.folder = client, engine, agent, folder

    async def start(self, task: Any, *args: Any, **options: Any) -> RunHandle[Any]:
        """Enqueue one run; recorded when this returns."""
        item = task.options(**options).item(args, {})
        return (await self.client.submit([item], task.signature.result_type))[0]

    async def result(self, task: Any, *args: Any, within: float = 30.0) -> Any:
        """Enqueue one run and wait for its result."""
        return await (await self.start(task, *args)).result(within)

    async def events(self, run: str) -> list[Event]:
        """Its timeline, as stored."""
        return (await self.client.run(run)).events

    async def in_state(self, handle: RunHandle[Any], status: str) -> RunDetail:
        """Wait until the run is in that state."""

        async def there() -> RunDetail | None:
            detail = await handle.detail()
            return detail if detail.row.status.lower() == status else None

        try:
            found = await until(there, 60, what=f"{handle.id} {status}", every=0.05)
        except AssertionError as e:
            now = await handle.detail()
            told = [(x.kind, x.at, x.data) for x in now.events]
            raise AssertionError(f"{e}; it is {now.row.status} {now.why!r}: {told}") from None
        assert found is not None
        return found


def live_config(nats: str, database: str, blobs: Any = "memory", **engine: Any) -> Config:
    """The engine's settings of `live`, for a second engine beside it."""
    made = blobs if isinstance(blobs, BlobsConfig) else BlobsConfig(blobs)
    return replace(config_for(nats, database, **engine), blobs=made)


def _lay_out(folder: Path, tasks: Any) -> str:
    """Put the module where runners find it; its name."""
    folder.chmod(0o755)
    (folder / "src").mkdir()
    return Path(shutil.copy(tasks.__file__, folder / "src")).stem


async def headway(nats: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command of an operator, with `more` in its environment."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "headway_ops", *arguments],
        env=env | {"HEADWAY_NATS_URL": nats} | more, cwd="/",
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@asynccontextmanager
async def live(
    nats: str,
    database: str,
    runtime: Runtime | None = None,
    blobs: Literal["memory", "objects"] | BlobsConfig = "memory",
    agent: dict[str, Any] | None = None,
    tasks: Any = body_tasks,
    **engine: Any,
) -> AsyncGenerator[Live]:
    """Everything started, the tasks of a module deployed; all of it gone in the end.

    `agent`: settings of the agent.
    """
    with tempfile.TemporaryDirectory(prefix="hw") as text:
        folder = Path(text)
        module = _lay_out(folder, tasks)
        async with running_engine(live_config(nats, database, blobs, **engine)) as made:
            client = await Client.open(settings_for(nats))
            specs = [replace(t.spec(), module="") for t in tasks.all_tasks()]
            what = Deployment("v1", specs, modules=(module,), source=str(folder / "src"), dev=True)
            await client.api("deploy", what, dict[str, Any])
            usual: dict[str, Any] = {
                "name": "a1", "runtime": "process", "warm": WarmConfig(low=0, high=0),
                "drain_timeout": 0.2, "kill_after": 0.5,
            }  # fmt: skip
            config = AgentConfig(state_dir=str(folder / "s"), **usual | (agent or {}))
            ident = ("default", config.name)
            nc = await bus.connect(settings_for(nats), kind="agent", ident=ident)
            made_agent = Agent(
                config,
                NatsLink(nc, "default", config.name),
                runtime or ProcessRuntime(folder / "s"),
            )
            await made_agent.start()
            try:
                await asyncio.wait_for(made_agent.ready(), 10)
                yield Live(client, made, made_agent, folder)
            finally:
                await made_agent.stop()
                await nc.close()
                await client.close()
