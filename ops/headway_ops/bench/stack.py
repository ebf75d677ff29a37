"""The bench's own stack: what `headway up` starts, on free ports and in a scratch folder.

Servers, engine and agent are processes of their own, as in production. Each is a child that gets a
death signal when the bench dies; the folder is removed at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import nats

from headway.client import default_client
from headway_ops.bench import procs
from headway_ops.check import examine, version_of
from headway_ops.deploying import docker_client, register
from headway_ops.local.ports import free_port
from headway_ops.local.stack import Plan
from headway_ops.local.stack import Stack as LocalStack
from headway_ops.local.state import StateDir
from headway_ops.say import Fail

if TYPE_CHECKING:
    from collections.abc import Generator

    from nats.aio.client import Client as Nats

    from headway.client import Client
    from headway_ops.bench.rig import Say
    from headway_ops.local.postgres import PostgresServer

TASKS_MODULE = "headway_bench_tasks"
TASKS_FILE = f"{TASKS_MODULE}.py"
LABEL = "headway.directory"
"""The label of a runner's container that says where its channel lies."""


@contextlib.contextmanager
def scratch_folder() -> Generator[Path]:
    """A folder with a short path (sockets lie in it) that another user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="hwb-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_tasks(folder: Path) -> Path:
    """Put the bench's tasks into a folder, under a module name of their own; returns the file.

    In a container the SDK is there, this package is not: the folder is mounted, as
    `headway up --tasks` does it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / TASKS_FILE
    shutil.copyfile(Path(__file__).with_name("tasks.py"), target)
    folder.chmod(0o755)
    target.chmod(0o644)
    return target


class Stack:
    """Servers, engine, agent and one client. `stop` may be called at any time, and again."""

    def __init__(self, folder: Path, runtime: str, say: Say) -> None:
        self.folder, self.runtime = folder, runtime
        self._say = say
        self._state = StateDir(folder / "state")
        self._state.open()
        self._state.path.chmod(0o711)
        plan = Plan(runtime=runtime, port=free_port())
        self.local = LocalStack(self._state, plan, say)
        self._client: Client | None = None
        self._raw: Nats | None = None

    @property
    def image(self) -> str:
        """The id of the image that the runners start from; empty with the process runtime."""
        return self.local.image.id if self.local.image is not None else ""

    @property
    def dsn(self) -> str:
        """The store's Postgres; it holds a password."""
        return self._postgres.dsn()

    @property
    def _postgres(self) -> PostgresServer:
        assert self.local.postgres is not None, "the bench's stack is no edge"
        return self.local.postgres

    @property
    def nats_client(self) -> Nats:
        """A plain connection for raw limits, not the client's own."""
        assert self._raw is not None
        return self._raw

    async def start(self) -> Client:
        """Everything up; the client is the one that the tasks' own `enqueue` uses too."""
        self._say(f"starting a stack ({self.runtime} runtime)")
        await self.local.start()
        await self.local.ready()
        os.environ.update(self.local.environment)
        self._raw = await nats.connect(self.local.nats.url)
        self._client = await default_client()
        return self._client

    async def deploy(self) -> None:
        """Register the bench's tasks from a folder of their own."""
        assert self._client is not None
        file = copy_tasks(self.folder / "tasks")
        report = await examine([str(file)], file.parent)
        if not report.ok:
            raise Fail("the bench's tasks are wrong: " + "; ".join(map(str, report.problems)))
        # Not by the local stack: it would make the agent serve the parked queue too.
        version = version_of(report, "bench")
        await register(
            self._client, report, version, image=self.image, source=report.root, dev=True
        )

    async def messages(self) -> int:
        """Messages that NATS has taken and handed out so far; 0 without its monitoring port."""
        url = self.local.nats.monitor_url
        if not url:
            return 0

        def read() -> dict[str, Any]:
            with urlopen(f"{url}/varz", timeout=5) as answer:  # noqa: S310 - our own server
                return json.load(answer)

        counts = await asyncio.to_thread(read)
        return int(counts["in_msgs"]) + int(counts["out_msgs"])

    def parts(self) -> list[procs.Part]:
        """Whose CPU and memory is looked at, by what it is."""
        local = self.local
        parts = [
            procs.Part("client", os.getpid()),
            procs.Part("nats", local.nats.pid),
            procs.Part("postgres", self._postgres.pid, descendants=True),
            procs.Part("engine", local.engine.pid),
            procs.Part("agent", local.agent.pid),
        ]
        if self.runtime == "process":
            runners = procs.Part("runners", local.agent.pid, itself=False, descendants=True)
            return [*parts, runners]
        pids = [int(c["State"]["Pid"]) for c in self._containers()]
        return parts + [procs.Part("runners", pid, descendants=True) for pid in pids if pid]

    def _containers(self) -> list[Any]:
        """Our runners' containers, inspected."""
        api, found = docker_client(), list[Any]()
        for row in api.containers(all=True, filters={"label": LABEL}):
            if str(row["Labels"].get(LABEL, "")).startswith(f"{self.folder}/"):
                with contextlib.suppress(Exception):
                    found.append(api.inspect_container(row["Id"]))
        return found

    async def pid_of(self, host: str, pid: int) -> int:
        """The process that a kill -9 must hit, from what a task sees as its host and its pid.

        Inside a container the host's name is the container's id. Raises RuntimeError for a process
        that is none of our runners.
        """
        if self.runtime == "docker":
            ours = await asyncio.to_thread(self._containers)
            pids = [int(c["State"]["Pid"]) for c in ours if str(c["Id"]).startswith(host)]
            found = [p for p in pids if p]
        else:
            found = [p for p in procs.below(self.local.agent.pid, procs.all_times()) if p == pid]
        if not found:
            raise RuntimeError(f"no runner on {host} with pid {pid}")
        return found[0]

    async def stop(self) -> None:
        """Clients, agent, engine, servers; then what is left of containers."""
        async with contextlib.AsyncExitStack() as ends:
            # Run in reverse order, each even if another one fails.
            ends.callback(self._state.close)
            if self.runtime == "docker":
                ends.push_async_callback(asyncio.to_thread, self._remove_containers)
            ends.push_async_callback(self.local.stop)
            if self._client is not None:
                ends.push_async_callback(self._client.close)
            if self._raw is not None:
                ends.push_async_callback(self._raw.close)

    def _remove_containers(self) -> None:
        api = docker_client()
        for container in self._containers():
            with contextlib.suppress(Exception):
                api.remove_container(container["Id"], force=True)
