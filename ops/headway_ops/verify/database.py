"""Reads Postgres for the checker: short snapshots, page by page, gentle to a live system.

A page of runs and all that belongs to them is read in one REPEATABLE READ transaction, so each
history is whole; the next page has a newer snapshot. One snapshot for everything would be simpler,
and would keep vacuum from cleaning up for as long as the check takes, which costs a busy system
more than the check itself. Memory holds one page; its size follows the number of events.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from headway.wire import BlobRef
from headway_ops.verify import sql
from headway_ops.verify.facts import (
    NOTHING,
    TERMINAL,
    Body,
    Checkpoint,
    Event,
    History,
    Holder,
    Live,
    Mark,
    Policy,
    Run,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    Connection = asyncpg.Connection[asyncpg.Record]

PAGE_RUNS = 500
PAGE_EVENTS = 20_000
"""Of a page of runs so many are taken that they have about so many events, and at least one run."""
SETTINGS = {
    "application_name": "headway verify",
    "default_transaction_read_only": "on",
    "statement_timeout": "60s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "timezone": "UTC",
}

_DATA = msgspec.json.Decoder(dict[str, Any])
_REF = msgspec.json.Decoder(BlobRef)


class _Spec(msgspec.Struct):
    """What of a TaskSpec the retries follow."""

    max_attempts: int = 3
    factor: float = 2.0
    min_delay: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.1


_SPEC = msgspec.json.Decoder(_Spec)


class Database:
    """One connection, used by one check. All methods raise OSError, TimeoutError, asyncpg's."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._conn: Connection | None = None
        self._policies: dict[tuple[str, str, str], Policy | None] = {}

    async def open(self) -> None:
        """Connect."""
        self._conn = await asyncpg.connect(self._dsn, server_settings=SETTINGS, timeout=10)

    async def close(self) -> None:
        """Disconnect; idempotent."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close(timeout=5)

    @property
    def conn(self) -> Connection:
        """The connection."""
        assert self._conn is not None, "not opened"
        return self._conn

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Connection]:
        """One consistent view, given back at the end."""
        async with self.conn.transaction(isolation="repeatable_read", readonly=True):
            yield self.conn

    async def now(self) -> datetime:
        """The store's clock."""
        return await self.conn.fetchval(sql.CLOCK)

    async def histories(
        self, after: str, until: str, ns: str
    ) -> AsyncGenerator[tuple[datetime, list[History]]]:
        """All runs with ids above `after` up to `until`, page by page, each with its time."""
        while True:
            async with self.snapshot() as conn:
                now = await conn.fetchval(sql.CLOCK)
                rows = await conn.fetch(sql.RUNS, after, until, ns, PAGE_RUNS)
                if not rows:
                    return
                page = _within(rows)
                after = page[-1]["id"]
                found = await self._load(page)
            yield now, found

    async def some(self, ids: Sequence[str]) -> tuple[datetime, list[History]]:
        """These runs, those that are there."""
        async with self.snapshot() as conn:
            now = await conn.fetchval(sql.CLOCK)
            return now, await self._load(await conn.fetch(sql.RUNS_BY_ID, list(ids)))

    async def unnamed(self, places: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these (namespace, run) the ones that no row speaks of."""
        rows = await self.conn.fetch(
            sql.UNNAMED, [ns for ns, _ in places], [run for _, run in places]
        )
        return {(row["ns"], row["run"]) for row in rows}

    async def agents(self) -> dict[str, float | None]:
        """`<namespace>.<agent>` to the seconds since its lease ended; None = it has none."""
        return {
            f"{row['ns']}.{row['id']}": (row["now"] - row["lease_until"]).total_seconds()
            if row["live"] else None
            for row in await self.conn.fetch(sql.AGENTS)
        }  # fmt: skip

    async def _load(self, rows: Sequence[asyncpg.Record]) -> list[History]:
        conn = self.conn
        found = {row["id"]: History(Run(*row)) for row in rows}
        ids = list(found)
        for row in await conn.fetch(sql.EVENTS, ids):
            data = row[8]
            found[row[0]].events.append(
                Event(*row[1:8], data=_DATA.decode(data) if data else NOTHING)
            )
        for row in await conn.fetch(sql.CHECKPOINTS, ids):
            ref = _body(row["run"], f"checkpoint {row['number']}", row["ref"])
            found[row["run"]].checkpoints.append(
                Checkpoint(*row[1:6], ref=ref, keep=row["keep"], found=row["found"],
                           found_size=row["found_size"])
            )  # fmt: skip
        for row in await conn.fetch(sql.MARKS, ids):
            ref = _body(row["run"], f"{row['kind']} {row['key']!r}", row["ref"])
            found[row["run"]].marks.append(Mark(*row[1:9], ref=ref))
        for row in await conn.fetch(sql.BODIES, ids):
            body = _body(row["run"], row["what"], row["ref"])
            assert body is not None
            found[row["run"]].bodies.append(body)
        keyed = [h.run.id for h in found.values() if h.run.key]
        if keyed:
            for row in await conn.fetch(sql.HOLDERS, keyed):
                found[row["id"]].holder = Holder(row["run"], row["at"], row["until"])
        live = [h.run.id for h in found.values() if h.run.state not in TERMINAL]
        if live:
            for row in await conn.fetch(sql.LIVE, live):
                found[row["id"]].live = Live(*row[1:])
        for h in found.values():
            if h.run.failures:
                h.policy = await self._policy(h.run)
        return list(found.values())

    async def _policy(self, run: Run) -> Policy | None:
        key = (run.ns, run.task, run.version)
        if key not in self._policies:
            row = await self.conn.fetchrow(sql.POLICY, *key)
            self._policies[key] = (
                None
                if row is None
                else Policy(*msgspec.structs.astuple(_SPEC.decode(row["spec"])), since=row["at"])
            )
        return self._policies[key]


def _within(rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    page: list[asyncpg.Record] = []
    events = 0
    for row in rows:
        events += row["n"]
        if page and events > PAGE_EVENTS:
            break
        page.append(row)
    return page


def _body(run: str, what: str, ref: bytes | None) -> Body | None:
    if ref is None:
        return None
    r = _REF.decode(ref)
    return Body(run, what, r.key, r.size, r.sha256)


def ref_hash(ref: bytes | None) -> str:
    """The hash that a reference names."""
    return "" if ref is None else _REF.decode(ref).sha256


async def rows_by(
    conn: Connection, statement: str, *args: Any, key: int = 1
) -> dict[str, dict[Any, asyncpg.Record]]:
    """Rows by their first column, then by column `key`."""
    found: dict[str, dict[Any, asyncpg.Record]] = defaultdict(dict)
    for row in await conn.fetch(statement, *args):
        found[row[0]][row[key]] = row
    return found
