"""Sites and their hub: what a hub knows of runs that others own.

A site is one nats-server with a JetStream domain of its own and its engine on it; it needs no hub.
As a leaf node of the hub's NATS it is followed by the hub:

1. `streams`   one stream per site at the hub sources the site's RUNS; so do logs and spans.
2. `copying`   the messages become rows, by the same `fold` as at the site; pure.
3. `following` the hub's engine writes them into its Postgres, with how far it has come, in one
               transaction: each message counts once, whatever is killed.
4. `door`      the hub's api: who owns a run decides who answers, with the age of what is known;
               `catching` waits until what was told of a run is stored, `bodies` reads large bodies
               over the link; `merging`, `querying`, `summing` make one answer of hub and sites.
5. `commands`  keeps what is asked of a site until the site has said what became of it (`sending`,
               `obeying`, `settling`); `homing` tells the site how far the hub is.

A run has one owner: what a hub knows of a site's run is read-only here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from headway.errors import HeadwayError
from headway_engine.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from headway_engine.changes.messages import Record
    from headway_engine.sites.copying import Rows
    from headway_engine.sites.records import Position


class Unstorable(HeadwayError):
    """The store cannot hold one of these rows."""

    code = "rejected"


class SiteStore(Store, Protocol):
    """What a hub knows of its sites' runs: a store that is read, and written by `apply` alone."""

    async def positions(self) -> dict[str, Position]:
        """How far each site is known."""
        ...

    async def apply(
        self,
        site: str,
        runs: Sequence[str],
        build: Callable[[Position, dict[str, tuple[str, Record]]], Rows],
    ) -> Position | None:
        """Write the rows that `build` makes, with the position that they lead to, or nothing.

        `build` gets the position now and, of these runs, those that are known: their site, and
        what decides about them. None: another engine is at it. Safe to repeat: what is not after
        the position makes no rows. Raises StoreDown, or
        Unstorable.
        """
        ...

    async def heard(
        self, site: str, stream: str, head: int, contact: datetime, as_of: datetime | None
    ) -> None:
        """The site was heard of: its RUNS, that stream's last sequence, and what was known."""
        ...

    async def halt(self, site: str, problem: str) -> None:
        """Nothing more is taken from this site, for this reason; empty = it is again."""
        ...

    async def owner(self, ns: str, run: str) -> str:
        """The site that owns this run; empty = none."""
        ...

    async def owners(self, ns: str, runs: Sequence[str]) -> dict[str, str]:
        """The sites that own some of these runs; what no site owns is left out."""
        ...
