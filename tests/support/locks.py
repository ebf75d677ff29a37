"""Locks of somebody else, and seeing that the store waits for one: races without delays."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.stores import PostgresKit


@asynccontextmanager
async def transaction(kit: PostgresKit) -> AsyncGenerator[Any]:
    """An open transaction of somebody else; committed at the end."""
    conn: Any = await asyncpg.connect(kit.dsn)
    try:
        async with conn.transaction():
            yield conn
    finally:
        await conn.close()


async def waiting_for_a_lock(kit: PostgresKit) -> int | None:
    """A backend of the store that waits for a lock."""
    rows = await kit.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'headway' AND wait_event_type = 'Lock'"
    )
    return rows[0][0] if rows else None
