"""Which database this is: after a restore or failover epochs are raised before any decision.

A failover may lose commits, so that an epoch that was given out already would be given out again.
On each new connection the system identifier and timeline are read; after a change, all live runs'
epochs are raised by `STEP` once, under a lock (DECISIONS G4). Runs that are older than the change
but arrive after it (again) start from the floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from headway.ids import encode
from headway_engine.store.postgres import statements

if TYPE_CHECKING:
    from datetime import datetime

STEP = 1_000_000
"""More claims of one run than a failover can lose."""

_SQL = statements.load("identity")


class Floor(NamedTuple):
    """Runs with an id below `before` start with this epoch."""

    epoch: int
    before: str


async def check(conn: Any) -> Floor:
    """Compare; raise the floor after a change. Does nothing before the first migration."""
    row = await conn.fetchrow(_SQL["read"])
    if not row["migrated"]:
        return Floor(0, "")
    known = await conn.fetchrow(_SQL["known"])
    if known is None or (known["system_id"], known["timeline"]) != (row["sys"], row["timeline"]):
        async with conn.transaction():
            await conn.execute(_SQL["lock"])
            known = await conn.fetchrow(_SQL["known"])
            if known is None:
                await conn.execute(_SQL["first"], row["sys"], row["timeline"])
            elif (known["system_id"], known["timeline"]) != (row["sys"], row["timeline"]):
                await conn.execute(_SQL["raise_epochs"], STEP)
                await conn.execute(_SQL["changed"], row["sys"], row["timeline"], STEP)
            known = await conn.fetchrow(_SQL["known"])
    return _floor(known["floor"], known["changed_at"])


async def raise_floor(conn: Any) -> Floor:
    """The operator's command, for servers that hide their identity."""
    async with conn.transaction():
        await conn.execute(_SQL["lock"])
        await conn.execute(_SQL["raise_epochs"], STEP)
        known = await conn.fetchrow(_SQL["raised"], STEP)
    return _floor(known["floor"], known["changed_at"])


def _floor(epoch: int, changed_at: datetime) -> Floor:
    if not epoch:
        return Floor(0, "")
    return Floor(epoch, encode(int(changed_at.timestamp() * 1000), 0))
