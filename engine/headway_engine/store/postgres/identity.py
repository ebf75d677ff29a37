"""Which database this is: after a restore or failover epochs are raised before any decision.

A database that was set back to an older copy of itself has forgotten epochs that it gave out, and
would give them out again. On each new connection it is compared with what is known (DECISIONS G4):

- the tables' identity (system identifier, oids) and the timeline, which the database keeps;
- the end of its WAL, which each engine remembers: it only goes back where commits were lost. This
  finds a copy of the files that was started in place of the original, on the same timeline.

After a change all live runs get a floor `STEP` above their epoch, once, under a lock. Attempts that
the copy has as open go on: their epoch was given out before the copy was taken. Runs that are older
than the change but arrive after it (again) start from the floor.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from headway.ids import encode
from headway_engine.store.postgres import statements

if TYPE_CHECKING:
    from datetime import datetime

log = logging.getLogger("headway.engine")

STEP = 1_000_000
"""More claims of one run than a failover can lose."""

_SQL = statements.load("identity")


class Floor(NamedTuple):
    """Runs with an id below `before` start with this epoch."""

    epoch: int
    before: str


class Mark(NamedTuple):
    """How far the WAL of a database had come when this engine last looked."""

    flushed: int = 0
    """Bytes; 0 = never looked."""
    sys: str = ""
    timeline: int = 0
    floor: int = 0
    """The floor at that time: a higher one now = somebody has seen the change already."""


async def check(conn: Any, mark: Mark) -> tuple[Floor, Mark]:
    """Compare; raise the floor after a change. Does nothing before the first migration."""
    row = await conn.fetchrow(_SQL["read"])
    if not row["migrated"]:
        return Floor(0, ""), Mark()
    known = await conn.fetchrow(_SQL["known"])
    if known is None or _change(known, row, mark):
        why = ""
        async with conn.transaction():
            await conn.execute(_SQL["lock"])
            await conn.execute(_SQL["patient"])
            # Again: a copy that is promoted while we look had no timeline at first, and once this
            # transaction may write it has one. Before, the writes below fail: a standby decides
            # nothing.
            row = await conn.fetchrow(_SQL["read"])
            known = await conn.fetchrow(_SQL["known"])
            if known is None:
                await conn.execute(_SQL["first"], row["sys"], row["timeline"])
            elif why := _change(known, row, mark):
                await conn.execute(_SQL["raise_epochs"], STEP)
                await conn.execute(_SQL["changed"], row["sys"], row["timeline"], STEP)
            known = await conn.fetchrow(_SQL["known"])
        if why:
            log.warning("the database is not the one it was (%s): epochs are raised", why)
    floor = known["floor"]
    seen = Mark(row["flushed"], row["sys"], row["timeline"], floor)
    return _floor(floor, known["changed_at"]), seen


def _change(known: Any, row: Any, mark: Mark) -> str:
    """What is different from what was known; empty = nothing."""
    if known["system_id"] != row["sys"]:
        return f"restored, or another server: {known['system_id']} is {row['sys']}"
    if known["timeline"] != row["timeline"]:
        return f"promoted or recovered: timeline {known['timeline']} is {row['timeline']}"
    same = (mark.sys, mark.timeline) == (row["sys"], row["timeline"])
    if same and row["flushed"] < mark.flushed and known["floor"] <= mark.floor:
        return f"set back: {mark.flushed - row['flushed']} bytes of WAL are gone"
    return ""


async def raise_floor(conn: Any) -> Floor:
    """The operator's command, for what cannot be seen from here."""
    async with conn.transaction():
        await conn.execute(_SQL["lock"])
        await conn.execute(_SQL["patient"])
        await conn.execute(_SQL["raise_epochs"], STEP)
        known = await conn.fetchrow(_SQL["raised"], STEP)
    return _floor(known["floor"], known["changed_at"])


def _floor(epoch: int, changed_at: datetime) -> Floor:
    if not epoch:
        return Floor(0, "")
    return Floor(epoch, encode(int(changed_at.timestamp() * 1000), 0))
