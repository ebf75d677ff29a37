"""The composition root of an engine: settings in, connected services out. It knows the adapters.

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
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from headway import subjects
from headway.bus import Connection, JetStreamRefused, connect
from headway.errors import NotReachable
from headway_engine.blobs import BlobsDown
from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.blobs.objects import ObjectBlobs
from headway_engine.broker import Broker
from headway_engine.declared import Limits
from headway_engine.door import Door
from headway_engine.reaching import nats_settings, until_reached
from headway_engine.service import Health, Service, StoreClock, run_services
from headway_engine.store import StoreDown
from headway_engine.wiring import Parts, wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_engine.blobs import Blobs
    from headway_engine.config import Config
    from headway_engine.sites import SiteStore
    from headway_engine.store import Store

log = logging.getLogger("headway.engine")

T = TypeVar("T")

ALONE = 5.0
"""Seconds, at the edge: what another engine wrote while none was heard may stay unseen so long."""


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
    c = config.engine
    retention = timedelta(seconds=c.retention)
    if edge is not None:
        from headway_engine.store.edge import EdgeStore

        return EdgeStore(
            nc, edge, engine, retention=retention, lately=ALONE, holds=bool(c.site) and c.ship
        )
    from headway_engine.store.postgres import PostgresStore

    return PostgresStore(config.postgres.dsn, engine=engine, retention=retention)


BODY_PATIENCE = 4.0
"""Seconds for one answer of a site's blob store, over the link."""


def make_bodies(nc: Connection, site: str) -> Blobs:
    """The large bodies of a site's runs, read over the link: an edge has them in its JetStream."""
    api = subjects.site_api(site)
    return ObjectBlobs(nc, subjects.BLOBS_BUCKET, timeout=BODY_PATIENCE, api=api)


def make_sites(config: Config, engine: str) -> SiteStore | None:
    """What is known of the runs of sites, if the settings name any."""
    if not config.engine.sites:
        return None
    from headway_engine.store.postgres.sites import PostgresSites

    retention = timedelta(seconds=config.engine.retention)
    return PostgresSites(config.postgres.dsn, engine, retention)


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
        self._door: Door | None = None

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

    def ask(
        self, ns: str, agent: str, verb: str, body: bytes, engine: str | None
    ) -> asyncio.Future[bytes] | None:
        """See `agent.port.Near`."""
        if self._door is None:
            return None
        return self._door.ask(ns, agent, verb, body, engine)

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
                    partial(make_bodies, work),
                    self._company(store),
                )
            )
            self._door = next((s for s in self.services if isinstance(s, Door)), None)
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

    def _company(self, store: Store) -> Callable[[], object]:
        """What is to be called when another engine was heard."""
        if self._edge is not None:
            from headway_engine.store.edge import EdgeStore

            if isinstance(store, EdgeStore):
                return store.in_company
        return lambda: None

    # --- waiting for servers

    def _until(
        self, what: str, attempt: Callable[[], Awaitable[T]], *errors: type[Exception]
    ) -> Awaitable[T | None]:
        return until_reached(what, attempt, self.stop_event, *errors)

    def _connect(self, role: str) -> Callable[[], Awaitable[Connection]]:
        settings = nats_settings(self.config.nats, role)
        ident = f"{self.id}-{role}"
        return lambda: connect(settings, kind="engine", ident=ident)


async def _opened(blobs: Blobs) -> bool:
    await blobs.open()
    return True


def _host() -> str:
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())
    return name[:24] or "engine"
