"""The servers and roles of one machine: started together, kept alive, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import tomllib
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway import config
from headway.client import Client
from headway.errors import HeadwayError
from headway.wire.api import Info
from headway.wire.fleet import AgentRow
from headway_ops.deploying import Registered, register
from headway_ops.local.nats import NatsConfig, NatsServer
from headway_ops.local.ports import free_port
from headway_ops.local.postgres import PostgresConfig, PostgresServer
from headway_ops.local.process import ServerFailed
from headway_ops.local.roles import GivesUp, Part, Role, keep_alive
from headway_ops.quoting import for_toml
from headway_ops.say import Exit, Fail
from headway_ops.settings import SERVER_FILE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_ops.check import Report
    from headway_ops.hostimage import Image
    from headway_ops.local.state import StateDir

DEFAULT_PORT = 4222
EDGE_DOMAIN = "edge"
"""JetStream's domain of a machine that is no site of a hub."""
READY_WITHIN = 60.0
"""Seconds until engine and agent must answer."""
STARTS = 3
"""An engine or agent that had to be started so often before it was ready will not get ready."""
DRAIN = 5.0
"""Seconds that running attempts get at a stop; they go on at the next start."""
PATH_LIMIT = 60
"""Bytes of the agent's folder: sockets lie below it, and their address holds 107."""


@dataclass(slots=True)
class Plan:
    """What to start."""

    namespace: str = "default"
    runtime: str = "process"
    """docker or process."""
    port: int = 0
    """Of NATS; 0 = 4222, or a free one."""
    postgres_port: int = 0
    """0 = unix socket only."""
    slots: int = 8
    edge: bool = False
    """NATS alone, as at the edge: no Postgres."""
    queues: set[str] = field(default_factory=lambda: {"default"})

    @property
    def mode(self) -> str:
        """Server or edge: what the state directory is made for."""
        return "edge" if self.edge else "server"


def nats_port(asked: int) -> int:
    """The port that was asked for, 4222, or a free one; Fail if the asked one is taken."""
    if asked:
        if not _is_free(asked):
            raise _taken(asked)
        return asked
    return DEFAULT_PORT if _is_free(DEFAULT_PORT) else free_port()


def _taken(port: int) -> Fail:
    return Fail(f"port {port} is taken", "choose another --port, or leave it out", Exit.REFUSED)


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Stack:
    """One local installation in a state directory that is held open. Start once, stop once."""

    def __init__(self, state: StateDir, plan: Plan, tell: Callable[[str], None]) -> None:
        self.state, self.plan, self._tell = state, plan, tell
        self.nats = NatsServer(
            state.folder("nats"),
            NatsConfig(
                port=nats_port(plan.port), monitor=True, domain=EDGE_DOMAIN if plan.edge else ""
            ),
        )
        self.postgres = None if plan.edge else self._a_postgres()
        """None at the edge."""
        file, logs = state.path / SERVER_FILE, state.folder("logs")
        if plan.edge:
            grace = DRAIN + 30.0
            self.engine = Role("engine", file, logs / "engine.log", grace, "--with-agent")
            self.agent = self.engine
        else:
            self.engine = Role("engine", file, logs / "engine.log", 15.0)
            self.agent = Role("agent", file, logs / "agent.log", DRAIN + 15.0)
            """At the edge the same process as the engine."""
        self.image: Image | None = None
        """Docker: what tasks under development run in."""
        self._client: Client | None = None
        self._watchers: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()
        """Set when a part is not started any more; `failure` says which and why."""
        self.failure: GivesUp | None = None
        plan.queues |= self._queues_before()

    def _a_postgres(self) -> PostgresServer:
        port = self.plan.postgres_port
        if port and not _is_free(port):
            raise Fail(f"port {port} is taken", "choose another --postgres-port", Exit.REFUSED)
        return PostgresServer(self.state.folder("postgres"), PostgresConfig(port=port or None))

    @property
    def parts(self) -> dict[str, Part]:
        """What is kept alive, by its name, in the order in which it is shown."""
        found: dict[str, Part] = {"nats": self.nats}
        if self.postgres is not None:
            found["postgres"] = self.postgres
        found["engine"] = self.engine
        return found if self.plan.edge else {**found, "agent": self.agent}

    @property
    def agent_name(self) -> str:
        """One for each state directory: agents of one name would reap each other's containers."""
        return f"local-{sha256(os.fsencode(self.state.path)).hexdigest()[:6]}"

    @property
    def client(self) -> Client:
        """Connected once the stack has started."""
        if self._client is None:
            raise Fail("the stack does not run")
        return self._client

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client here."""
        return {
            "HEADWAY_NATS_URL": self.nats.url,
            "HEADWAY_NAMESPACE": self.plan.namespace,
        }

    async def start(self, queues: Awaitable[set[str]] | None = None) -> None:
        """Start everything at once; return when NATS stands and engine and agent are on their way.

        `queues`: more queues for the agent, which waits for them. Whoever calls this calls `stop`
        too, also if it raises.
        """
        # The password exists after this and the port is ours; before, the roles could be given
        # no settings, or would talk to somebody else's server on that port. The engine loads
        # while a new database is made.
        postgres = self.postgres
        await asyncio.gather(
            self._start_nats(), *([asyncio.to_thread(postgres.lay)] if postgres else [])
        )
        self._write_settings()

        async def agent() -> None:
            # It tells the engine which images it has when it registers.
            await self._make_image()
            if queues is not None:
                self.plan.queues |= await queues
                self._write_settings()
            await self.agent.start()

        await asyncio.gather(
            *([postgres.start()] if postgres else []),
            *([] if self.plan.edge else [self.engine.start()]),
            agent(),
        )
        self._watchers = [
            asyncio.create_task(self._keep(name, part), name=f"keep {name}")
            for name, part in self.parts.items()
        ]
        base = config.from_environment({**os.environ, **self.environment})
        self._client = await Client.open(base)
        self.state.say_where(self.nats.url, self.plan.namespace)

    async def _keep(self, name: str, part: Part) -> None:
        try:
            await keep_alive(name, part, self._tell)
        except GivesUp as e:
            self.failure = e
            self.failed.set()

    async def _start_nats(self) -> None:
        """Start NATS; on another port if somebody took the chosen one between look and start."""
        for last in (False, False, True):
            try:
                return await self.nats.start()
            except ServerFailed as e:
                if "address already in use" not in str(e):
                    raise
                if self.plan.port:
                    raise _taken(self.plan.port) from None
                if last:
                    raise
                self.nats.port = free_port()

    async def _make_image(self) -> None:
        if self.plan.runtime != "docker":
            return
        from headway_ops.deploying import docker_client
        from headway_ops.hostimage import ensure_host_base

        self.image = await asyncio.to_thread(lambda: ensure_host_base(docker_client(), self._tell))

    async def ready(self) -> Info:
        """Wait until the engine can commit and an agent is registered; Fail with the logs' ends."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_WITHIN
        pause = 0.02
        while loop.time() < deadline:
            with contextlib.suppress(HeadwayError, TimeoutError):
                async with asyncio.timeout(1.0):
                    info = await self.client.api("info", None, Info)
                    if info.store_ok:
                        agents = await self.client.api("agents", None, list[AgentRow])
                        if any(agent.alive for agent in agents):
                            return info
            for role in (self.engine, self.agent):
                if role.starts > STARTS:
                    raise Fail(f"the {role.name} ends at its start:\n{role.tail()}",
                               f"look into {self.state.path / 'logs'}")  # fmt: skip
            await asyncio.sleep(pause)
            pause = min(0.1, pause * 1.5)
        raise Fail(
            f"engine and agent are not ready after {READY_WITHIN:g} s\n"
            f"engine: {self.engine.tail()}\nagent: {self.agent.tail()}",
            f"look into {self.state.path / 'logs'}",
        )

    async def register(self, report: Report, version: str) -> Registered:
        """Register tasks under development: the agent runs them from their folder."""
        await self.serve({task.queue for task in report.tasks})
        image = self.image
        return await register(
            self.client, report, version, dev=True, source=report.root,
            image=image.id if image else "", image_tag=image.tag if image else "",
        )  # fmt: skip

    async def serve(self, queues: set[str]) -> None:
        """Make the agent take runs from these queues too; it is started again if it did not."""
        if queues <= self.plan.queues:
            return
        self.plan.queues |= queues
        self._write_settings()
        if self.agent.running:
            self._tell(f"agent: now also serves {', '.join(sorted(queues))}")
            await self.agent.stop()
            await self.agent.start()
            if self.plan.edge:
                await self.ready()

    async def stop(self) -> None:
        """Agent, engine, Postgres, NATS: what writes goes first. May be called again."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers = []
        if self._client is not None:
            await self._client.close()
            self._client = None
        await self.agent.stop()
        await self.engine.stop()
        await asyncio.gather(*(s.stop() for s in (self.postgres, self.nats) if s is not None))
        self.state.close()

    # --- settings of engine and agent

    def _agent_folder(self) -> Path:
        folder = self.state.path / "agent"
        if len(os.fsencode(folder)) > PATH_LIMIT:
            name = f"hw-{os.getuid()}-{sha256(os.fsencode(folder)).hexdigest()[:8]}"
            folder = Path(tempfile.gettempdir()) / name
        # Others may pass through to the sockets that are meant for them, and read nothing.
        folder.mkdir(mode=0o711, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise Fail(f"{folder} belongs to somebody else", "choose another --state-dir")
        return folder

    def _write_settings(self) -> None:
        plan = self.plan
        sections: dict[str, dict[str, Any]] = {
            **self._servers(),
            "agent": {
                "name": self.agent_name,
                "ns": plan.namespace,
                "state_dir": str(self._agent_folder()),
                "queues": sorted(plan.queues),
                "slots": plan.slots,
                "runtime": plan.runtime,
                "drain_timeout": DRAIN,
            },
        }
        lines = ["# Written by `headway up` at each start. It holds a password."]
        for name, values in sections.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {for_toml(value)}" for key, value in values.items()]
        path = self.state.path / SERVER_FILE
        new = path.with_suffix(".new")
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write("\n".join(lines) + "\n")
        new.replace(path)

    def _servers(self) -> dict[str, dict[str, Any]]:
        nats: dict[str, Any] = {"url": self.nats.url, "fsynced": True}
        if self.postgres is not None:
            return {"nats": nats, "postgres": {"dsn": self.postgres.dsn()}}
        # Where it is the only copy, our word is not enough: the engine looks itself.
        nats["monitor_url"] = self.nats.monitor_url
        return {"nats": nats, "edge": {"folder": str(self.state.folder("edge"))}}

    def _queues_before(self) -> set[str]:
        """Queues that the last start served: runs may still wait in them."""
        try:
            content = tomllib.loads((self.state.path / SERVER_FILE).read_text("utf-8"))
            return {str(name) for name in content["agent"]["queues"]}
        except (OSError, ValueError, KeyError, TypeError):
            return set()
