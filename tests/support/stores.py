"""A store under test with its clock, other engines on the same rows, and the usual first steps."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from headway.bus import connect
from headway.states import RunState
from headway.wire import ErrorInfo
from headway_engine.clock import ManualClock
from headway_engine.happenings import Cancel, Failed, Happening, Lost, Started, Suspended
from headway_engine.store.edge import EdgeStore
from headway_engine.store.memory import MemoryStore
from headway_engine.store.postgres import PostgresStore
from headway_engine.streams import ensure_streams
from support.factories import EPOCH, NS, a_deployment, an_agent, an_enqueue
from support.servers import settings_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headway.bus import Connection
    from headway_engine.store import Store
    from headway_engine.store.records import Claimed, NewRun, Outcome, Run
    from headway_ops.local.nats import NatsServer

CLOCK = """
CREATE TABLE IF NOT EXISTS test_clock (at timestamptz NOT NULL);
DELETE FROM test_clock;
INSERT INTO test_clock VALUES ('2026-01-01T00:00:00Z');
CREATE OR REPLACE FUNCTION hw_now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT at FROM test_clock';
UPDATE liveness SET since = hw_now(), last = hw_now();
"""
LEASE = 15.0


class Kit:
    """One store; `engine(name)` is another engine on the same rows."""

    store: Store

    async def start(self) -> None:
        """Open the store."""
        raise RuntimeError

    async def engine(self, name: str) -> Store:
        """One more engine."""
        raise RuntimeError

    async def advance(self, seconds: float) -> datetime:
        """Move the store's clock on."""
        raise RuntimeError

    async def stop(self) -> None:
        """Close all stores."""
        raise RuntimeError

    # --- first steps

    async def ready(self, agent: str = "a1", **spec: Any) -> int:
        """A deployed task and a live agent; its session."""
        await self.store.deploy(NS, a_deployment(**spec))
        session, _, _ = await self.store.register(NS, an_agent(agent), LEASE)
        return session

    async def enqueued(self, *items: NewRun) -> list[Run]:
        """Recorded runs, not dispatched."""
        outcomes, _ = await self.store.enqueue(NS, list(items), {})
        found: list[Run] = []
        for outcome in outcomes:
            assert outcome.outcome == "recorded", outcome
            assert outcome.record is not None
            found.append(outcome.record)
        return found

    async def claimed(
        self, run: str, session: int, agent: str = "a1", nonce: str = "n1"
    ) -> Claimed:
        """Dispatch what waits and claim this run."""
        await self.store.dispatch(NS, "default", 100, 100)
        answer = await self.store.claim(NS, agent, session, nonce, [run], None)
        assert not answer.refused, answer.refused
        return answer.claimed[0]

    async def attempt(self, session: int, **fields: Any) -> Run:
        """A run whose attempt is STARTING."""
        (run,) = await self.enqueued(an_enqueue(**fields))
        return (await self.claimed(run.id, session)).run

    async def move(self, run: str, *happenings: Happening) -> list[Outcome]:
        """Commit happenings of one run."""
        return await self.store.commit([(run, h) for h in happenings])

    async def record(self, run: str) -> Run:
        """The run's record."""
        found = await self.store.get(NS, run)
        assert found is not None
        return found

    async def numbers(self, run: str) -> list[int]:
        """Its event numbers."""
        return [e.n for e in await self.store.events(NS, run, 0, 1000)]

    async def in_state(self, state: RunState, session: int, **fields: Any) -> Run:
        """A run that was driven to `state` (not one of the ends)."""
        due = self.now() if state is RunState.DELAYED else None
        if due is not None:
            fields["due_at"] = datetime.fromtimestamp(due.timestamp() + 60, tz=due.tzinfo)
        (run,) = await self.enqueued(an_enqueue(**fields))
        if state in (RunState.DELAYED, RunState.QUEUED):
            return run
        run = (await self.claimed(run.id, session)).run
        if state is RunState.STARTING:
            return run
        await self.move(run.id, Started(run.epoch))
        error = ErrorInfo("ValueError", "no")
        steps: dict[RunState, Sequence[Happening]] = {
            RunState.RUNNING: (),
            RunState.WAITING: (Suspended(run.epoch, "nap", "sleep", seconds=60),),
            RunState.RETRYING: (Failed(run.epoch, "error", error),),
            RunState.REVIEW: (Failed(run.epoch, "state", error),),
            RunState.CANCELLING: (Cancel("user:me", "enough"),),
            RunState.FAILED: (Failed(run.epoch, "stop", error, retry=False),),
            RunState.CANCELLED: (Cancel("user:me"), Lost(run.epoch, "gone")),
        }
        await self.move(run.id, *steps[state])
        found = await self.record(run.id)
        assert found.state is state
        return found

    def now(self) -> datetime:
        """The time of the store's clock."""
        raise RuntimeError


class MemoryKit(Kit):
    """The reference."""

    def __init__(self) -> None:
        self.clock = ManualClock(EPOCH)
        self.memory = MemoryStore("e1", self.clock)
        self.store: Store = self.memory

    async def start(self) -> None:
        """Open the store."""
        await self.store.open()

    async def engine(self, name: str) -> Store:
        """One more engine."""
        return MemoryStore(name, self.clock, self.memory.tables)

    async def advance(self, seconds: float) -> datetime:
        """Move the clock on."""
        return self.clock.advance(seconds)

    async def stop(self) -> None:
        """Nothing to close."""

    def now(self) -> datetime:
        """The time."""
        return self.clock.now()


class PostgresKit(Kit):
    """The real one, on a clock that stands still until it is moved."""

    def __init__(self, dsn: str, *, short: bool = True) -> None:
        self.dsn = dsn
        self.clock = ManualClock(EPOCH)
        self.postgres = PostgresStore(dsn, "e1", size=4, list_size=1, short=short)
        self.store: Store = self.postgres
        self._others: list[PostgresStore] = []

    async def start(self) -> None:
        """Migrate, put the test's clock in, open."""
        await self.store.open()
        await self.execute(CLOCK)

    async def execute(self, sql: str, *args: Any) -> None:
        """A statement of the test's own."""
        conn: Any = await asyncpg.connect(self.dsn)
        try:
            await conn.execute(sql, *args)
        finally:
            await conn.close()

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Rows for a look behind the port."""
        conn: Any = await asyncpg.connect(self.dsn)
        try:
            return await conn.fetch(sql, *args)
        finally:
            await conn.close()

    async def engine(self, name: str) -> PostgresStore:
        """One more engine, with its own connections."""
        store = PostgresStore(self.dsn, name, size=4, list_size=1)
        self._others.append(store)
        await store.open()
        return store

    async def advance(self, seconds: float) -> datetime:
        """Move the clock on."""
        now = self.clock.advance(seconds)
        await self.execute("UPDATE test_clock SET at = $1", now)
        return now

    async def stop(self) -> None:
        """Close all stores."""
        for store in (self.postgres, *self._others):
            await store.close()

    def now(self) -> datetime:
        """The time."""
        return self.clock.now()


class EdgeKit(Kit):
    """RUNS as truth on a nats-server of its own; each engine has its own projection."""

    def __init__(self, nats: NatsServer, folder: Path) -> None:
        self.clock = ManualClock(EPOCH)
        self.nats, self.folder = nats, folder
        self._opened: list[tuple[EdgeStore, Connection]] = []

    async def start(self) -> None:
        """Make the streams, open the store."""
        self.edge = await self.open("e1", first=True)
        self.store = self.edge

    async def open(self, name: str, *, first: bool = False) -> EdgeStore:
        """An engine of this name, on the projection that it has, if it has one."""
        nc = await connect(settings_for(self.nats.url), kind="engine", ident=name)
        if first:
            await ensure_streams(nc, "edge", fsynced=True)
        store = EdgeStore(nc, self.folder / name, name, self.clock)
        self._opened.append((store, nc))
        await store.open()
        return store

    async def engine(self, name: str) -> Store:
        """One more engine."""
        return await self.open(name)

    async def advance(self, seconds: float) -> datetime:
        """Move the clock on."""
        return self.clock.advance(seconds)

    async def stop(self) -> None:
        """Close all stores."""
        for store, nc in self._opened:
            await store.close()
            await nc.close()

    def now(self) -> datetime:
        """The time."""
        return self.clock.now()
