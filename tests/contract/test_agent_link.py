"""The agent on real NATS, with a real engine and store: a run goes all the way."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headway import bus
from headway.wire.fleet import Deployment, TaskSpec
from headway_engine.agent import Agent, AgentConfig
from headway_engine.agent.config import WarmConfig
from headway_engine.agent.link import NatsLink
from headway_engine.runtime.process import ProcessRuntime
from support import agent_tasks
from support.engines import Caller, calling, config_for, running_engine
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def whole(nats: str, database: str) -> AsyncGenerator[tuple[Caller, Agent]]:
    """Engine, caller with the tasks deployed, agent."""
    with tempfile.TemporaryDirectory(prefix="hw") as text:
        folder = Path(text)
        shutil.copy(agent_tasks.__file__, folder / "hwtasks.py")
        async with running_engine(config_for(nats, database)), calling(nats) as caller:
            specs = [
                TaskSpec("add"),
                TaskSpec("noop", isolation="shared"),
                TaskSpec("waits"),
                TaskSpec("sleeps", grace=0.5),
            ]
            await caller.api(
                "deploy", Deployment("v1", specs, modules=("hwtasks",), source=text, dev=True)
            )
            nc = await bus.connect(settings_for(nats), kind="agent", ident=("default", "a1"))
            config = AgentConfig(
                state_dir=str(folder / "s"),
                name="a1",
                runtime="process",
                warm=WarmConfig(low=0, high=0),
                drain_timeout=0.2,
            )
            agent = Agent(config, NatsLink(nc, "default", "a1"), ProcessRuntime(folder / "s"))
            await agent.start()
            try:
                await asyncio.wait_for(agent.ready(), 10)
                yield caller, agent
            finally:
                await agent.stop()
                await nc.close()


async def test_enqueue_to_result_through_engine_agent_and_runner(nats: str, database: str):
    async with whole(nats, database) as (caller, _):
        recorded = await caller.enqueue("add", b'{"a": 2, "b": 3}')
        end = await caller.end(recorded.run)
        assert (end.status, bytes(end.result)) == ("succeeded", b"5")


async def test_many_shared_runs_share_one_process(nats: str, database: str):
    async with whole(nats, database) as (caller, agent):
        words = await asyncio.gather(*(caller.enqueue("noop") for _ in range(100)))
        for word in words:
            assert (await caller.end(word.run)).status == "succeeded"
        assert agent.pool.starts == 1


async def test_a_killed_runner_goes_on_from_its_checkpoint(
    nats: str, database: str, tmp_path: Path
):
    async with whole(nats, database) as (caller, agent):
        payload = b'{"path": "' + str(tmp_path / "go").encode() + b'"}'
        run = (await caller.enqueue("waits", payload)).run
        await until(lambda: (a := agent.attempts.live.get(run)) and a.started, what="started")
        worker = agent.attempts.live[run].worker
        assert worker is not None
        await until(lambda: len(worker.answered) == 1, what="the checkpoint's answer")
        assert worker.handle is not None
        os.kill(int(worker.handle.id), signal.SIGKILL)
        await until(
            lambda: (a := agent.attempts.live.get(run)) and a.epoch > 1, what="the next attempt"
        )
        (tmp_path / "go").touch()
        assert (await caller.end(run)).status == "succeeded"


async def test_a_cancelled_run_is_stopped_and_ends(nats: str, database: str):
    async with whole(nats, database) as (caller, agent):
        run = (await caller.enqueue("sleeps")).run
        await until(lambda: (a := agent.attempts.live.get(run)) and a.started, what="started")
        await caller.api("cancel", {"run": run})
        assert (await caller.end(run)).status == "cancelled"
        assert run not in agent.attempts.live
