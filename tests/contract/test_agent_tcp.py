"""Containers that no unix socket reaches: TCP with a token and the agent's certificate."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import docker
import msgspec
import pytest
import pytest_asyncio
from docker.errors import APIError

from headway.wire.reports import AttemptLost, Finished, Started
from headway_engine.agent import Agent, AgentConfig
from headway_engine.agent.config import Caps, WarmConfig
from headway_engine.agent.service import AgentCannotStart
from headway_engine.agent.sockets import TcpEndpoints
from headway_engine.runtime import CannotStart, Grant, RunnerSpec
from headway_engine.runtime.docker import DockerRuntime
from headway_engine.runtime.networks import CHANNEL, Networks, is_missing
from support.agentrig import Rig, first, rigged
from support.docker import base_image, require_docker
from support.fakelink import FakeLink, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator


@pytest_asyncio.fixture
async def rig() -> AsyncGenerator[Rig]:
    async with rigged() as made:
        made.folder.chmod(0o755)
        yield made


class Containers:
    """Agents on Docker in a rig's folder, one after the other."""

    def __init__(self, rig: Rig) -> None:
        require_docker()
        self.rig = rig
        self.agents: list[Agent] = []

    async def agent(self, *, elsewhere: bool = False, **options: Any) -> Agent:
        """Start one; `elsewhere`: the daemon has another folder under our path, as on a desktop."""
        channels = str(self.rig.folder / "s" / "ch")
        config = AgentConfig(
            state_dir=str(self.rig.folder / "s"), name=f"tcp-{self.rig.folder.name[-6:].lower()}",
            warm=WarmConfig(low=0, high=0), kill_after=0.5, **options,
        )  # fmt: skip
        mapped = (channels, str(self.rig.folder / "nowhere")) if elsewhere else None
        runtime = DockerRuntime(base_image=base_image(), path_map=mapped)
        agent = Agent(config, FakeLink(self.rig.engine), runtime)
        self.agents.append(agent)
        await agent.start()
        await asyncio.wait_for(agent.ready(), 10)
        return agent

    async def result(self, task: str, payload: Any, **spec: Any) -> bytes:
        """Run one task to its end."""
        run = self.rig.engine.add(task, payload, **spec)
        done = await until(lambda: first(self.rig.engine.of(run, Finished)))
        assert isinstance(done, Finished)
        return bytes(done.result)


@pytest_asyncio.fixture
async def containers(rig: Rig) -> AsyncGenerator[Containers]:
    made = Containers(rig)
    yield made
    for agent in made.agents:
        await agent.stop(drain=False)
    left = DockerRuntime()
    for agent in made.agents:
        for handle in await left.list_all(agent.config.owner):
            await left.remove(handle)
    await left.close()


def port_of(agent: Agent) -> int:
    """Where it listens."""
    assert isinstance(agent.endpoints, TcpEndpoints)
    return agent.endpoints.port


@pytest.fixture
def closed_network() -> Iterator[str]:
    """A user's network that leads nowhere."""
    require_docker()
    client: Any = docker.APIClient(version="auto")
    made = client.create_network("headway-test-closed", driver="bridge", internal=True)
    yield "headway-test-closed"
    client.remove_network(made["Id"])
    client.close()


@pytest.mark.docker
async def test_where_no_socket_crosses_tcp_is_found_and_runs_end(containers: Containers):
    agent = await containers.agent(elsewhere=True)
    run = containers.rig.engine.add("sleeps", {})
    await until(lambda: containers.rig.engine.of(run, Started))
    worker = agent.attempts.live[run].worker
    assert worker is not None
    assert worker.endpoint is not None
    assert worker.handle is not None
    grant = worker.endpoint.grant
    assert "CERTIFICATE" in grant.certificate
    client: Any = docker.APIClient(version="auto")
    shown = client.inspect_container(worker.handle.id)
    client.close()
    assert grant.token not in json.dumps(shown), "whoever may look at containers may not speak"
    assert list(shown["NetworkSettings"]["Networks"]) == ["headway-channel"]
    assert await containers.result("add", {"a": 2, "b": 3}) == b"5"
    assert await containers.result("echoes", {"size": 300_000}) == b"300000"
    state, *_ = containers.rig.engine.blobs.values()
    assert state == b'"' + b"x" * 300_000 + b'"'


@pytest.mark.docker
async def test_a_container_that_ends_before_it_reads_its_token_is_an_ordinary_end():
    require_docker()
    runtime = DockerRuntime(base_image=base_image())
    grant = Grant(address="192.0.2.1:9", token="t", network="channel")
    spec = RunnerSpec("tcp-ends", "tcp-ends", grant, command=("-c", "raise SystemExit(3)"))
    handle = await runtime.spawn(spec)
    try:
        while (state := await runtime.inspect(handle)).running:  # noqa: ASYNC110 - Docker's word
            await asyncio.sleep(0.02)
        assert state.exit_code == 3
    finally:
        await runtime.remove(handle)
    nowhere = msgspec.structs.replace(spec, network="no-such-network")
    with pytest.raises(CannotStart, match="does not exist"):
        await runtime.spawn(nowhere)
    assert await runtime.list_all("tcp-ends") == []
    await runtime.close()


@pytest.mark.docker
async def test_networks_that_were_pruned_are_made_again_with_the_same_addresses():
    """`docker network prune` takes what no container uses; other names keep it off real ones."""
    require_docker()
    client: Any = docker.APIClient(version="auto")
    networks = Networks({CHANNEL: "headway-test-channel"})
    try:
        first_id = networks.of(client, "none", CHANNEL)
        gateway = networks.gateway(client)
        assert gateway
        client.remove_network(first_id)
        with pytest.raises(APIError) as e:
            client.inspect_network(first_id)
        assert is_missing(e.value)
        assert networks.of(client, "none", CHANNEL) == first_id, "nobody has looked"
        networks.forget()
        assert networks.of(client, "none", CHANNEL) != first_id
        assert networks.gateway(client) == gateway
        other = Networks({CHANNEL: "headway-test-channel"})
        assert other.gateway(client) == gateway
    finally:
        client.remove_network("headway-test-channel")
        client.close()


@pytest.mark.docker
async def test_none_is_a_network_without_a_way_out_and_user_code_finds_no_token(
    containers: Containers,
):
    await containers.agent(channel="tcp")
    assert json.loads(await containers.result("looks", {})) == {"stdin": "", "env": []}
    client: Any = docker.APIClient(version="auto")
    assert client.inspect_network("headway-channel")["Internal"]
    client.close()


@pytest.mark.docker
async def test_tasks_in_other_networks_reach_the_agent_too(
    closed_network: str, containers: Containers
):
    caps = Caps(networks=("none", "egress", closed_network))
    await containers.agent(channel="tcp", caps=caps)
    assert await containers.result("add", {"a": 1, "b": 1}, network="egress") == b"2"
    assert await containers.result("noop", {}, network=closed_network) == b"null"


@pytest.mark.docker
async def test_a_container_is_adopted_over_tcp_and_the_run_goes_on(containers: Containers):
    rig = containers.rig
    agent = await containers.agent(channel="tcp")
    port = port_of(agent)
    run = rig.engine.add("waits", {"path": "/app/go"})
    await until(lambda: [s.number for s in rig.engine.saves] == [1])
    await agent.stop(drain=False)
    second = await containers.agent(channel="auto")
    assert port_of(second) == port
    await until(lambda: any(w.conn for w in second.pool.workers.values()))
    (rig.folder / "src" / "go").touch()
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert (done.epoch, bytes(done.result)) == (1, b'"went on"')
    assert [s.number for s in rig.engine.saves] == [1, 2]
    assert second.pool.starts == 0


async def test_what_dials_a_channel_that_is_no_more_is_lost_and_ended(rig: Rig):
    rig.options = {"channel": "tcp"}
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    await agent.stop(drain=False)
    rig.options = {"channel": "unix"}
    second = await rig.agent()
    lost = await until(lambda: first(rig.engine.of(run, AttemptLost)))
    assert isinstance(lost, AttemptLost)
    assert await second.runtime.list_all(second.config.owner) == []


async def test_processes_are_adopted_over_tcp_at_the_same_port(rig: Rig):
    rig.options = {"channel": "tcp"}
    agent = await rig.agent()
    run = rig.engine.add("waits", {"path": str(rig.folder / "go")})
    await until(lambda: [s.number for s in rig.engine.saves] == [1])
    await agent.stop(drain=False)
    await rig.agent()
    (rig.folder / "go").touch()
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert bytes(done.result) == b'"went on"'


async def test_a_port_that_somebody_took_is_said_or_replaced(rig: Rig):
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    rig.options = {"channel": "tcp", "channel_port": port}
    with pytest.raises(AgentCannotStart, match="channel_port"):
        await rig.agent()
    rig.agents.clear()
    rig.options = {"channel": "tcp"}
    (rig.folder / "s" / "channel.json").write_text(json.dumps({"port": port}))
    agent = await rig.agent()
    assert port_of(agent) != port
    taken.close()
