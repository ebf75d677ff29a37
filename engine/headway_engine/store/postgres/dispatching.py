"""Dispatch: which due runs go to WORK now, and what happened to those that went (DECISIONS D)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_engine.store.postgres import statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.records import LAST_SEQ, Dispatch, QueueState

if TYPE_CHECKING:
    from collections.abc import Sequence

_SQL = statements.load("dispatch")


class Dispatches(Part):
    """See the port."""

    async def queues(self) -> list[QueueState]:
        """All queues with settings, agents or waiting runs."""
        return [
            QueueState(
                row["ns"],
                row["queue"],
                row["run_limit"],
                row["key_limit"],
                row["paused"],
                row["priority"],
                row["queued"],
                row["given"],
                row["given_shared"],
                row["open"],
                row["oldest"],
                row["paused_by"],
                row["paused_at"],
                row["reason"],
            )
            for row in await self.db.read(_SQL["queues"])
        ]

    async def dispatch(self, ns: str, queue: str, room: int, shared_room: int) -> Dispatch | None:
        """Choose and give; None when the queue is paused, or another engine is at it."""
        for _ in range(2):
            row = (await self.db.fetch(_SQL["dispatch"], ns, queue, room, shared_room))[0]
            if row["id"] is not None:
                return Dispatch(
                    row["id"], ns, queue, list(zip(row["runs"], row["shared"], strict=True))
                )
            if row["locked"]:
                return Dispatch(0, ns, queue, [])
            if (ns, queue) in self.known_queues:
                return None
            await self.db.fetch(_SQL["add_queue"], ns, queue)
            self.known_queues.add((ns, queue))
        return None

    async def dispatched(self, batches: Sequence[tuple[int, int]], stream_created: str) -> None:
        """These are in WORK."""
        by_id = dict(sorted(batches))
        await self.db.fetch(_SQL["dispatched"], list(by_id), list(by_id.values()), stream_created)

    async def undispatched(
        self,
        acked: dict[tuple[str, str], int],
        stream_created: str,
        older_than: float = 30.0,
        written: int = LAST_SEQ,
    ) -> list[Dispatch]:
        """Batches to publish again; spent ones are forgotten."""
        found = await self.db.fetch(
            _SQL["undispatched"],
            [ns for ns, _ in acked],
            [queue for _, queue in acked],
            list(acked.values()),
            stream_created,
            older_than,
            written,
        )
        batches: dict[int, Dispatch] = {}
        spent: list[int] = []
        for row in found:
            if row["run"] is None:
                spent.append(row["id"])
                continue
            batch = batches.setdefault(row["id"], Dispatch(row["id"], row["ns"], row["queue"], []))
            batch.runs.append((row["run"], row["shared"]))
        if spent:
            await self.db.fetch(_SQL["forget"], spent)
        if batches:
            await self.db.fetch(_SQL["redo"], list(batches))
        return list(batches.values())
