"""A whole installation as real processes, each with a name by which it is killed and comes back.

NATS (every enqueue fsynced), Postgres (none at the edge), some engines, some agents. What is killed
is started again after the time that the fault says; what ends by itself is started again at once
and noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from chaos.kit import tasks
from headway.client import Client
from headway.config import Settings
from headway.errors import HeadwayError
from headway.wire.fleet import AgentRow
from headway_ops.chaos.runners import Runner, container_runners, process_runners
from headway_ops.check import examine, version_of
from headway_ops.deploying import register
from headway_ops.local.nats import NatsConfig, NatsServer
from headway_ops.local.postgres import PostgresConfig, PostgresServer
from headway_ops.local.process import ServerFailed
from headway_ops.local.roles import Role
from headway_ops.local.stack import EDGE_DOMAIN
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headway_ops.local.roles import Part

WATCH = 0.1
NS = "default"


def lay_tasks(folder: Path) -> Path:
    """The tasks of chaos tests in a folder of their own; returns the file."""
    folder.mkdir(mode=0o755)
    file = folder / "chaos_tasks.py"
    shutil.copyfile(tasks.__file__, file)
    file.chmod(0o644)
    return file


class Stack:
    """Start once, stop once. Names: `nats`, `postgres`, `engine-1` ..., `agent-1` ..."""

    def __init__(
        self,
        folder: Path,
        *,
        runtime: str = "process",
        engines: int = 2,
        agents: int = 2,
        lease: float = 2.0,
        slots: int = 6,
        shared_slots: int = 40,
        edge: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.folder, self.runtime, self.lease, self.say = folder, runtime, lease, say
        self._slots, self._shared_slots = slots, shared_slots
        self.edge = edge
        self.nats = NatsServer(
            folder / "nats", NatsConfig(monitor=True, domain=EDGE_DOMAIN if edge else "")
        )
        self._postgres = None if edge else PostgresServer(folder / "pg", PostgresConfig())
        self.engines = [f"engine-{i + 1}" for i in range(engines)]
        self.agents = [f"agent-{i + 1}" for i in range(agents)]
        self.parts: dict[str, Part] = {"nats": self.nats}
        if self._postgres is not None:
            self.parts["postgres"] = self._postgres
        for name in (*self.engines, *self.agents):
            role, grace = name.split("-")[0], 15.0
            self.parts[name] = Role(role, folder / f"{name}.toml", folder / f"{name}.log", grace)
        self.ended: list[str] = []
        """What ended without being killed by us, with its last lines."""
        self._away: dict[str, float] = {}
        """Killed on purpose: the loop time at which each comes back."""
        self._watchers: list[asyncio.Task[None]] = []
        self._image: Any = None
        self._runners: dict[str, int] = {}
        self._mark = secrets.token_hex(3)

    @property
    def postgres(self) -> PostgresServer:
        """Its Postgres; an edge has none."""
        assert self._postgres is not None, "an edge has no Postgres"
        return self._postgres

    # --- start and stop

    async def start(self) -> None:
        """Everything up and ready; whoever calls this calls `stop` too, also if it raises."""
        postgres = self._postgres
        await asyncio.gather(
            self.nats.start(), *([asyncio.to_thread(postgres.lay)] if postgres else [])
        )
        if postgres is not None:
            await postgres.start()
        if self.runtime == "docker":
            from headway_ops.deploying import docker_client
            from headway_ops.hostimage import ensure_host_base

            self._image = await asyncio.to_thread(
                lambda: ensure_host_base(docker_client(), self.say)
            )
        for name in (*self.engines, *self.agents):
            self._write_settings(name)
        await asyncio.gather(*(self.parts[n].start() for n in (*self.engines, *self.agents)))
        self._watchers = [asyncio.create_task(self._keep(name)) for name in self.parts]
        async with await self.client() as client:
            await until(lambda: self.is_up(client), 60, what="the stack is up", every=0.1)

    async def is_up(self, client: Client) -> bool:
        """An engine answers, and all agents have live leases."""
        with contextlib.suppress(HeadwayError):
            rows = await client.api("agents", None, list[AgentRow])
            return sum(row.alive for row in rows) == len(self.agents)
        return False

    async def stop(self) -> None:
        """Agents, engines, servers; then the runners that a dead agent left."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        servers = [name for name in self.parts if name not in {*self.agents, *self.engines}]
        for names in (self.agents, self.engines, servers):
            await asyncio.gather(*(self.parts[n].stop() for n in names))

    def _write_settings(self, name: str) -> None:
        sections: dict[str, dict[str, Any]] = {
            "nats": {"url": self.nats.url, "monitor_url": self.nats.monitor_url, "fsynced": True},
        }
        if not self.edge:
            sections["postgres"] = {"dsn": self.postgres.dsn()}
        elif name in self.engines:
            sections["edge"] = {"folder": str(self.folder / f"{name}-runs")}
        if name in self.engines:
            sections["engine"] = {"lease": self.lease, "beat_every": round(self.lease / 3.5, 2)}
        else:
            sections["agent"] = {
                "name": self._agent_id(name),
                "state_dir": str(self.agent_folder(name)),
                "slots": self._slots,
                "shared_slots": self._shared_slots,
                "runtime": self.runtime,
                "drain_timeout": 2.0,
                # An engine that stands still is given up soon: what it has committed is said again.
                "rpc_timeout": 1.0,
            }
            self.agent_folder(name).mkdir(mode=0o711, exist_ok=True)
        lines: list[str] = []
        for section, values in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (self.folder / f"{name}.toml").write_text("\n".join(lines) + "\n")

    def _agent_id(self, name: str) -> str:
        """Its name in NATS and Docker: another stack on this machine must have others."""
        return f"{name}-{self._mark}"

    def agent_folder(self, name: str) -> Path:
        """Its journal, sockets and runners' records; a short path."""
        return self.folder / name.replace("agent-", "a")

    async def deploy(self, file: Path) -> None:
        """Register the tasks of a file; it may be repeated."""
        report = await examine([str(file)], file.parent)
        assert report.ok, report.problems
        async with await self.client() as client:
            image = self._image
            await register(
                client, report, version_of(report, "chaos"), dev=True, source=report.root,
                image=image.id if image else "", image_tag=image.tag if image else "",
            )  # fmt: skip

    async def client(self, user: str = "storm", timeout: float = 3.0) -> Client:  # noqa: ASYNC109
        """A client of its own."""
        return await Client.open(
            Settings(nats_url=self.nats.url, user=user, request_timeout=timeout)
        )

    # --- who can be hit (headway_ops.chaos.killer.Victims)

    def names(self, kind: str) -> list[str]:
        """Live ones of the kind."""
        match kind:
            case "engine" | "agent":
                group = self.engines if kind == "engine" else self.agents
                return [n for n in group if self.parts[n].running]
            case "task":
                self._runners = {r.name: r.pid for r in self.runners()}
                return list(self._runners)
            case _:
                part = self.parts.get(kind)
                return [kind] if part is not None and part.running else []

    def pid(self, name: str) -> int:
        """The process behind a name."""
        part = self.parts.get(name)
        return part.pid if part is not None else self._runners.get(name, 0)

    async def kill(self, name: str, away: float) -> None:
        """SIGKILL; it comes back after `away` seconds (a runner does not)."""
        part: Any = self.parts.get(name)
        if part is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._runners[name], signal.SIGKILL)
            return
        self._away[name] = asyncio.get_running_loop().time() + away
        await asyncio.to_thread(part.kill)

    def runners(self) -> list[Runner]:
        """The task processes, or containers, of all agents."""
        return [r for agent in self.agents for r in self.runners_of(agent)]

    def runners_of(self, agent: str, *, ended: bool = False) -> list[Runner]:
        """Those of one agent; with `ended` also containers that were not removed."""
        if self.runtime == "docker":
            return container_runners(f"{NS}.{self._agent_id(agent)}", ended=ended)
        return process_runners(self.agent_folder(agent))

    def heal(self) -> None:
        """What is away comes back now."""
        self._away = dict.fromkeys(self._away, 0.0)

    async def _keep(self, name: str) -> None:
        part, loop = self.parts[name], asyncio.get_running_loop()
        while True:
            await asyncio.sleep(WATCH)
            if part.running:
                continue
            if name not in self._away:  # said once, then started again
                self._away[name] = loop.time() + 0.3
                tail = self.tail(name)
                self.ended.append(f"{time.strftime('%H:%M:%S')} {name} ended by itself:\n{tail}")
                self.say(f"{name} ended by itself")
            if loop.time() < self._away.get(name, 0.0):
                continue
            self._away.pop(name, None)
            try:
                await part.start()
            except ServerFailed as e:
                # A Postgres whose old backends have not seen yet that their master is gone.
                self.say(f"{name} does not start yet: {str(e).splitlines()[-1][:160]}")
                self._away[name] = loop.time() + 0.5

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a log."""
        try:
            text = (self.folder / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
