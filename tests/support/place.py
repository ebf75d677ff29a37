"""A guarded server with streams, and ways for everybody to take part in it by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headway import bus
from headway.bus import Connection, jsapi
from headway.config import Settings
from headway_engine import streams
from headway_engine.config import load_config
from headway_ops.access import conf, write
from support.engines import Caller
from support.guarded import Guarded, guarded
from support.rawnats import raw
from support.scripted_agent import ScriptedAgent
from support.servers import open_folder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_engine.config import Config


@dataclass
class Place:
    """The server, and what its streams hold."""

    server: Guarded
    probe: Connection
    """The engine's own user."""

    async def state(self, stream: str) -> dict[str, Any]:
        """Of one stream; fails if it is gone."""
        info = await jsapi(self.probe, f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
        return info["state"]

    async def last(self, *names: str) -> dict[str, int]:
        """The last sequence of each: whatever was stored raises it."""
        return {name: (await self.state(name))["last_seq"] for name in names}

    def raw(self, name: str) -> Any:
        """A connection by hand, as this principal."""
        return raw(self.server.port, key=self.server.key(name), tls=self.server.tls())

    def config(self, dsn: str) -> Config:
        """An engine's, under its own users."""
        return load_config(None, {
            **self.server.environment("engine"),
            "HEADWAY_POSTGRES_DSN": dsn,
            "HEADWAY_BLOBS_KIND": "memory",
        })  # fmt: skip

    @asynccontextmanager
    async def caller(self, name: str, ns: str = "default") -> AsyncGenerator[Caller]:
        """A client by hand, as this user."""
        nc = await bus.connect(self.server.settings(name), kind="client", ident=name)
        caller = Caller(nc, ns, name)
        await caller.open()
        try:
            yield caller
        finally:
            await nc.close()

    @asynccontextmanager
    async def agent(self, name: str = "a1", ns: str = "default") -> AsyncGenerator[ScriptedAgent]:
        """An agent by hand."""
        nc = await bus.connect(self.settings(f"agent.{ns}.{name}"), kind="agent", ident=(ns, name))
        agent = ScriptedAgent(nc, name, ns)
        try:
            yield agent
        finally:
            await agent.stop()
            await nc.close()

    def settings(self, seed: str) -> Settings:
        """Of engine or agent."""
        keys, tls = self.server.wanted.folder / "keys", self.server.wanted.folder / "tls"
        return Settings(
            nats_url=f"tls://127.0.0.1:{self.server.port}",
            credentials=str(keys / f"{seed}.seed"),
            tls_ca=str(tls / "ca.pem"),
        )


@asynccontextmanager
async def guarded_place(http: str = "") -> AsyncGenerator[Place]:
    """Two namespaces with agents, programs and operators; a viewer in the first."""
    with open_folder("place") as folder:
        wanted = write.Wanted(
            folder / "nats",
            namespaces=("default", "other"),
            agents=("default/a1", "default/a2", "other/a1"),
            clients=("default/app", "other/shop"),
            viewers=("default/web",),
            operators=("default/ann", "other/bea"),
            server=conf.Server(http=http),
        )
        async with guarded(folder, wanted) as server:
            made = Place(server, Connection(""))
            made.probe = await bus.connect(made.settings("engine"), kind="engine", ident="probe")
            await streams.ensure_streams(made.probe)
            try:
                yield made
            finally:
                await made.probe.close()
