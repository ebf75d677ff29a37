"""What a hub knows of the runs of its sites, in Postgres: the same tables, in their own schema.

The lists of `PostgresStore` read them as they are. Only `apply` writes, and it names the schema in
each statement: no setting of a connection can lead it to the hub's own runs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from headway.wire import encode
from headway_engine.changes.messages import freeze, thaw
from headway_engine.sites import Unstorable
from headway_engine.sites.records import Position
from headway_engine.store.postgres import PostgresStore, rows, statements
from headway_engine.store.postgres.db import Poison
from headway_engine.store.postgres.migrate import SITES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from headway.wire.steering import DeadAsk, DeadPage
    from headway_engine.changes.messages import Record
    from headway_engine.sites.copying import Rows

_SQL = statements.load("sites")
_BESIDE = ("payloads", "results", "events", "checkpoints", "marks", "usage")
_PRUNED = 1000
"""Records that are removed at once."""


class PostgresSites(PostgresStore):
    """See `headway_engine.sites.SiteStore`."""

    def __init__(self, dsn: str, engine: str, retention: timedelta = timedelta(days=30)) -> None:
        super().__init__(dsn, engine, retention=retention, size=2, list_size=2, schema=SITES)

    async def positions(self) -> dict[str, Position]:
        """See the port."""
        return {row["site"]: Position(*row) for row in await self.db.read(_SQL["positions"])}

    async def owner(self, ns: str, run: str) -> str:
        """See the port."""
        found = await self.db.read(_SQL["owner"], ns, run)
        return found[0]["site"] if found else ""

    async def owners(self, ns: str, runs: Sequence[str]) -> dict[str, str]:
        """See the port."""
        found = await self.db.read(_SQL["owners"], ns, list(runs))
        return {row["id"]: row["site"] for row in found}

    async def heard(
        self, site: str, stream: str, head: int, contact: datetime, as_of: datetime | None
    ) -> None:
        """See the port."""
        await self.db.fetch(_SQL["heard"], site, stream, head, contact, as_of)

    async def halt(self, site: str, problem: str) -> None:
        """See the port."""
        await self.db.fetch(_SQL["halt"], site, problem)

    async def apply(
        self,
        site: str,
        runs: Sequence[str],
        build: Callable[[Position, dict[str, tuple[str, Record]]], Rows],
    ) -> Position | None:
        """See the port."""

        async def op(conn: Any) -> Position | None:
            await conn.execute(_SQL["begin"], site)
            async with conn.transaction():
                row = await conn.fetchrow(_SQL["position"], site)
                if row is None:
                    return None
                before = Position(*row)
                known = {
                    r["run"]: (r["site"], thaw(r["record"]))
                    for r in await conn.fetch(_SQL["known"], list(runs))
                }
                made = build(before, known)
                if made.position == before.seq:
                    return before
                await _write(conn, made)
                await conn.execute(_SQL["advance"], site, made.position, made.skipped)
                before.seq, before.skipped = made.position, before.skipped + made.skipped
                return before

        try:
            return await self.db.call(op)
        except Poison as e:
            raise Unstorable(str(e)) from None

    async def dead(self, ns: str, ask: DeadAsk) -> DeadPage:
        """Classes, the largest first; each of one site."""
        return await self._dead_of_sites(ns, ask)

    async def prune(self) -> int:
        """Remove runs past the hub's retention; how many. Their blobs lie at their site."""
        gone = await super().prune()
        await self.db.fetch(_SQL["prune_purges"])
        await self.db.fetch(_SQL["prune_records"], _PRUNED)
        return gone


async def _write(conn: Any, made: Rows) -> None:
    """All rows, each kind in the order of its messages."""
    if made.anew:
        for table in _BESIDE:
            await conn.execute(_SQL[f"forget_{table}"], sorted(made.anew))
    standing = {run: r for run, r in made.records.items() if r.run is not None}
    # The last word on each, since one statement can write a row once.
    ends = dict(made.ends)
    points = {(run, c.number): (run, at, c) for run, at, c in made.checkpoints}
    whole: list[tuple[str, list[tuple[Any, ...]]]] = [
        ("put_record", [(made.site, run, freeze(r)) for run, r in made.records.items()]),
        ("put_payload", [
            (run, m.hash, m.schema, bytes(m.payload), rows.pack(m.payload_ref))
            for run, m in made.made
        ]),
        ("put_result", [
            (run, e.size, bytes(e.result), rows.pack(e.ref), rows.pack(e.error))
            for run, e in ends.items()
        ]),
        ("put_event", [
            (run, e.n, e.at, e.kind, e.epoch, e.source, e.target, e.actor,
             encode(e.data) if e.data else None)
            for run, e in made.events
        ]),
        ("put_checkpoint", [
            (run, c.number, c.name, c.sha256, c.size, c.epoch, at, c.schema, c.keep,
             rows.pack(c.ref), bytes(c.state))
            for run, at, c in points.values()
        ]),
    ]  # fmt: skip
    each: list[tuple[str, list[tuple[Any, ...]]]] = [
        ("put_run", [_run(made.site, r) for r in standing.values()]),
        ("drop_checkpoint", list(made.dropped)),
        ("put_mark", [
            (run, m.record.key, m.record.kind, m.record.fn, m.record.status, m.record.epoch, at,
             m.token, m.size, m.after, rows.pack(m.record.ref), rows.pack(m.record.error),
             m.record.due_at, m.record.resolved, bytes(m.record.value))
            for run, at, m in made.marks
        ]),
        ("put_usage", [
            (run, u.epoch, u.model, ns, task, at, u.tokens_in, u.tokens_out, u.cost_usd)
            for run, ns, task, at, u in made.usage
        ]),
    ]  # fmt: skip
    if standing:
        await conn.execute(_SQL["forget_runs"], sorted(standing))
    for name, values in whole:
        if values:
            await conn.execute(_SQL[name], *map(list, zip(*values, strict=True)))
    for name, values in each:
        if values:
            await conn.executemany(_SQL[name], values)


def _run(site: str, record: Record) -> tuple[Any, ...]:
    """The row of a run."""
    r = record.run
    assert r is not None
    return (
        r.created_at, r.due_at, r.ttl_at, r.deadline_at, r.claimed_at, r.started_at, r.attempt_at,
        r.ended_at, r.epoch, record.dispatch or None, r.session, record.timeout, r.n, r.ck,
        r.failures, r.lost, r.lost_ck, r.unstarted, r.priority, record.keep, r.shared, r.resumed,
        r.keep_key, r.id, r.ns, r.task, r.queue, r.state.value, r.limit_key, r.version, r.agent,
        r.nonce, r.reason, r.parent, r.root, r.origin, r.key, record.scope, r.reply, r.trace,
        list(r.unconfirmed), list(r.unstarted_agents), list(r.tags),
        record.queued_at or r.created_at, r.failure, r.acked, site,
    )  # fmt: skip
