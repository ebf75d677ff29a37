"""A hub that was down: how soon it knows what its site did meanwhile, and whether all of it, once.

Site and hub are nats-servers of their own with fsync, the hub's engine is a process, Postgres too.
The runs have all their events, and are made by the site's own store as fast as it takes them: what
a hub has to catch up on is messages, however long they took to come about.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
from msgspec import Raw

from headway import bus, subjects
from headway_engine.happenings import Finished, Started
from headway_engine.store.edge import EdgeStore
from headway_ops.local.postgres import PostgresConfig
from headway_ops.local.process import Process
from support.databases import create_database
from support.factories import NS, a_checkpoint, an_agent, an_enqueue
from support.islands import Island, islands
from support.servers import running_postgres
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    Say = Callable[[str], None]

SITE, AGENT = "berlin", "crowd"
CHUNK = 200
"""Runs that are moved together at the site."""
LEASE = 3600.0


class CaughtUp(NamedTuple):
    """What became of it."""

    runs: int
    """That ended well, as the hub knows it; those from before the outage too."""
    messages: int
    """In the site's RUNS."""
    seconds: float
    """From the start of the hub's server and engine until all is in its Postgres."""
    missing: int
    """Events of the site that the hub lacks."""
    double: int
    """Rows beyond one for each event of the site."""


async def hub_down(runs: int, say: Say) -> CaughtUp:
    """The hub is killed, the site makes so many runs, the hub starts again."""
    async with running_postgres(PostgresConfig(fsync=True)) as server, islands(SITE) as found:
        site, hub = found[SITE], found.hub
        dsn = await create_database(server)
        async with hub_engine(hub.url, dsn, hub.directory):
            session = await crowd(site)
            await made(site, session, CHUNK)
            await known(dsn, await last_of(site), 60)
        hub.kill()
        begun = time.monotonic()
        for _ in range(0, runs, CHUNK):
            await made(site, session, CHUNK)
        say(f"{runs:,} runs at the site in {time.monotonic() - begun:.0f} s, its hub is down")
        last, begun = await last_of(site), time.monotonic()
        await hub.start()
        async with hub_engine(hub.url, dsn, hub.directory):
            await known(dsn, last, 300)
            seconds = time.monotonic() - begun
        return await compared(dsn, site, seconds)


@asynccontextmanager
async def hub_engine(url: str, dsn: str, folder: Path) -> AsyncGenerator[None]:
    """The engine of the hub, as a process of its own."""
    process = Process("engine", folder / "engine.log")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
    env |= {
        "HEADWAY_NATS_URL": url,
        "HEADWAY_NATS_FSYNCED": "true",
        "HEADWAY_POSTGRES_DSN": dsn,
        "HEADWAY_ENGINE_SITES": SITE,
    }
    process.spawn([sys.executable, "-m", "headway_ops", "engine"], env=env)
    try:
        yield
    finally:
        await process.stop()


async def crowd(site: Island) -> int:
    """An agent of the site with slots for a chunk; its session."""
    agent = an_agent(AGENT, slots=CHUNK)
    session, _, _ = await site.kit.store.register(NS, agent, LEASE)
    return session


async def made(site: Island, session: int, count: int) -> None:
    """Runs from enqueue to their end, each with a checkpoint."""
    store = site.kit.store
    runs = [run.id for run in await site.kit.enqueued(*(an_enqueue() for _ in range(count)))]
    await store.dispatch(NS, "default", count, count)
    answer = await store.claim(NS, AGENT, session, runs[0], runs, None)
    claimed = [one.run for one in answer.claimed]
    assert len(claimed) == count, answer
    await store.commit([(run.id, Started(run.epoch)) for run in claimed])
    await store.save([a_checkpoint(run, 1) for run in claimed])
    await store.commit([(run.id, Finished(run.epoch, Raw(b'"done"'), size=6)) for run in claimed])


async def known(dsn: str, last: int, within: float) -> None:
    """Return when the hub's Postgres has all of the site's RUNS up to there."""
    conn: Any = await asyncpg.connect(dsn)

    async def look() -> bool:
        try:
            seq = await conn.fetchval("SELECT seq FROM headway_sites.site_positions")
        except asyncpg.UndefinedTableError:
            return False  # its engine has not made the tables yet
        return seq == last

    try:
        await until(look, within, what="the hub knows all", every=0.05)
    finally:
        await conn.close()


def _store(site: Island) -> EdgeStore:
    assert isinstance(site.kit.store, EdgeStore)
    return site.kit.store


async def last_of(site: Island) -> int:
    """The last sequence of the site's RUNS."""
    info = await bus.jsapi(_store(site).nc, f"STREAM.INFO.{subjects.RUNS}")
    return int(info["state"]["last_seq"])


async def compared(dsn: str, site: Island, seconds: float) -> CaughtUp:
    """Event by event."""
    store = _store(site)
    await store.now()
    told: list[tuple[str, int]] = store.db.execute("SELECT run, n FROM events").fetchall()
    theirs = Counter(told)
    conn: Any = await asyncpg.connect(dsn)
    try:
        rows = await conn.fetch("SELECT run, n FROM headway_sites.events")
        ended = await conn.fetchval(
            "SELECT count(*) FROM headway_sites.runs WHERE state = 'SUCCEEDED'"
        )
    finally:
        await conn.close()
    ours = Counter((str(row["run"]), int(row["n"])) for row in rows)
    return CaughtUp(
        int(ended), await last_of(site), seconds, (theirs - ours).total(), (ours - theirs).total()
    )
