"""The path of a run on one nats-server and nothing else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway import subjects
from headway.history import history
from headway.wire import decode
from headway.wire.events import RUN_EVENTS, Event
from headway.wire.fleet import Deployment, TaskSpec
from headway_engine.agent.config import AgentConfig
from headway_engine.config import BlobsConfig
from support.engines import calling, config_for, running_agent, running_engine

if TYPE_CHECKING:
    from pathlib import Path

    from headway import bus

CODE = """
from __future__ import annotations
import pathlib
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

@task(isolation="shared")
async def add(x: int) -> int:
    return x + 1
"""


async def told(nc: bus.Connection, run: str) -> list[Event]:
    """What observers read of a run."""
    subject = subjects.run_event("default", run)
    found = [m async for m in history(nc, subjects.RUNS, subject)]
    return [e for m in found for e in decode(RUN_EVENTS, m.data).events]


async def test_a_run_fails_once_goes_on_and_ends_on_nats_alone(
    nats: str, tmp_path: Path, connection: bus.Connection
) -> None:
    (tmp_path / "app.py").write_text(CODE)
    edge, state = tmp_path / "edge", str(tmp_path / "s")
    config = replace(
        config_for(nats, ""),
        blobs=BlobsConfig("objects"),
        agent=AgentConfig(state_dir=state, runtime="process"),
    )
    tasks = [
        TaskSpec("report", module="app:report", max_attempts=3, min_delay=0.05),
        TaskSpec("add", module="app:add", isolation="shared"),
    ]
    version = Deployment("v1", tasks, modules=("app",), source=str(tmp_path), dev=True)
    body = b'{"topic":"tides","folder":"%s"}' % str(tmp_path).encode()
    async with calling(nats) as caller:
        async with running_engine(config, edge=edge), running_agent(config):
            await caller.api("deploy", version)
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
