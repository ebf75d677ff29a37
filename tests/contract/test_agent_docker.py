"""The agent end to end over a link in memory: real containers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from headway.wire.reports import AttemptFailed, AttemptLost, Finished, Started, Stopped
from headway_engine.agent import Agent, AgentConfig
from headway_engine.agent.config import WarmConfig
from headway_engine.agent.service import AgentCannotStart
from headway_engine.runtime.docker import DockerRuntime
from support.agentrig import Rig, first, rigged
from support.docker import base_image, require_docker
from support.fakelink import FakeLink, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        yield made


@pytest.mark.docker
async def test_a_run_in_a_container_ends_with_its_result_and_a_kill_is_lost(rig: Rig):
    require_docker()
    rig.folder.chmod(0o755)
    config = AgentConfig(state_dir=str(rig.folder / "s"), name="d", warm=WarmConfig(low=1, high=2))
    agent = Agent(config, FakeLink(rig.engine), DockerRuntime(base_image=base_image()))
    await agent.start()
    try:
        await asyncio.wait_for(agent.ready(), 10)
        run = rig.engine.add("add", {"a": 2, "b": 3})
        done = await until(lambda: first(rig.engine.of(run, Finished)))
        assert isinstance(done, Finished)
        assert bytes(done.result) == b"5"
        await until(lambda: agent.pool.warm >= 1)
        run = rig.engine.add("counts", {"until": 2})
        started = await until(lambda: rig.engine.of(run, Started))
        assert not started[0].cold
        await until(lambda: len(rig.engine.saves) == 2)
        worker = agent.attempts.live[run].worker
        assert worker is not None
        assert worker.handle is not None
        await agent.runtime.signal(worker.handle, signal.SIGKILL)
        lost = await until(lambda: first(rig.engine.of(run, AttemptLost)))
        assert isinstance(lost, AttemptLost)
        assert "SIGKILL" in lost.why
        oom = rig.engine.add("eats", {}, memory=64 * 1024 * 1024)
        failed = await until(lambda: first(rig.engine.of(oom, AttemptFailed)))
        assert isinstance(failed, AttemptFailed)
        assert failed.cause == "oom"
        fed = rig.engine.add("feeds", {}, memory=96 * 1024 * 1024)
        done = await until(lambda: first(rig.engine.of(fed, Finished)))
        assert isinstance(done, Finished)
        assert bytes(done.result) == b"-9"
        assert "killed for memory" in done.warning
    finally:
        rig.agents = []
        await agent.stop(drain=True)
    left = DockerRuntime()
    assert await left.list_all(agent.pool.owner) == []
    await left.close()


@pytest.mark.docker
async def test_a_task_folder_that_the_container_cannot_read_is_named_with_what_to_do(rig: Rig):
    require_docker()
    source = rig.folder / "src"
    source.chmod(0o700)
    config = AgentConfig(state_dir=str(rig.folder / "s"), name="d", warm=WarmConfig(low=0, high=0))
    agent = Agent(config, FakeLink(rig.engine), DockerRuntime(base_image=base_image()))
    await agent.start()
    try:
        run = rig.engine.add("add", {"a": 2, "b": 3})
        failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    finally:
        await agent.stop(drain=True)
    assert isinstance(failed, AttemptFailed)
    assert failed.cause == "image"
    said = failed.error.message
    assert said.startswith("No module named 'hwtasks'; /app is closed for user 1000")
    assert "chmod -R o+rX" in said
    assert f"/app is {source} on the host" in said


@pytest.mark.docker
async def test_an_agent_whose_sockets_no_container_reaches_says_so_and_does_not_start(rig: Rig):
    require_docker()
    rig.folder.chmod(0o755)
    config = AgentConfig(state_dir=str(rig.folder / "s"), name="d", channel="unix")
    elsewhere = rig.folder / "elsewhere"
    mapped = (str(rig.folder / "s" / "ch"), str(elsewhere))
    runtime = DockerRuntime(base_image=base_image(), path_map=mapped)
    agent = Agent(config, FakeLink(rig.engine), runtime)
    with pytest.raises(AgentCannotStart, match=r"host_channel_dir") as e:
        await agent.start()
    assert "could not connect" in str(e.value)
    await agent.stop()
    channels = rig.folder / "s" / "ch"
    assert not list(channels.iterdir()), "the probe left nothing"
    (rig.folder / "alias").symlink_to(channels)
    right = DockerRuntime(
        base_image=base_image(), path_map=(str(channels), str(rig.folder / "alias"))
    )
    assert await right.reach(channels) == ""
    await right.close()
    gone = DockerRuntime(base_image="sha256:" + "0" * 64)
    assert await gone.reach(channels) == "", "no image, no word on sockets"
    await gone.close()


@pytest.mark.docker
async def test_a_paused_container_is_waited_for_and_a_cancel_ends_it(rig: Rig):
    """Fault row 11: the agent lives and its process lives, so nothing is lost by the silence."""
    require_docker()
    rig.folder.chmod(0o755)
    rig.engine.lease, rig.engine.beat_every = 1.5, 0.4
    config = AgentConfig(state_dir=str(rig.folder / "s"), name="d", kill_after=0.5)
    agent = Agent(config, FakeLink(rig.engine), DockerRuntime(base_image=base_image()))
    await agent.start()
    try:
        await asyncio.wait_for(agent.ready(), 10)
        run = rig.engine.add("counts", {"until": 1}, grace=0.3)
        await until(lambda: len(rig.engine.saves) == 1)
        worker = agent.attempts.live[run].worker
        assert worker is not None
        assert worker.handle is not None
        await asyncio.to_thread(
            subprocess.run, ["docker", "pause", worker.handle.id], check=True, capture_output=True
        )
        beats = agent.leases.beats
        # Longer than the lease: it goes on, for the agent beats.
        await until(lambda: agent.leases.beats > beats + 5, 20)
        assert run in agent.attempts.live
        assert not rig.engine.of(run, AttemptLost)
        rig.engine.stop = [(run, 1, "cancel")]
        stopped = await until(lambda: first(rig.engine.of(run, Stopped)), 20)
        assert stopped == Stopped(run, 1, "cancel")
        assert worker.gone
    finally:
        rig.agents = []
        await agent.stop(drain=True)
