"""Rows 12 to 18 and 52 of the fault matrix: tasks that misbehave in real containers."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
import tarfile
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import docker
import psutil
import pytest
from msgspec.structs import replace

from headway.errors import RunFailed
from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import Deployment
from headway_engine.runtime.docker import DockerRuntime
from headway_ops.following import stored_logs
from support import fault_tasks as f
from support.docker import base_image, require_docker
from support.live import Live, live
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from headway.follow import RunLog

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


@asynccontextmanager
async def stacked(nats: str, database: str) -> AsyncGenerator[Live]:
    """A stack on Docker with the bad tasks deployed; no container of it is left."""
    require_docker()
    name = f"f{os.getpid()}"
    agent = {"runtime": "docker", "name": name, "slots": 8}
    runtime = DockerRuntime(base_image=base_image())
    async with live(nats, database, runtime, agent=agent, image_grace=0.5) as stack:
        shutil.copy(f.__file__, stack.folder / "src" / "fault_tasks.py")
        specs = [replace(t.spec(), module="") for t in f.all_tasks()]
        await stack.client.api(
            "deploy",
            Deployment(
                "bad", specs, modules=("fault_tasks",), source=str(stack.folder / "src"), dev=True
            ),
            dict[str, Any],
        )
        yield stack
    left = DockerRuntime()
    assert await left.list_all(f"default.{name}") == []
    await left.close()


def with_marker(marker: str) -> list[int]:
    """Processes of this host with a word on their command line; this one is none."""
    running = psutil.process_iter(["cmdline"])
    return [p.pid for p in running if marker in (p.info["cmdline"] or [])]


async def whoever_does_not_hear_sigterm_is_killed_within_its_grace(stack: Live) -> None:
    run = await stack.start(f.f_deaf)

    async def deaf() -> bool:
        return any("deaf" in log.chunk.lines for log in await stored_logs(stack.client, run.id))

    await until(deaf, 40, what="it runs", every=0.1)
    await run.cancel()
    detail = await stack.in_state(run, "cancelled")
    ends = [e for e in detail.events if e.kind == "cancelled"]
    assert [e.data["confirmed_dead"] for e in ends] == [True]


async def daemons_forks_and_floods_end_with_their_container(stack: Live) -> None:
    marker = f"headway-marker-{os.getpid()}"
    daemon, bomb, fills = await asyncio.gather(
        stack.start(f.f_daemon, marker), stack.start(f.f_bomb), stack.start(f.f_fills)
    )
    await until(lambda: with_marker(marker), 40, what="the daemon lives", every=0.05)
    assert await daemon.result(40) == marker
    await until(lambda: not with_marker(marker), 20, what="and ends with its container")

    born, code = await bomb.result(40)
    assert 0 < born < 40
    assert code == errno.EAGAIN

    written, code, full = await fills.result(60)
    assert code == full
    assert written <= 64 * 1024 * 1024
    logs: list[RunLog] = []

    async def heard_again() -> bool:
        logs[:] = await stored_logs(stack.client, fills.id)
        return "after the flood" in logs[-1].chunk.lines

    await until(heard_again, 10, what="the line after the flood", every=0.1)
    lines = [line for log in logs for line in log.chunk.lines]
    assert "from a child" in lines or any(log.missing for log in logs)
    assert sum(log.missing for log in logs) > 100_000, "what was dropped is counted"
    assert sum(map(len, lines)) < 8 * 1024 * 1024
    assert max(map(len, lines)) <= 32 * 1024
    detail = await fills.detail()
    assert detail.row.attempt == 1


async def an_image_that_cannot_start_fails_and_one_that_is_missing_waits(
    stack: Live, empty: str
) -> None:
    """No loop of starts: the first is the image's fault, the second may still come."""
    for version, image in (("empty", empty), ("missing", "sha256:" + "0" * 64)):
        spec = replace(f.f_bomb.spec(), task=f"f-{version}", module="")
        what = Deployment(version, [spec], image=image, modules=("fault_tasks",))
        await stack.client.api("deploy", what, dict[str, Any])
    bad, missing = await stack.client.submit(
        [EnqueueItem(new_run_id(), f"f-{v}") for v in ("empty", "missing")]
    )
    with pytest.raises(RunFailed) as e:
        await bad.result(40)
    assert e.value.status == "failed"
    assert "code 127" in e.value.error_message
    detail = await bad.detail()
    assert [x.kind for x in detail.events].count("starting") == 1
    waits = await stack.in_state(missing, "review")
    assert waits.row.reason == "version"
    assert "starting" not in {x.kind for x in waits.events}


@contextmanager
def empty_image() -> Generator[str]:
    """The id of an image with no program in it."""
    client: Any = docker.APIClient(version="auto")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for folder in ("tmp", "run/hw", "app", "proc", "dev", "etc"):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
    tag = f"headway-test-empty:{os.getpid()}"
    client.import_image_from_data(
        data.getvalue(), repository=tag.partition(":")[0], tag=tag.partition(":")[2]
    )
    try:
        yield str(client.inspect_image(tag)["Id"])
    finally:
        client.remove_image(tag, force=True)
        client.close()


async def test_tasks_that_misbehave_cost_their_own_container_alone(
    nats: str, database: str
) -> None:
    require_docker()
    # Made before the agent starts: it tells its images when it registers, then every 10 s.
    with empty_image() as empty:
        async with stacked(nats, database) as stack:
            await asyncio.gather(
                whoever_does_not_hear_sigterm_is_killed_within_its_grace(stack),
                daemons_forks_and_floods_end_with_their_container(stack),
                an_image_that_cannot_start_fails_and_one_that_is_missing_waits(stack, empty),
            )
