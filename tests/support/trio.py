"""Three engines on one Postgres and one NATS: what one hears, another may have to answer for."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from msgspec import Raw

from headway import bus, subjects
from headway.wire import decode, encode, rpc
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import TaskSpec
from headway.wire.reports import REPORTED, Report, Reports, Started
from headway.wire.saves import SAVED, Save, SaveCheckpoint, SaveMark, Saves
from support.databases import create_database
from support.engines import Caller, calling, config_for, running_engine
from support.proxy import Proxy
from support.scripted_agent import ScriptedAgent, digest_of
from support.servers import running_nats, settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from headway.wire.enqueue import Recorded
    from headway_engine.assembly import Engine
    from headway_ops.local.postgres import PostgresServer

LEASE = 2.0
NAMES = ("e1", "e2", "e3")


class Trio:
    """The engines by name, and what a test does to them. `e3` reaches Postgres through `link`."""

    def __init__(self, nats: str, dsn: str, link: Proxy, engines: Sequence[Engine]) -> None:
        self.nats, self.dsn, self.link = nats, dsn, link
        self.engines = dict(zip(NAMES, engines, strict=True))
        self.caller: Caller
        self._turn = cycle(NAMES)

    @asynccontextmanager
    async def agent(
        self, name: str = "", *, beats: bool = True, **options: Any
    ) -> AsyncGenerator[ScriptedAgent]:
        """A scripted agent, registered, that beats as long as the block lasts."""
        name = name or f"a-{secrets.token_hex(3)}"
        # A queue of its own: what another test left waiting takes none of its slots.
        options.setdefault("queues", (f"q-{name}",))
        nc = await bus.connect(settings_for(self.nats), kind="agent", ident=("default", name))
        try:
            agent = ScriptedAgent(nc, name, **options)
            await agent.register()
            beating = asyncio.create_task(self._beats(agent) if beats else asyncio.sleep(0))
            try:
                yield agent
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
                await agent.stop()
        finally:
            await nc.close()

    async def _beats(self, agent: ScriptedAgent) -> None:
        while True:
            with contextlib.suppress(Exception):
                await self.beat(agent)
            await asyncio.sleep(LEASE / 6)

    async def beat(self, agent: ScriptedAgent, **changes: Any) -> rpc.Beaten:
        """A beat that any engine may hear; with the full list."""
        holds = sorted(agent.held.items())
        free, shared = agent.free()
        beat = rpc.Beat(agent.name, agent.session, digest_of(holds), holds, free, shared, **changes)
        subject = subjects.rpc(agent.ns, agent.name, "beat", None)
        answer = await agent.nc.request(subject, encode(beat), timeout=1)
        return decode(rpc.BEATEN, answer.data)

    async def ask(
        self, agent: ScriptedAgent, engine: str, verb: str, body: Any, answer: Any
    ) -> Any:
        """One request of an agent to this engine."""
        subject = subjects.rpc(agent.ns, agent.name, verb, engine or next(self._turn))
        for _ in range(200):
            raw = await agent.nc.request(subject, encode(body), timeout=5)
            assert b"rpc_error" not in raw.data, raw.data
            got = decode(answer, raw.data)
            if not getattr(got, "busy", 0):
                return got
            await asyncio.sleep(0.02)
        raise AssertionError(f"{verb}: busy for ever")

    async def save(self, agent: ScriptedAgent, engine: str, *saves: Save) -> list[str]:
        """The outcomes of saves at this engine."""
        body = Saves(agent.name, agent.session, list(saves))
        return [o.outcome for o in (await self.ask(agent, engine, "save", body, SAVED)).outcomes]

    async def report(self, agent: ScriptedAgent, engine: str, *reports: Report) -> list[str]:
        """The outcomes of reports at this engine."""
        body = Reports(agent.name, agent.session, list(reports), *agent.free())
        got = await self.ask(agent, engine, "report", body, REPORTED)
        return [o.outcome for o in got.outcomes]

    async def claim(
        self, agent: ScriptedAgent, engine: str, runs: list[str], nonce: str = ""
    ) -> rpc.Claimed:
        """A claim at this engine."""
        body = rpc.Claim(agent.name, agent.session, nonce or secrets.token_hex(8), runs, 8, 64)
        got: rpc.Claimed = await self.ask(agent, engine, "claim", body, rpc.CLAIMED)
        for a in got.assignments:
            agent.held[a.run] = a.epoch
        return got

    async def running(
        self, agent: ScriptedAgent, count: int, **fields: Any
    ) -> list[rpc.Assignment]:
        """So many new runs, claimed and started by the agent; each claimed at another engine."""
        queue = agent.queues[0]
        words = [await self.caller.enqueue(queue=queue, **fields) for _ in range(count)]
        given: list[rpc.Assignment] = []
        for word in words:

            async def taken(run: str = word.run) -> bool:
                given.extend((await self.claim(agent, "", [run])).assignments)
                return bool(given) and given[-1].run == run

            await until(taken, 10, what=f"{word.run} claimed", every=0.02)
        await self.report(agent, "", *[Started(a.run, a.epoch) for a in given])
        return given

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        """A look into the database."""
        conn: Any = await asyncpg.connect(self.dsn)
        try:
            return await conn.fetch(sql, *args)
        finally:
            await conn.close()

    async def run(self, run: str) -> Any:
        """Its row."""
        return (await self.rows("SELECT * FROM runs WHERE id = $1", run))[0]

    async def kinds(self, run: str) -> list[str]:
        """Its events; their numbers have no gap."""
        rows = await self.rows("SELECT n, kind FROM events WHERE run = $1 ORDER BY n", run)
        assert [r["n"] for r in rows] == list(range(1, len(rows) + 1))
        return [r["kind"] for r in rows]

    async def deadlocks(self) -> int:
        """Deadlocks in this database so far."""
        sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return (await self.rows(sql))[0][0]


@asynccontextmanager
async def trio(server: PostgresServer, template: str, lease: float = LEASE) -> AsyncGenerator[Trio]:
    """Three engines that are ready, a caller, the task `noop` deployed."""
    dsn = await create_database(server, template)
    async with contextlib.AsyncExitStack() as stack:
        nats = await stack.enter_async_context(running_nats())
        where = urlsplit(dsn)
        place = parse_qs(where.query)
        path = f"{place['host'][0]}/.s.PGSQL.{place['port'][0]}"
        link = await stack.enter_async_context(Proxy(0, path=path))
        who = f"{where.username}:{where.password}"
        through = f"postgresql://{who}@127.0.0.1:{link.port}{where.path}?sslmode=disable"
        engines = [
            await stack.enter_async_context(
                running_engine(config_for(nats.url, at, id=name, lease=lease, beat_every=LEASE / 4))
            )
            for name, at in zip(NAMES, (dsn, dsn, through), strict=True)
        ]
        made = Trio(nats.url, dsn, link, engines)
        made.caller = await stack.enter_async_context(calling(nats.url))
        await made.caller.deploy(TaskSpec("noop", max_attempts=3, min_delay=0.05, jitter=0.0))
        yield made


def checkpoint(a: rpc.Assignment, number: int, state: bytes = b"1") -> SaveCheckpoint:
    """A save of this attempt."""
    digest = f"{number:02}{state.hex()}"
    return SaveCheckpoint(a.run, a.epoch, number, f"c{number}", digest, len(state), Raw(state))


def mark(a: rpc.Assignment, key: str, status: str = "done", kind: str = "step") -> SaveMark:
    """A step or once mark of this attempt."""
    return SaveMark(a.run, a.epoch, key, kind, "f", status, value=Raw(b"1"), size=1)  # pyright: ignore[reportArgumentType]  # words of the wire


def item(run: str, key: str, payload: bytes = b"{}", **fields: Any) -> EnqueueItem:
    """An enqueue under a key."""
    return EnqueueItem(run, "noop", Raw(payload), key=key or None, **fields)


def outcome(word: Recorded) -> tuple[str, str]:
    """What was said of an enqueue, and of which run."""
    return word.outcome, word.winner or word.run
