"""Store on Postgres through asyncpg.

Every method is one statement, or a short transaction, that is safe to repeat; `db.py` says what
happens when one fails. The statements are in `sql/`, the schema is in `migrations/`.

- enqueue: `enqueue.py` · dispatch: `dispatching.py` · claim: `claims.py` · save: `saves.py`
- commit: `commit.py` (load, decide, write) · leases: `leases.py`
- timers, outbox, pruner: `timers.py`
- connections: `db.py`, `connections.py` · what need not be read again: `recent.py`
- registry: `registry.py`, `specs.py` · lists: `lists.py` · dead letters, reviews: `dead.py`
"""

from __future__ import annotations

from datetime import timedelta

from headway_engine.store import StoreDown, StoreFacts
from headway_engine.store.postgres import identity, statements
from headway_engine.store.postgres.base import Outbox
from headway_engine.store.postgres.claims import Claims
from headway_engine.store.postgres.db import BROKEN, Db
from headway_engine.store.postgres.dead import Dead
from headway_engine.store.postgres.dispatching import Dispatches
from headway_engine.store.postgres.enqueue import Enqueues
from headway_engine.store.postgres.jobs import Jobs
from headway_engine.store.postgres.lists import Lists
from headway_engine.store.postgres.migrate import migrate
from headway_engine.store.postgres.recent import Recent
from headway_engine.store.postgres.registry import Registry
from headway_engine.store.postgres.saves import Saves
from headway_engine.store.postgres.sources import Sources
from headway_engine.store.postgres.specs import Specs
from headway_engine.store.postgres.timers import Timers

_SQL = statements.load("lists")


class PostgresStore(
    Enqueues, Dispatches, Claims, Saves, Lists, Dead, Timers, Registry, Sources, Jobs
):
    """The truth about runs, in Postgres. See the port for what each method guarantees."""

    def __init__(
        self,
        dsn: str,
        engine: str,
        *,
        size: int = 8,
        list_size: int = 2,
        statement_cache_size: int = 256,
        patience: float = 2.0,
        retention: timedelta = timedelta(days=30),
        short: bool = True,
        schema: str = "",
    ) -> None:
        """`short`: see `Part.short`; without it everything goes by the statements of batches.

        `schema`: of Postgres, in which the tables are; empty = the connection's own.
        """
        self.schema = schema
        self.short = short
        self.engine = engine
        self.dsn = dsn
        self.retention = retention
        self.db = Db(
            dsn,
            size=size,
            list_size=list_size,
            patience=patience,
            schema=schema,
            statement_cache_size=statement_cache_size,
        )
        self.specs = Specs(self.db)
        self.outbox = Outbox()
        self.recent = Recent()
        self.known_queues: set[tuple[str, str]] = set()

    async def open(self) -> StoreFacts:
        """Migrate under a lock, connect, check settings.

        Raises StoreDown, SchemaTooNew or StoreTooOld.
        """
        try:
            await migrate(self.dsn, self.schema)
        except BROKEN as e:
            raise StoreDown(f"no connection to Postgres: {type(e).__name__}: {e}") from None
        await self.db.open()
        return await self.facts()

    async def close(self) -> None:
        """Give connections back; idempotent."""
        await self.db.close()

    def use(self) -> tuple[int, int]:
        """(connections that are busy, connections that there may be)."""
        return self.db.use()

    async def facts(self) -> StoreFacts:
        """Version and settings, and what an operator should change."""
        row = (await self.db.read(_SQL["facts"]))[0]
        problems: list[str] = []
        problems += [
            f"{name} is {row[name]}: a crash of the machine can lose or tear acknowledged data;"
            f" set {name} = on"
            for name in ("fsync", "full_page_writes")
            if row[name] != "on"
        ]
        lazy = row["synchronous_commit"] == "off"
        if lazy:
            problems.append(
                "synchronous_commit is off: acknowledged saves can be lost in a crash;"
                " set synchronous_commit = on"
            )
        if row["trails"]:
            problems.append(
                "a standby follows asynchronously: a failover to it loses the last seconds that"
                " were acknowledged; set synchronous_standby_names"
            )
        durable = row["fsync"] == "on" and not lazy
        return StoreFacts(
            "postgres", row["version"], row["schema"], durable, problems, row["identity"]
        )

    async def raise_floor(self) -> None:
        """An operator knows of a failover that the server hides: no older epoch may tie."""
        self.db.floor = await self.db.call(identity.raise_floor)
