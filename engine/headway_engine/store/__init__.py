"""The store port: the truth about runs.

A store carries out transitions atomically and conditionally; `lifecycle.decide` alone decides. The
port is in parts by topic, in `ports`; each method there is described by its guarantee. All raise
`StoreDown` when the store cannot be reached or refuses to write (the caller answers `busy` and
tries again: every method is safe to repeat), and no other exception for anything that a user can
send: a poison row is answered `rejected` alone.

Times in arguments and answers are on the store's clock, UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from headway.errors import HeadwayError
from headway_engine.store.ports.attempts import Attempts
from headway_engine.store.ports.blobs import Blobs
from headway_engine.store.ports.dispatch import ClaimAnswer, Dispatching
from headway_engine.store.ports.intake import Intake
from headway_engine.store.ports.jobs import Jobs
from headway_engine.store.ports.leases import Leases
from headway_engine.store.ports.lists import Lists
from headway_engine.store.ports.registry import Registry
from headway_engine.store.ports.spending import Spending
from headway_engine.store.ports.timers import Timers

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ClaimAnswer", "Store", "StoreDown", "StoreFacts"]


class StoreDown(HeadwayError):
    """The store cannot be reached or does not accept writes; nothing was decided, ask again."""

    code = "store_down"


class StoreFacts(Struct):
    """What an engine must know of its store at start; `doctor` shows it."""

    kind: str = "postgres"
    version: str = ""
    schema: int = 0
    durable: bool = True
    """synchronous_commit and fsync are on."""
    problems: list[str] = []
    """What an operator should change, in words."""
    identity: str = ""
    """Of this database among all others; the same after a failover, another after a copy."""


class Store(
    Intake, Dispatching, Attempts, Spending, Leases, Timers, Blobs, Registry, Lists, Jobs, Protocol
):
    """The truth about runs; see the module's docstring for what holds for every method."""

    engine: str
    """Id of the engine that uses this store object (outbox rows carry it)."""

    async def open(self) -> StoreFacts:
        """Connect, migrate under a lock, check settings; raises StoreDown or a SetupError."""
        ...

    async def facts(self) -> StoreFacts:
        """Version and settings of the store, for `doctor`; raises StoreDown."""
        ...

    async def close(self) -> None:
        """Give connections back; idempotent."""
        ...

    async def now(self) -> datetime:
        """The store's clock; a cheap probe that the store answers."""
        ...

    def use(self) -> tuple[int, int]:
        """(connections to it that are busy, connections that there may be)."""
        ...
