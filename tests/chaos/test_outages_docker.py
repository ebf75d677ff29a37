"""Fault rows 17 and 19: the Docker daemon restarts, dies, hangs; on a daemon of the test's own."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from headway.wire.reports import AttemptFailed, AttemptLost, Finished, GivenBack, Started, Stopped
from headway_engine.agent import Agent, AgentConfig, lives, service
from headway_engine.agent.config import WarmConfig
from headway_engine.runtime.docker import DockerRuntime
from support.agentrig import Rig, first, rigged
from support.dockerd import Dockerd, private_dockerd
from support.fakelink import FakeLink, until
from support.unixproxy import HoldingProxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

pytestmark = [
    pytest.mark.docker,
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    # docker-py forgets its socket when nobody answers.
    pytest.mark.filterwarnings("ignore:.*unclosed:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Generator[None]:
    """They are found here, where nobody minds, and not at the end of all tests."""
    yield
    gc.collect()


@asynccontextmanager
async def running(rig: Rig, runtime: DockerRuntime) -> AsyncGenerator[Agent]:
    """An agent on that daemon; in the end nothing of it is left there."""
    rig.folder.chmod(0o755)
    config = AgentConfig(
        state_dir=str(rig.folder / "s"), name="d", channel="unix",
        warm=WarmConfig(low=0, high=0), drain_timeout=0.2, kill_after=0.5,
    )  # fmt: skip
    agent = Agent(config, FakeLink(rig.engine), runtime)
    await agent.start()
    try:
        await asyncio.wait_for(agent.ready(), 20)
        yield agent
    finally:
        await agent.stop(drain=True)


async def nothing_unknown(agent: Agent) -> bool:
    """The daemon has the containers that the agent knows, and no other."""
    handles = await agent.runtime.list_all(agent.pool.owner)
    return {h.name for h in handles} <= set(agent.pool.workers)


@pytest.mark.parametrize("how", ["restarted", "killed"])
async def test_row_17_a_daemon_that_is_gone_degrades_its_agent_until_it_is_back(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PROBE_EVERY", 0.5)
    monkeypatch.setattr(service, "SWEEP_EVERY", 0.0)
    monkeypatch.setattr(lives, "SWEEP_AFTER", 0.0)
    async with private_dockerd() as daemon, rigged() as rig:
        runtime = DockerRuntime(daemon.url, base_image=daemon.image)
        async with running(rig, runtime) as agent:
            engine = rig.engine
            run = engine.add("counts", {"until": 2})
            await until(lambda: len(engine.saves) == 2, 60)
            registered = len(engine.registered)
            await _away(daemon, how)
            new = [engine.add("add", {"a": 1, "b": n}) for n in range(service.FAILED_STARTS)]
            await until(lambda: agent.degraded, 60)
            await until(lambda: all(engine.of(n, GivenBack) for n in new), 60)
            given = [r for n in new for r in engine.of(n, GivenBack)]
            assert {r.fault for r in given} == {"agent"}, "no try of a run is used"
            assert agent.claims.want() == 0, "it takes nothing that it cannot start"
            await daemon.start()
            await until(lambda: not agent.degraded, 60)
            # Without live-restore its containers ended: one attempt each, lost, not failed.
            ends = (AttemptLost, AttemptFailed, GivenBack, Stopped)
            told = await until(lambda: [r for e in ends for r in engine.of(run, e)], 60)
            assert [type(r) for r in told] == [AttemptLost], told
            for n in new:
                engine.again(n)
            last = engine.saves[-1]
            engine.again(
                run, checkpoint=2, checkpoint_name="n-2", state=last.state, schema=last.schema
            )
            await until(lambda: all(engine.of(r, Finished) for r in new), 60)
            await until(lambda: run in agent.attempts.live and engine.of(run, Started), 60)
            assert len(engine.registered) == registered, "it kept its session all the time"
            await settled(agent)


async def _away(daemon: Dockerd, how: str) -> None:
    if how == "killed":
        daemon.kill()
    else:
        await daemon.stop()


async def settled(agent: Agent) -> None:
    """Within a few sweeps no container is left that the agent does not know."""
    end = asyncio.get_running_loop().time() + 30
    while not await nothing_unknown(agent):
        assert asyncio.get_running_loop().time() < end, "a container is left that nobody knows"
        await asyncio.sleep(0.2)


async def test_row_19_a_create_that_hangs_gives_the_run_back_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "SWEEP_EVERY", 0.0)
    monkeypatch.setattr(lives, "SWEEP_AFTER", 15.0)
    async with (
        private_dockerd() as daemon,
        rigged() as rig,
        HoldingProxy(daemon.socket, b"/containers/create") as proxy,
    ):
        runtime = DockerRuntime(proxy.url, base_image=daemon.image, patience=10)
        async with running(rig, runtime) as agent:
            engine = rig.engine
            held = proxy.hold(1)
            run = engine.add("add", {"a": 1, "b": 2})
            await until(held.is_set, 20)
            beats = agent.leases.beats
            given: Any = await until(lambda: first(engine.of(run, GivenBack)), 60)
            assert given.fault == "agent", "no try of the run is used"
            assert agent.leases.beats > beats, "meanwhile it keeps what it has"
            engine.again(run)
            done: Any = await until(lambda: first(engine.of(run, Finished)), 60)
            assert bytes(done.result) == b"3"
            # The daemon had it in its hands: it makes the container that nobody waits for.
            proxy.release()
            await until(lambda: agent.pool.swept == 1, 60)
            await settled(agent)
