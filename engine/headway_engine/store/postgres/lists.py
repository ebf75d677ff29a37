"""What is asked about runs, queues and agents; on the lists' own connections (DECISIONS E5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.errors import Refused
from headway.wire import DEFAULT_QUEUE, NOTHING, BlobRef
from headway.wire.bundles import BundleMark
from headway.wire.fleet import QueueAsk, QueueRow
from headway.wire.runs import KIN, CheckpointRow, Kin, MarkRow, RunDetail, RunsQuery
from headway_engine.store.forking import ForkSource
from headway_engine.store.listing import agent_rows
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.leases import Leases
from headway_engine.store.postgres.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from headway.wire.events import Event
    from headway.wire.fleet import AgentRow
    from headway_engine.store.records import Run

    _Read = Callable[..., Awaitable[list[Any]]]

_SQL = statements.load("lists")


class Lists(Pages, Leases, Part):
    """See the port."""

    async def get(self, ns: str, run: str) -> Run | None:
        """The record."""
        found = await self.db.fetch(_SQL["get"], ns, run)
        return await self._with_policy(rows.run_of(found[0])) if found else None

    async def _with_policy(self, run: Run) -> Run:
        known = await self.specs.get(run.ns, run.task, run.version)
        if known is not None:
            run.policy, run.timeout = known.policy, known.spec.timeout
        return run

    async def find(self, ns: str, prefix: str) -> list[str]:
        """Run ids that begin so, at most 3."""
        return [row[0] for row in await self.db.read(_SQL["find"], ns, prefix.upper())]

    async def early_cancel(self, ns: str, run: str, actor: str, reason: str) -> None:
        """Intake honours it when the enqueue arrives."""
        await self.db.fetch(_SQL["early_cancel"], ns, run, actor, reason)

    async def events(self, ns: str, run: str, after: int, n: int) -> list[Event]:
        """Events with a number above `after`."""
        return [rows.event_of(row) for row in await self.db.read(_SQL["events"], ns, run, after, n)]

    async def state(
        self,
        ns: str,
        run: str,
        number: int,
    ) -> tuple[CheckpointRow, bytes, BlobRef | None] | None:
        """One checkpoint with its body; 0 = the last."""
        found = await self.db.read(_SQL["state"], ns, run, number)
        if not found:
            return None
        row = found[0]
        return CheckpointRow(*row[:7]), row["state"], rows.ref_of(row["ref"])

    async def marks(self, ns: str, run: str) -> list[MarkRow]:
        """Recorded steps, once marks and waits, in the order of time."""
        return [MarkRow(*row) for row in await self.db.read(_SQL["marks"], ns, run)]

    async def mark_page(self, ns: str, run: str, after: str, n: int) -> list[BundleMark]:
        """Marks with a key above `after`, with their values."""
        found = await self.db.read(_SQL["mark_page"], ns, run, after, n)
        return [
            BundleMark(
                row["key"],
                row["kind"],
                row["at"],
                row["fn"],
                row["status"],
                row["token"],
                row["after"],
                row["epoch"],
                row["size"],
                Raw(row["value"]) if row["value"] else NOTHING,
                rows.ref_of(row["ref"]),
                rows.error_of(row["error"]),
                row["due_at"],
                row["resolved"],
            )
            for row in found
        ]

    async def detail(self, ns: str, run: str) -> RunDetail | None:
        """Row, bodies, events (the first 10,000), checkpoints, marks."""
        page = await self.runs(ns, RunsQuery(ids=(run,)))
        if not page.runs:
            return None
        checkpoints = await self.db.read(_SQL["checkpoints"], ns, run)
        bodies = await self._bodies(self.db.read, ns, run)
        if bodies is None:
            return None
        return RunDetail(
            page.runs[0],
            Raw(bodies["payload"]) if bodies["payload"] else NOTHING,
            rows.ref_of(bodies["payload_ref"]),
            Raw(bodies["result"]) if bodies["result"] else NOTHING,
            rows.ref_of(bodies["result_ref"]),
            await self.events(ns, run, 0, 10_000),
            [CheckpointRow(*row) for row in checkpoints],
            await self.marks(ns, run),
        )

    async def kin(self, ns: str, run: str, failure: str, since: datetime) -> Kin:
        """Forks, and runs that failed alike."""
        found = (await self.db.read(_SQL["kin"], ns, run, failure, since, KIN))[0]
        return Kin(found["forks"], found["alike"], found["first_at"])

    async def _bodies(self, read: _Read, ns: str, run: str) -> Any:
        """Its payload and result; None if it was removed since its row was read.

        Raises Refused for a row without a payload: no enqueue made it.
        """
        found = await read(_SQL["bodies"], run)
        if found:
            return found[0]
        if await read(_SQL["get"], ns, run):
            raise Refused(
                f"run {run} has a row without a payload: somebody wrote to the database by hand,"
                " or part of it was not restored",
                "incomplete",
            )
        return None

    async def fork_source(self, ns: str, run: str) -> ForkSource | None:
        """All that a fork reads; what goes between the statements is seen at the commit."""
        found = await self.db.fetch(_SQL["get"], ns, run)
        if not found:
            return None
        bodies = await self._bodies(self.db.fetch, ns, run)
        if bodies is None:
            return None
        kept = await self.db.fetch(_SQL["fork_checkpoints"], run)
        marks = await self.db.fetch(_SQL["fork_marks"], run)
        return ForkSource(
            await self._with_policy(rows.run_of(found[0])),
            bodies["payload"],
            rows.ref_of(bodies["payload_ref"]),
            bodies["hash"],
            bodies["schema"],
            [CheckpointRow(*row[:7]) for row in kept],
            {row["number"]: ref for row in kept if (ref := rows.ref_of(row["ref"])) is not None},
            [(row["key"], row["kind"], row["after"], rows.ref_of(row["ref"])) for row in marks],
        )

    async def set_queue(self, ns: str, ask: QueueAsk, actor: str) -> QueueRow:
        """Change a queue; absent fields stay."""
        await self.db.fetch(
            _SQL["set_queue"],
            ns,
            ask.queue,
            ask.limit,
            ask.key_limit,
            ask.paused,
            ask.priority,
            actor,
            ask.reason,
        )
        return (await self._queue_rows(ns, ask.queue))[0]

    async def queue_rows(self, ns: str) -> list[QueueRow]:
        """Queues with their numbers."""
        return await self._queue_rows(ns, "")

    async def _queue_rows(self, ns: str, queue: str) -> list[QueueRow]:
        return [QueueRow(*row) for row in await self.db.read(_SQL["queue_rows"], ns, queue)]

    async def named_queues(self, ns: str) -> frozenset[str]:
        """Of settings, tasks and agents."""
        found = await self.db.read(_SQL["named_queues"], ns)
        return frozenset({DEFAULT_QUEUE, *(r["queue"] for r in found)})

    async def agent_rows(self, ns: str) -> list[AgentRow]:
        """Agents, for the api, with the versions whose image they have."""
        images = {r["image"]: r["version"] for r in await self.db.read(_SQL["images"], ns)}
        return agent_rows(await self.agents(ns), images)
