"""Engine, caller and scripted agent together on a test's servers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from headway import bus
from support.engines import calling, config_for, running_engine
from support.scripted_agent import ScriptedAgent
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.wire import rpc
    from headway.wire.fleet import TaskSpec
    from headway_engine.assembly import Engine
    from support.engines import Caller


@asynccontextmanager
async def stack(
    nats: str, dsn: str, *specs: TaskSpec, **engine: Any
) -> AsyncGenerator[tuple[Engine, Caller, ScriptedAgent]]:
    """An engine, a caller who has deployed `specs` (or `noop`), and an agent not yet started."""
    async with running_engine(config_for(nats, dsn, **engine)) as e, calling(nats) as caller:
        await caller.deploy(*specs)
        async with agent_on(nats) as agent:
            yield e, caller, agent


@asynccontextmanager
async def agent_on(nats: str, name: str = "a1", **options: Any) -> AsyncGenerator[ScriptedAgent]:
    """A scripted agent with its own connection."""
    nc = await bus.connect(
        settings_for(nats), kind="agent", ident=(options.get("ns", "default"), name)
    )
    agent = ScriptedAgent(nc, name, **options)
    try:
        yield agent
    finally:
        await agent.stop()
        await nc.close()


async def assigned(agent: ScriptedAgent, run: str, epoch: int = 1) -> rpc.Assignment:
    """What the agent was given for this run, at this epoch or a later one."""

    def given() -> bool:
        return run in agent.assignments and agent.assignments[run].epoch >= epoch

    await until(given, what=f"{run} assigned at epoch {epoch}")
    return agent.assignments[run]
