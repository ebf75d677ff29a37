"""restored: an operator says that Postgres was set back in a way that engines cannot see."""

from __future__ import annotations

import asyncio

from headway.errors import HeadwayError, NotReachable
from headway_ops import say
from headway_ops.settings import postgres_dsn, shown_dsn


def run(*, as_json: bool) -> None:
    """Raise the epochs once; safe to repeat, and while engines run."""
    say.quiet_library()
    try:
        raised = asyncio.run(_raise())
    except HeadwayError as e:
        say.fail(e)
    if as_json:
        say.data({"floor": raised})
    else:
        say.tell("attempts from now on start above every epoch that was given out before")


async def _raise() -> int:
    from headway_engine.assembly import raise_floor
    from headway_engine.store import StoreDown

    dsn = postgres_dsn()
    if not dsn:
        raise NotReachable("which Postgres? Set HEADWAY_POSTGRES_DSN")
    try:
        return await raise_floor(dsn)
    except StoreDown as e:
        raise NotReachable(f"{shown_dsn(dsn)}: {e}") from None
