"""A run whose container is killed goes on in another one, with TCP between them and the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headway_engine.runtime.docker import DockerRuntime
from support import body_tasks as t
from support.docker import base_image, require_docker
from support.live import live
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.docker
@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_killed_container_resumes_from_its_checkpoint_over_tcp(
    nats: str, database: str, tmp_path: Path, size: int
):
    require_docker()
    runtime = DockerRuntime(base_image=base_image())
    agent = {"runtime": "docker", "channel": "tcp", "name": f"t{tmp_path.parent.name[-6:]}-{size}"}
    async with live(nats, database, runtime, agent=agent) as stack:
        run = await stack.start(t.b_grows, str(tmp_path), size)
        assert await run.result(40) == [1, 1, 1, size]
        kinds = [e.kind for e in await stack.events(run.id)]
        assert kinds.count("started") == 2
        assert "lost" in kinds

        async def none_left() -> bool:
            return not await DockerRuntime().list_all(stack.agent.config.owner)

        await until(none_left, 20, what="containers are removed", every=0.2)
