"""Engine and agent as `assembly` makes them: a real runner executes real code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from headway.wire.fleet import Deployment, TaskSpec
from headway_engine.agent.config import AgentConfig
from headway_engine.assembly_agent import AgentProcess
from headway_engine.config import BadConfig, Config
from support.engines import calling, config_for, running_agent, running_engine

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
from __future__ import annotations
from headway import checkpoint, resume, step, task

@task()
async def greet(name: str) -> str:
    seen = await resume(0, type=int)
    await checkpoint("seen", seen + 1)
    return await step("upper", str.upper, name)

@task(isolation="shared")
async def add(x: int) -> int:
    return x + 1
"""


async def test_a_run_executes_in_a_runner_and_its_state_is_kept(
    nats: str, database: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(CODE)
    state = str(tmp_path / "s")
    config = replace(
        config_for(nats, database), agent=AgentConfig(state_dir=state, runtime="process")
    )
    async with running_engine(config), calling(nats) as caller, running_agent(config) as agent:
        tasks = [
            TaskSpec("greet", module="app:greet"),
            TaskSpec("add", module="app:add", isolation="shared"),
        ]
        await caller.api(
            "deploy", Deployment("v1", tasks, modules=("app",), source=str(tmp_path), dev=True)
        )
        word = await caller.enqueue("greet", b'{"name":"bo"}')
        assert bytes((await caller.end(word.run)).result) == b'"BO"'
        saved = await caller.api("state", {"run": word.run})
        assert (saved["row"]["name"], saved["state"]) == ("seen", 1)
        shared = await caller.enqueue("add", b'{"x":41}')
        assert bytes((await caller.end(shared.run)).result) == b"42"
        assert agent.ready()


def test_an_agent_needs_its_section() -> None:
    with pytest.raises(BadConfig, match="state_dir"):
        AgentProcess(Config())
