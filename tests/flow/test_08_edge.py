"""The path of a run on one nats-server and nothing else."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from headway import subjects
from headway.history import history
from headway.wire import decode, decoder, encode, rpc
from headway.wire.events import RUN_EVENTS, Event
from headway.wire.fleet import Deployment, TaskSpec
from headway_engine.agent.config import AgentConfig
from headway_engine.assembly import ALONE
from headway_engine.config import BlobsConfig, EdgeConfig
from headway_engine.door import Door
from headway_engine.presence import Beat
from headway_engine.pruner import Pruner
from headway_engine.store.edge import EdgeStore
from support.engines import calling, config_for, running_agent, running_both, running_engine
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from headway import bus
    from headway_engine.config import Config
    from headway_ops.local.nats import NatsServer

CODE = """
from __future__ import annotations
import asyncio, pathlib
from headway import checkpoint, once, resume, sleep, step, task
from headway.errors import StopRun

@task()
async def report(topic: str, folder: str) -> str:
    seen = await resume(0, type=int)
    await checkpoint("seen", seen + 1)
    text = await step("upper", str.upper, topic)
    await once("send", pathlib.Path(folder, "sent").write_text, text)
    if seen == 0:
        raise ValueError("once more")
    await sleep("0.05s")
    return text

@task()
async def patient(folder: str) -> int:
    place = pathlib.Path(folder)
    done = await resume(0, type=int)
    while done < 3:
        await checkpoint(f"turn-{done}", done)
        place.joinpath(f"at-{done}").touch()
        while not place.joinpath(f"go-{done}").exists():
            await asyncio.sleep(0.01)
        with place.joinpath("turns").open("a") as f:
            f.write(f"{done}\\n")
        done += 1
    return done

@task(isolation="shared")
async def add(x: int) -> int:
    return x + 1
"""


async def told(nc: bus.Connection, run: str) -> list[Event]:
    """What observers read of a run."""
    subject = subjects.run_event("default", run)
    found = [m async for m in history(nc, subjects.RUNS, subject)]
    return [e for m in found for e in decode(RUN_EVENTS, m.data).events]


@pytest.fixture
def config(nats: str, tmp_path: Path) -> Config:
    """Engine and agent on one nats-server; the tasks above."""
    (tmp_path / "app.py").write_text(CODE)
    return replace(
        config_for(nats, ""),
        blobs=BlobsConfig("objects"),
        agent=AgentConfig(state_dir=str(tmp_path / "s"), runtime="process"),
    )


def version(folder: Path) -> Deployment:
    """The tasks above."""
    tasks = [
        TaskSpec("report", module="app:report", max_attempts=3, min_delay=0.05),
        TaskSpec("patient", module="app:patient"),
        TaskSpec("add", module="app:add", isolation="shared"),
    ]
    return Deployment("v1", tasks, modules=("app",), source=str(folder), dev=True)


async def test_a_run_fails_once_goes_on_and_ends_on_nats_alone(
    nats: str, config: Config, tmp_path: Path, connection: bus.Connection
) -> None:
    edge = tmp_path / "edge"
    body = b'{"topic":"tides","folder":"%s"}' % str(tmp_path).encode()
    async with calling(nats) as caller:
        async with running_engine(config, edge=edge), running_agent(config):
            await caller.api("deploy", version(tmp_path))
            word = await caller.enqueue("report", body)
            end = await caller.end(word.run)
            assert (end.status, bytes(end.result)) == ("succeeded", b'"TIDES"'), end.error
            shared = await caller.enqueue("add", b'{"x":41}')
            assert bytes((await caller.end(shared.run)).result) == b"42"
            events = await told(connection, word.run)
            assert [e.n for e in events] == list(range(1, len(events) + 1))
            kinds = [e.kind for e in events]
            assert kinds.count("starting") == 2
            assert (kinds[0], kinds[-1]) == ("queued", "succeeded")
            assert kinds.count("once") == 2, "its effect did not run again"
        # The projection is gone with the machine's disk cache: the next engine makes it anew.
        shutil.rmtree(edge)
        async with running_engine(config, edge=edge), running_agent(config):
            detail = await caller.api("run", {"run": word.run})
            assert [e["n"] for e in detail["events"]] == [e.n for e in events]
            later = await caller.enqueue("add", b'{"x":1}')
            assert bytes((await caller.end(later.run)).result) == b"2"


async def test_a_run_outlives_its_engine_and_a_nats_server_that_is_killed(
    nats_server: NatsServer, config: Config, tmp_path: Path, connection: bus.Connection
) -> None:
    edge = tmp_path / "edge"

    async def turn(number: int) -> None:
        await until((tmp_path / f"at-{number}").exists)

    body = b'{"folder":"%s"}' % str(tmp_path).encode()
    async with calling(nats_server.url) as caller, AsyncExitStack() as stack:
        async with running_engine(config, edge=edge):
            await stack.enter_async_context(running_agent(config))
            await caller.api("deploy", version(tmp_path))
            word = await caller.enqueue("patient", body)
            await turn(0)
        # The engine is gone; the attempt goes on, its next checkpoint waits for another one.
        (tmp_path / "go-0").touch()
        async with running_engine(config, edge=edge):
            await turn(1)
            nats_server.kill()
            (tmp_path / "go-1").touch()
            await nats_server.start()
            await turn(2)
            (tmp_path / "go-2").touch()
            end = await caller.end(word.run)
            assert (end.status, bytes(end.result)) == ("succeeded", b"3"), end.error
    assert (tmp_path / "turns").read_text().split() == ["0", "1", "2"]
    events = await told(connection, word.run)
    assert [e.n for e in events] == list(range(1, len(events) + 1))
    assert [e.kind for e in events].count("starting") == 1


def together(config: Config, tmp_path: Path) -> Config:
    """The same settings for one process of both."""
    return replace(config, edge=EdgeConfig(folder=str(tmp_path / "edge")))


async def test_engine_and_agent_in_one_process_speak_without_nats(
    nats: str, config: Config, tmp_path: Path, connection: bus.Connection
) -> None:
    asked = await connection.subscribe("hw.rpc.>")
    await connection.flush()
    async with running_both(together(config, tmp_path)) as both, calling(nats) as caller:
        await caller.api("deploy", version(tmp_path))
        before = asked.pending_msgs  # it may have asked for its session before the door was open
        body = b'{"topic":"tides","folder":"%s"}' % str(tmp_path).encode()
        end = await caller.end((await caller.enqueue("report", body)).run)
        assert (end.status, bytes(end.result)) == ("succeeded", b'"TIDES"'), end.error
        assert asked.pending_msgs == before
        # Somebody else's word: by this way too an agent speaks for itself alone.
        beat = encode(rpc.Beat("mallory", 1, ""))
        answer = both.engine.ask("default", "a1", "beat", beat, None)
        assert answer is not None
        assert decode(decoder(rpc.RpcError), await answer).rpc_error == "forbidden"
        assert both.engine.ask("default", "a1", "beat", beat, "another") is None
    assert both.engine.ask("default", "a1", "beat", beat, None) is None, "it has stopped"


async def test_an_agent_asks_another_engine_when_the_one_beside_it_does_not_hear(
    nats: str, config: Config, tmp_path: Path, connection: bus.Connection
) -> None:
    asked = await connection.subscribe("hw.rpc.>")
    await connection.flush()
    other = running_engine(config, edge=tmp_path / "other")
    both_here = running_both(together(config, tmp_path))
    async with other, calling(nats) as caller, both_here as both:
        await caller.api("deploy", version(tmp_path))
        (door,) = [s for s in both.engine.services if isinstance(s, Door)]
        door.stopping.set()  # it drains
        await until(lambda: both.engine.ask("default", "a1", "beat", b"", None) is None)
        word = await caller.enqueue("add", b'{"x":41}')
        assert bytes((await caller.end(word.run)).result) == b"42"
        assert asked.pending_msgs > 0


async def test_an_engine_that_hears_of_another_looks_for_what_that_one_wrote(
    config: Config, tmp_path: Path, connection: bus.Connection
) -> None:
    store = EdgeStore(connection, tmp_path / "e1", "e1", lately=ALONE)
    async with running_engine(config, store=store, edge=tmp_path / "e1") as engine:
        beats = [s for s in engine.services if isinstance(s, Beat)]
        await beats[0].passed.after(1)
        assert store.lately == ALONE, "its own beat is no other engine's"
        async with running_engine(config, edge=tmp_path / "e2"):
            await until(lambda: store.lately < 1)


async def test_a_run_goes_on_when_its_engine_and_agent_end_with_a_failure(
    nats: str, config: Config, tmp_path: Path, connection: bus.Connection
) -> None:
    config = together(config, tmp_path)
    body, run = b'{"folder":"%s"}' % str(tmp_path).encode(), ""
    async with calling(nats) as caller:
        with pytest.raises(ExceptionGroup, match="unhandled"):  # noqa: PT012 - it ends by itself
            async with running_both(config) as both:
                await caller.api("deploy", version(tmp_path))
                run = (await caller.enqueue("patient", body)).run
                await until((tmp_path / "at-0").exists)
                (pruner,) = [s for s in both.engine.services if isinstance(s, Pruner)]
                pruner.once = broken  # pyright: ignore[reportAttributeAccessIssue]
                pruner.wake()
                await until(lambda: not both.agent.started.is_set())
        for number in range(3):
            (tmp_path / f"go-{number}").touch()
        async with running_both(config):
            end = await caller.end(run)
            assert (end.status, bytes(end.result)) == ("succeeded", b"3"), end.error
    events = await told(connection, run)
    assert [e.kind for e in events].count("starting") == 1, "its process went on"


async def broken() -> None:
    """What ends a service."""
    raise ValueError("broken on purpose")
