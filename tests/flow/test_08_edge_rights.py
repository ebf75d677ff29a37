"""An edge whose broker lets nobody do more than they must: runs, lists, large bodies, the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headway import bus, subjects
from headway.config import Settings
from headway.errors import NotAllowed
from headway.history import history
from headway.wire.fleet import Deployment, TaskSpec
from headway_engine.agent.config import AgentConfig
from headway_engine.config import Config, load_config
from headway_ops.access import conf, write
from headway_ops.local.ports import free_port
from headway_ops.verify import Ask, verify
from support.engines import Caller, running_agent, running_engine
from support.guarded import Guarded, guarded, headway
from support.servers import open_folder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CODE = """
from headway import checkpoint, once, resume, step, task

@task
async def long(size: int) -> int:
    seen = await resume("", type=str)
    await checkpoint("full", "x" * size)
    await step("length", len, seen)
    await once("count", len, seen)
    return size
"""


@pytest.fixture
async def place() -> AsyncGenerator[Guarded]:
    """nats-server as `headway nats config --edge` has it."""
    with open_folder("edge-rights") as folder:
        (folder / "app.py").write_text(CODE)
        server = conf.Server("box-1", http=f"127.0.0.1:{free_port()}", domain="box-1")
        wanted = write.Wanted(
            folder / "nats", agents=("a1",), clients=("app",), operators=("ann",), edge=True,
            server=server,
        )  # fmt: skip
        async with guarded(folder, wanted) as made:
            yield made


def config_of(place: Guarded, role: str, **more: str) -> Config:
    """Engine or agent under its own user."""
    return load_config(None, {**place.environment(role), **more})


async def test_engine_agent_and_people_work_at_an_edge_with_keys(place: Guarded) -> None:
    folder = place.folder
    engine = config_of(
        place, "engine", HEADWAY_EDGE_FOLDER=str(folder / "runs"), HEADWAY_BLOBS_KIND="objects"
    )
    assert engine.nats.monitor_url.startswith("http://127.0.0.1:")
    assert not engine.nats.fsynced
    agent = config_of(
        place, "a1", HEADWAY_AGENT_STATE_DIR=str(folder / "a"), HEADWAY_AGENT_RUNTIME="process"
    )
    assert isinstance(agent.agent, AgentConfig)
    tasks = [TaskSpec("long", module="app:long")]
    version = Deployment("v1", tasks, modules=("app",), source=str(folder), dev=True)
    nc = await bus.connect(place.settings("ann"), kind="client", ident="ann")
    ann = Caller(nc, user="ann")
    try:
        await ann.open()
        async with running_engine(engine), running_agent(agent):
            await ann.api("deploy", version)
            await ann.api("queue-set", {"queue": "default", "limit": 2})
            words = [
                await ann.enqueue("long", b'{"size":%d}' % size, key=f"k{size}")
                for size in (10, 300_000, 400_000)
            ]
            again = await ann.enqueue("long", b'{"size":10}', key="k10")
            assert (again.outcome, again.winner) == ("duplicate", words[0].run)
            for word in words:
                assert (await ann.end(word.run)).status == "succeeded"
            page = await ann.api("runs", {"query": "status:succeeded"})
            assert len(page["runs"]) == 3
        report = await verify(Ask(engine, settled=True, second_look=0.1))
        assert report.ok, report.explain()
        checked = {name for name, line in report.lines.items() if line.checked}
        assert {"I11", "I17", "I23"} <= checked
        assert not any(report.lines[name].skipped for name in ("I17", "I20", "I22", "I23"))
        copied = await headway(folder, "edge", "backup", "copy", **place.environment("backup"))
        assert copied.returncode == 0, copied.stderr
        assert "OBJ_headway-blobs" in copied.stderr
        assert place.violations() == []
        # Who steers runs does not write them.
        for subject in (
            subjects.run_event("default", words[0].run), "hw.key.default.x",
            f"$KV.{subjects.SETTINGS_BUCKET}.queue.default.default",
            f"$JS.API.STREAM.PURGE.{subjects.RUNS}",
        ):  # fmt: skip
            with pytest.raises(NotAllowed):
                await bus.ask(nc, subject)
    finally:
        await nc.close()


async def test_what_is_past_its_time_may_go_and_nothing_may_be_deleted(place: Guarded) -> None:
    engine = config_of(place, "engine", HEADWAY_EDGE_FOLDER=str(place.folder / "runs"))
    async with running_engine(engine):
        pass  # the streams are there
    keys, tls = place.wanted.folder / "keys", place.wanted.folder / "tls"
    nc = await bus.connect(
        Settings(
            nats_url=f"tls://127.0.0.1:{place.port}", credentials=str(keys / "engine.seed"),
            tls_ca=str(tls / "ca.pem"),
        ),
        kind="engine", ident="probe",
    )  # fmt: skip
    try:
        purge = {"filter": "hw.run.default.X.>", "seq": 2}
        done = await bus.jsapi(nc, f"STREAM.PURGE.{subjects.RUNS}", purge)
        assert done["success"]
        assert [m async for m in history(nc, subjects.RUNS, "hw.key.>")] == []
        with pytest.raises(NotAllowed):
            await bus.jsapi(nc, f"STREAM.DELETE.{subjects.RUNS}")
    finally:
        await nc.close()
