"""Agents and leases: register, beat, expire, the clock of leases (DECISIONS B)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from headway import faults
from headway.states import RunState
from headway_engine.happenings import Lost
from headway_engine.store.agreement import GAP, JUMP, Held, compare, gap_of, longest
from headway_engine.store.postgres import statements
from headway_engine.store.postgres.commit import Commits
from headway_engine.store.records import AgentState, Outcome, Renewed

if TYPE_CHECKING:
    from headway.wire.rpc import Beat, Register
    from headway_engine.store.postgres.db import Connection

_SQL = statements.load("agents")
log = logging.getLogger("headway.engine")


class Leases(Commits):
    """See the port."""

    async def register(
        self, ns: str, ask: Register, lease: float
    ) -> tuple[int, list[tuple[str, int]], list[tuple[str, int]]]:
        """(session, kept, stop).

        A session that `expire` has not ended is kept; else a new session begins, and what the old
        one had open comes out of `expire`.
        """

        async def op(conn: Connection) -> tuple[int, list[Held]]:
            async with conn.transaction():
                row: Any = await conn.fetchrow(_SQL["lock"], ns, ask.agent)
                session: int = 1 if row is None else row["session"]
                if row is not None and not (row["live"] and session == ask.session):
                    session += 1
                await conn.fetch(
                    _SQL["register"],
                    ns,
                    ask.agent,
                    session,
                    lease,
                    ask.slots,
                    ask.shared_slots,
                    ask.host,
                    ask.runtime,
                    list(ask.queues),
                    list(ask.images),
                )
                held: list[Any] = await conn.fetch(_SQL["held"], ns, ask.agent)
            return session, [_held(r) for r in held if r["session"] == session]

        session, held = await self.db.call(op)
        mine = {(h.run, h.epoch) for h in held}
        kept = [h for h in ask.holds if tuple(h) in mine]
        return session, kept, [h for h in ask.holds if tuple(h) not in mine]

    async def beat(
        self,
        ns: str,
        ask: Beat,
        lease: float,
    ) -> Renewed:
        """Renew the lease."""
        images = list(ask.images) if ask.images else None
        renewed = await self.db.fetch(
            _SQL["beat"], ns, ask.agent, ask.session, lease, ask.degraded, images
        )
        if not renewed:
            return Renewed(False, [], False)
        rows = await self.db.fetch(_SQL["held"], ns, ask.agent)
        held = [_held(r) for r in rows if r["session"] == ask.session]
        answer = compare(held, ask.holds, ask.digest, frozenset(renewed[0]["missing"]))
        if ask.holds is not None and (answer.missing or renewed[0]["missing"]):
            await self.db.fetch(
                _SQL["missing"], ns, ask.agent, ask.session, answer.missing, answer.gone
            )
        return Renewed(True, answer.stop, answer.want_holds, renewed[0]["drain"])

    async def drain(self, ns: str, agent: str, how: str, actor: str, reason: str = "") -> None:
        """Keep an operator's word."""
        await self.db.fetch(_SQL["drain"], ns, agent, how, actor, reason)

    async def expire(self, lease: float) -> list[Outcome]:
        """End leases that are over; then, in new statements, lose the runs of ended sessions."""
        await self.db.fetch(_SQL["expire"], lease, max(GAP, lease), longest(lease))
        orphans = await self.db.fetch(_SQL["orphans"])
        if not orphans:
            return []
        if faults.armed:
            await faults.point("engine.leases.expired")
        moves = [
            (row["id"], Lost(row["epoch"], _WHY[row["why"]], dead=row["why"] == "gone"))
            for row in orphans
        ]
        outcomes = await self.commit(moves)
        gone = [f"{row['id']}:{row['epoch']}" for row in orphans if row["why"] == "gone"]
        if gone:
            await self.db.fetch(_SQL["settled"], gone)
        return [o for o in outcomes if o.outcome == "ok"]

    async def tick(self, lease: float = 15.0, elapsed: float | None = None) -> None:
        """The clock of leases runs; spent outbox rows of an idle engine go as well."""
        (row,) = await self.db.fetch(_SQL["tick"], gap_of(lease), elapsed, JUMP)
        self.db.flushed(row["flushed"])
        if row["ahead"] is not None:
            log.warning("the store's clock jumped: ahead_s=%.0f", row["ahead"])
        if spent := self.outbox.take():
            try:
                await self.db.fetch(_SQL["forget_outbox"], spent)
            except BaseException:
                self.outbox.give_back(spent)
                raise

    async def agents(self, ns: str = "") -> list[AgentState]:
        """Agents with live leases, or recently so."""
        return [
            AgentState(
                r["id"],
                r["ns"],
                r["session"],
                r["lease_until"],
                r["alive"],
                tuple(r["queues"]),
                r["slots"],
                r["shared_slots"],
                r["host"],
                r["runtime"],
                r["degraded"],
                r["open"],
                tuple(r["images"]),
                r["drain"],
                r["drain_by"],
                r["drain_at"],
                r["drain_reason"],
            )
            for r in await self.db.read(_SQL["agents"], ns)
        ]


_WHY = {"lease": "the agent's lease ended", "gone": "the agent does not hold it any more"}


def _held(row: Any) -> Held:
    return Held(row["id"], row["epoch"], row["state"] == RunState.CANCELLING.value)
