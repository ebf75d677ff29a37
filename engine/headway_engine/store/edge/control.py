"""Edge store: queues' settings and numbers, deployments."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.bus import WrongLast
from headway.states import RunState
from headway.wire import DEFAULT_QUEUE, decoder, encode
from headway.wire.fleet import Deployment, DeploymentRow, QueueAsk, QueueRow, TaskSpec
from headway_engine.store import StoreDown
from headway_engine.store.edge.base import ROUNDS
from headway_engine.store.edge.presence import Presence
from headway_engine.store.edge.times import moment
from headway_engine.store.listing import agent_rows
from headway_engine.store.records import QueueState

if TYPE_CHECKING:
    from headway.wire.fleet import AgentRow

S = RunState


class Queue(Struct, omit_defaults=True):
    """The value of `queue.<ns>.<queue>`: its settings."""

    limit: int = 0
    key_limit: int = 0
    paused: bool = False
    priority: int = 0
    paused_by: str = ""
    paused_at: datetime | None = None
    reason: str = ""
    limited_at: datetime | None = None
    """When a limit was set last: `headway verify` looks at what came after it."""


_QUEUE = decoder(Queue)
_NUMBERS = (
    "SELECT ns, queue, state, shared, dispatch > 0, count(*), min(queued_at) FROM runs"
    " INDEXED BY runs_live"
    " WHERE ended_at IS NULL AND state IS NOT NULL AND state NOT IN ('WAITING', 'REVIEW')"
    " GROUP BY 1, 2, 3, 4, 5"
)


class _Numbers(Struct):
    queued: int = 0
    dispatched: int = 0
    dispatched_shared: int = 0
    open: int = 0
    retrying: int = 0
    delayed: int = 0
    oldest: int | None = None


class Control(Presence):
    """See the port."""

    def _queue(self, ns: str, queue: str) -> Queue:
        return self.settings.value(f"queue.{ns}.{queue}", _QUEUE) or Queue()

    def _set_queues(self) -> set[tuple[str, str]]:
        """Queues that a setting or a deployed task names."""
        found: set[tuple[str, str]] = set()
        for key, _ in self.settings.under("queue."):
            _, ns, queue = key.split(".")
            found.add((ns, queue))
        for key, _ in self.settings.under("current."):
            ns = key.split(".")[1]
            found |= {(ns, t.queue) for d in self.registry.all(ns) for t in d.what.tasks}
        return found

    def _numbers(self) -> dict[tuple[str, str], _Numbers]:
        found: dict[tuple[str, str], _Numbers] = {}
        for ns, queue, state, shared, given, count, oldest in self.db.execute(_NUMBERS):
            n = found.setdefault((ns, queue), _Numbers())
            match state:
                case "QUEUED" if not given:
                    n.queued += count
                    n.oldest = oldest if n.oldest is None else min(n.oldest, oldest)
                case "QUEUED" if shared:
                    n.dispatched_shared += count
                case "QUEUED":
                    n.dispatched += count
                case "RETRYING":
                    n.retrying += count
                case "DELAYED":
                    n.delayed += count
                case _:
                    n.open += count
        return found

    async def queues(self) -> list[QueueState]:
        """All queues."""
        await self._fresh()
        numbers = self._numbers()
        names = self._set_queues()
        names |= {
            place
            for place, n in numbers.items()
            if n.queued or n.dispatched or n.dispatched_shared or n.open
        }
        names |= {(a.ns, q) for a in self._agents() if a.alive for q in a.queues}
        return [self._queue_state(ns, queue, numbers) for ns, queue in sorted(names)]

    def _queue_state(
        self, ns: str, queue: str, numbers: dict[tuple[str, str], _Numbers]
    ) -> QueueState:
        s, n = self._queue(ns, queue), numbers.get((ns, queue), _Numbers())
        return QueueState(
            ns, queue, s.limit, s.key_limit, s.paused, s.priority, n.queued, n.dispatched,
            n.dispatched_shared, n.open, moment(n.oldest), s.paused_by, s.paused_at, s.reason,
        )  # fmt: skip

    async def queue_rows(self, ns: str) -> list[QueueRow]:
        """Queues with their numbers."""
        states = [q for q in await self.queues() if q.ns == ns]
        numbers = self._numbers()
        agents = await self.agents(ns)
        out: list[QueueRow] = []
        for q in states:
            n = numbers.get((ns, q.queue), _Numbers())
            serving = sum(a.alive and not a.drain and q.queue in a.queues for a in agents)
            out.append(
                QueueRow(
                    q.queue, q.limit, q.key_limit, q.paused, q.priority, q.queued,
                    q.dispatched + q.dispatched_shared, q.open, n.retrying, n.delayed, serving,
                    q.oldest_at, q.paused_by, q.paused_at, q.reason, self._now(),
                )
            )  # fmt: skip
        return out

    async def set_queue(self, ns: str, ask: QueueAsk, actor: str) -> QueueRow:
        """Change a queue; absent fields stay."""
        self._check()
        key = f"queue.{ns}.{ask.queue}"
        for _ in range(ROUNDS):
            q = msgspec.structs.replace(self._queue(ns, ask.queue))
            q.limit = q.limit if ask.limit is None else ask.limit
            q.key_limit = q.key_limit if ask.key_limit is None else ask.key_limit
            if ask.limit is not None or ask.key_limit is not None:
                q.limited_at = self._now()
            if ask.paused is not None:
                q.paused, q.paused_by, q.paused_at = ask.paused, actor, self._now()
                q.reason = ask.reason if ask.paused else ""
            q.priority = q.priority if ask.priority is None else ask.priority
            try:
                await self.settings.put(key, encode(q), self.settings.seq(key))
            except WrongLast:
                continue
            return next(r for r in await self.queue_rows(ns) if r.queue == ask.queue)
        raise StoreDown(f"queue {ask.queue}: its settings are written to all the time")

    async def named_queues(self, ns: str) -> frozenset[str]:
        """Of settings, tasks and agents."""
        await self._fresh()
        served = (q for a in self._agents() if a.ns == ns for q in a.queues)
        return frozenset({DEFAULT_QUEUE, *served, *(q for n, q in self._set_queues() if n == ns)})

    async def live(self) -> dict[tuple[str, str], int]:
        """Live runs by (namespace, state)."""
        await self._fresh()
        rows = self.db.execute(
            "SELECT ns, lower(state), count(*) FROM runs INDEXED BY runs_live"
            " WHERE ended_at IS NULL AND state IS NOT NULL GROUP BY 1, 2"
        )
        return {(ns, state): count for ns, state, count in rows}

    # --- deployments

    async def deploy(self, ns: str, what: Deployment) -> list[str]:
        """Register a version and make it current."""
        await self._fresh()
        again = self.registry.deployed(ns, what.version) is not None and not what.dev
        current = self.registry.current(ns)
        warnings = [
            f"{t.task}: version {what.version} was registered before and is replaced"
            for t in sorted(what.tasks, key=lambda t: t.task)
            if again and current.get(t.task) == what.version
        ]
        for _ in range(ROUNDS):
            try:
                await self.registry.deploy(ns, what, self._now())
            except WrongLast:
                continue
            return warnings
        raise StoreDown("deployments are written to all the time")

    async def spec(self, ns: str, task: str, version: str = "") -> tuple[str, TaskSpec] | None:
        """(version, spec)."""
        self._check()
        if self._known(ns, task, version) is None:
            await self._fresh()
        known = self._known(ns, task, version)
        return None if known is None else (known[1].version, known[0])

    async def deployments(self, ns: str) -> list[DeploymentRow]:
        """Newest first."""
        await self._fresh()
        current = self.registry.current(ns)
        rows = self.db.execute(
            "SELECT version, count(*) FROM runs INDEXED BY runs_live"
            " WHERE ns = ? AND ended_at IS NULL AND state IS NOT NULL GROUP BY version",
            (ns,),
        )
        live: Counter[str] = Counter(dict(rows))
        found = sorted(self.registry.all(ns), key=lambda d: (d.at, d.what.version), reverse=True)
        return [
            DeploymentRow(
                d.version, d.image, d.image_tag, tuple(sorted(t.task for t in d.tasks)), at,
                any(current.get(t.task) == d.version for t in d.tasks), live[d.version], d.dev,
            )
            for at, d in ((f.at, f.what) for f in found)
        ]  # fmt: skip

    async def agent_rows(self, ns: str) -> list[AgentRow]:
        """Agents, for the api."""
        agents = await self.agents(ns)
        images = {d.what.image: d.what.version for d in self.registry.all(ns) if d.what.image}
        return agent_rows(agents, images)
