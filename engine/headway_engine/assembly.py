"""The composition root: settings in, connected services out. The only module that knows adapters.

`Engine` waits for NATS and Postgres as long as it takes, says so once a second or so, and then runs
its services until it is told to stop or one of them fails. Two connections (RELIABILITY 8.2): one
that may write to streams, and one for answers, whose user may publish on inboxes and replies alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from headway.bus import Connection, JetStreamRefused, connect
from headway.config import Settings
from headway.errors import NotReachable
from headway_engine.blobs import BlobsDown
from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.blobs.objects import ObjectBlobs
from headway_engine.broker import Broker
from headway_engine.config import BadConfig
from headway_engine.declared import Limits
from headway_engine.service import Health, Service, StoreClock, run_services
from headway_engine.store import StoreDown
from headway_engine.wiring import Parts, wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_engine.agent.service import Agent
    from headway_engine.agent.ways import Chosen
    from headway_engine.blobs import Blobs
    from headway_engine.config import Config, NatsConfig
    from headway_engine.runtime import Runtime
    from headway_engine.sites import SiteStore
    from headway_engine.store import Store

log = logging.getLogger("headway.engine")

T = TypeVar("T")

RETRY_FIRST, RETRY = 0.05, 1.0
"""Seconds between two tries to reach a server at start: at first, and later."""
LATELY = 0.9
"""Seconds, at the edge: a little less than the timers' own, so that they share one look."""
SAY_EVERY = 10.0
"""Seconds between two lines that say what is awaited."""


def nats_settings(config: NatsConfig, role: str = "") -> Settings:
    """Connection settings of the SDK's layer from our section; `role`: the engine's `answers`."""
    answers = role == "answers" and config.answers_credentials
    return Settings(
        nats_url=config.url,
        credentials=config.answers_credentials if answers else config.credentials,
        tls_ca=config.tls_ca,
        connect_timeout=2.0,
    )


def make_blobs(config: Config, nc: Connection) -> Blobs:
    """The blob store that the settings name."""
    b = config.blobs
    if b.kind == "s3":
        # boto takes half a second to import: only those who use it pay.
        from headway_engine.blobs.s3 import S3Blobs

        return S3Blobs(
            b.bucket,
            endpoint=b.endpoint,
            region=b.region,
            access_key=b.access_key,
            secret_key=b.secret_key,
            prefix=b.prefix,
            direct=b.direct,
            public_endpoint=b.public_endpoint,
        )
    if b.kind == "memory":
        return MemoryBlobs()
    return ObjectBlobs(nc, b.bucket)


def make_store(config: Config, engine: str, nc: Connection, edge: Path | None) -> Store:
    """The store that the settings name; `edge`: RUNS itself, with its projection in that folder."""
    if edge is not None:
        from headway_engine.store.edge import EdgeStore

        retention = timedelta(seconds=config.edge.retention)
        return EdgeStore(nc, edge, engine, retention=retention, lately=LATELY)
    from headway_engine.store.postgres import PostgresStore

    return PostgresStore(config.postgres.dsn, engine=engine)


def make_sites(config: Config, engine: str) -> SiteStore | None:
    """What is known of the runs of sites, if the settings name any."""
    if not config.engine.sites:
        return None
    from headway_engine.store.postgres.sites import PostgresSites

    return PostgresSites(config.postgres.dsn, engine)


async def raise_floor(dsn: str) -> int:
    """An operator knows that this database was set back; the new floor. Raises StoreDown."""
    from headway_engine.store.postgres import PostgresStore

    store = PostgresStore(dsn, engine="operator", size=1, list_size=1)
    await store.open()
    try:
        await store.raise_floor()
        return store.db.floor.epoch
    finally:
        await store.close()


async def until_reached(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    stop: asyncio.Event,
    *errors: type[Exception],
) -> T | None:
    """Try until it works, saying now and then what is awaited; None if stopped meanwhile."""
    loop = asyncio.get_running_loop()
    begun, said, tries = loop.time(), float("-inf"), 0
    while not stop.is_set():
        tries += 1
        try:
            return await attempt()
        except errors as e:
            if loop.time() - said > SAY_EVERY:
                log.warning("waits for %s: tries=%d why=%s", what, tries, e)
                said = loop.time()
        # Servers that are started beside us are there in a moment.
        pause = min(RETRY, max(RETRY_FIRST, 0.3 * (loop.time() - begun)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()
    return None


class Engine:
    """One engine: any number of them may share the same NATS and Postgres."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store | None = None,
        blobs: Blobs | None = None,
        edge: Path | None = None,
    ) -> None:
        """`store`, `blobs`: instead of those that the settings name; opened and closed here.

        `edge`: instead of `edge.folder` of the settings: where the projection lies.
        """
        self.config = config
        self.id = config.engine.id or f"{_host()}-{secrets.token_hex(4)}"
        self.health = Health(time.monotonic)
        self.clock = StoreClock()
        folder = config.edge.folder
        self._given_store, self._given_blobs = store, blobs
        self._edge = edge or (Path(folder) if folder else None)
        self.stop_event = asyncio.Event()
        self.started = asyncio.Event()
        """Set when all services run and requests are heard."""
        self.broker: Broker | None = None
        self.services: list[Service] = []

    def stop(self) -> None:
        """Drain and end `run`; idempotent, may come before it."""
        self.stop_event.set()

    def ready(self) -> bool:
        """Everything runs and the store committed or answered within the last 2 s."""
        return (
            self.started.is_set()
            and self.health.ready()
            and all(service.ready() for service in self.services)
        )

    async def run(self) -> None:
        """Until stopped; raises what ended a service (the process should then end too)."""
        work = await self._until("NATS", self._connect("work"), NotReachable)
        if work is None:
            return
        answers: Connection | None = None
        store = self._given_store or make_store(self.config, self.id, work, self._edge)
        sites = make_sites(self.config, self.id) if self._edge is None else None
        blobs: Blobs | None = None
        try:
            answers = await self._until("NATS", self._connect("answers"), NotReachable)
            mode = "server" if self._edge is None else "edge"
            limits = None if self._edge is None else Limits(runs_bytes=self.config.edge.runs_bytes)
            broker = self.broker = Broker(work, self.config.nats, mode, limits)
            facts = await self._until("streams", broker.ensure, NotReachable, JetStreamRefused)
            store_facts = await self._until("store", store.open, StoreDown)
            if sites is not None:
                await self._until("store", sites.open, StoreDown)
            blobs = place = self._given_blobs or make_blobs(self.config, work)
            opened = await self._until("blobs", lambda: _opened(place), BlobsDown)
            if answers is None or facts is None or store_facts is None or opened is None:
                return
            for problem in store_facts.problems:
                log.warning("store: %s", problem)
            self.clock.set(await store.now())
            self.health.good()
            self.services = wire(
                Parts(
                    self.id,
                    self.config.engine,
                    work,
                    answers,
                    store,
                    store_facts,
                    blobs,
                    broker,
                    self.health,
                    self.clock,
                    self.started,
                    sites,
                )
            )
            log.info(
                "engine starts: id=%s roles=%s store=%s durability=%s",
                self.id,
                ",".join(self.config.engine.roles),
                store_facts.kind,
                facts.durability,
            )
            await run_services(self.services, self.stop_event, self.config.engine.drain)
        finally:
            self.started.clear()
            for nc in (answers, work):
                if nc is not None:
                    with contextlib.suppress(Exception):  # it ends either way
                        async with asyncio.timeout(2):
                            await nc.close()
            if blobs is not None:
                await blobs.close()
            await store.close()
            if sites is not None:
                await sites.close()
            log.info("engine stopped: id=%s", self.id)

    # --- waiting for servers

    def _until(
        self, what: str, attempt: Callable[[], Awaitable[T]], *errors: type[Exception]
    ) -> Awaitable[T | None]:
        return until_reached(what, attempt, self.stop_event, *errors)

    def _connect(self, role: str) -> Callable[[], Awaitable[Connection]]:
        settings = nats_settings(self.config.nats, role)
        ident = f"{self.id}-{role}"
        return lambda: connect(settings, kind="engine", ident=ident)


class AgentProcess:
    """One agent with its connection and runtime: the agent role of a host."""

    def __init__(
        self, config: Config, *, runtime: Runtime | None = None, base_image: str = "", uid: int = 0
    ) -> None:
        """Raises BadConfig without an [agent] section.

        `runtime`: instead of the one that the settings name. `base_image`: docker, for versions
        that name no image; `uid`: process, the user of the runners if the agent is root.
        """
        if config.agent is None:
            raise BadConfig("no [agent] section: give at least agent.state_dir")
        self.config, self.agent_config = config, config.agent
        self._runtime, self._base_image, self._uid = runtime, base_image, uid
        self.stop_event = asyncio.Event()
        self.started = asyncio.Event()
        """Set when the agent has registered and takes work."""
        self.agent: Agent | None = None

    def stop(self) -> None:
        """Drain and end `run`; idempotent, may come before it."""
        self.stop_event.set()

    def ready(self) -> bool:
        """It is registered and none of its parts has failed."""
        return self.started.is_set() and self.agent is not None and not self.agent.failed.is_set()

    def _make_runtime(self) -> Runtime:
        if self._runtime is not None:
            return self._runtime
        if self.agent_config.runtime == "docker":
            from headway_engine.agent.ways import CHANNELS
            from headway_engine.runtime.docker import DockerRuntime

            outside = self.agent_config.host_channel_dir
            inside = str(Path(self.agent_config.state_dir).absolute() / CHANNELS)
            return DockerRuntime(
                base_image=self._base_image, path_map=(inside, outside) if outside else None
            )
        from headway_engine.runtime.process import ProcessRuntime

        return ProcessRuntime(Path(self.agent_config.state_dir).absolute(), uid=self._uid)

    async def run(self) -> None:
        """Until stopped, or until a part of the agent fails: that is raised."""
        from headway_engine.agent.link import NatsLink
        from headway_engine.agent.service import Agent

        c = self.agent_config
        settings = nats_settings(self.config.nats)
        nc = await until_reached(
            "NATS",
            lambda: connect(settings, kind="agent", ident=(c.ns, c.name)),
            self.stop_event,
            NotReachable,
        )
        if nc is None:
            return
        agent = self.agent = Agent(c, NatsLink(nc, c.ns, c.name), self._make_runtime())
        try:
            await agent.start()
            waits = [
                asyncio.create_task(w)
                for w in (self._registered(agent), self.stop_event.wait(), agent.failed.wait())
            ]
            await asyncio.wait(waits[1:], return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
            await asyncio.wait(waits)
            if agent.failure is not None:
                raise agent.failure
        finally:
            self.started.clear()
            await agent.stop(drain=agent.failure is None)
            with contextlib.suppress(Exception):  # it ends either way
                async with asyncio.timeout(2):
                    await nc.close()

    async def _registered(self, agent: Agent) -> None:
        await agent.ready()
        self.started.set()


async def way_of_containers(base_image: str) -> Chosen | None:
    """How containers of this image reach an agent on this host; None = there is no such image.

    For `doctor`; an agent looks by itself at its start. Raises NoWay with what was tried, and
    RuntimeUnavailable without Docker.
    """
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.ways import Chosen, choose
    from headway_engine.runtime import ImageMissing
    from headway_engine.runtime.docker import DockerRuntime

    runtime = DockerRuntime(base_image=base_image)
    try:
        await runtime.ensure_image("")
        with tempfile.TemporaryDirectory(prefix="hw") as folder:
            config = AgentConfig(state_dir=folder, open_network=True)
            return await choose(config, runtime, Path(folder), Chosen())
    except ImageMissing:
        return None
    finally:
        await runtime.close()


async def _opened(blobs: Blobs) -> bool:
    await blobs.open()
    return True


def _host() -> str:
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())
    return name[:24] or "engine"
