"""The warm pool: started, loaded, blank runners that wait for a run.

Taking a warm one is instant; a dry pool starts one at once (cold) and never queues behind its own
refill, which is bounded in number and rate so that a burst is not slowed by it. How a runner is
started and ended is in `lives`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from headway_engine.agent.lives import Lives
from headway_engine.agent.shelves import Shelf, Tokens, discards, refill_plan
from headway_engine.agent.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.conns import Endpoints
    from headway_engine.agent.plans import Plan
    from headway_engine.agent.provider import Provider
    from headway_engine.agent.worker import Host, Worker
    from headway_engine.runtime import Runtime

log = logging.getLogger("headway.agent")


class Pool(Lives):
    """All runners of one agent."""

    def __init__(
        self,
        config: AgentConfig,
        runtime: Runtime,
        endpoints: Endpoints,
        provider: Provider,
        host: Host,
        on_gone: Callable[[Worker], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config, runtime, endpoints, provider, host, on_gone, clock)
        self.shelves: dict[str, Shelf] = {}
        self._shared: dict[str, Worker] = {}
        self._versions: dict[str, str] = {}
        self._tokens = Tokens(config.warm.rate, max(1, config.warm.high), clock())
        self._sources: dict[str, Source] = {}
        self._scan_at = 0.0
        self.looks = 0
        """Times that all development folders have been looked at."""

    @property
    def warm(self) -> int:
        """Runners that wait."""
        return sum(len(s.warm) for s in self.shelves.values())

    # --- taking

    def take(self, plan: Plan) -> Worker:
        """A worker for one run, or the shared one: ready or starting (`worker_ready` follows)."""
        now = self._clock()
        shelf = self._shelf(plan, now)
        shelf.used = now
        if plan.shared:
            worker = self._shared.get(plan.key)
            if worker is None or worker.gone:
                worker = self._shared[plan.key] = self.new(plan)
            return worker
        while shelf.warm:
            worker = shelf.warm.popleft()
            if worker.ready and worker.conn is not None and not worker.gone:
                worker.cold = False
                return worker
        return self.new(plan)

    def _shelf(self, plan: Plan, now: float) -> Shelf:
        shelf = self.shelves.get(plan.key)
        if shelf is None:
            seen = self._source(plan).look() if _watched(plan) else None
            shelf = self.shelves[plan.key] = Shelf(plan, now, deque(), source=seen)
        before = self._versions.get(plan.task)
        if before != plan.version:
            # The version that came before keeps nothing warm; its runs start cold.
            self._versions[plan.task] = plan.version
            for other in self.shelves.values():
                if other.plan.version == before and other.plan.task == plan.task:
                    other.retired = True
        shelf.retired = False
        return shelf

    def give_back(self, worker: Worker) -> None:
        """A dedicated worker whose run was taken away before it was sent."""
        if worker.plan.shared or worker.gone:
            return
        if worker.ready:
            self.keep(worker)
        else:
            self.discard(worker)

    def keep(self, worker: Worker) -> None:
        """A worker is ready and nobody waits for it: it goes onto its shelf."""
        if worker.plan.shared:
            if not self.is_current(worker):
                self.discard(worker)
            return
        shelf = self.shelves.get(worker.plan.key)
        if shelf is None or shelf.retired:
            self.discard(worker)
            return
        worker.cold = False
        shelf.warm.append(worker)

    def forget_shared(self, worker: Worker) -> None:
        """New runs get another worker; this one ends with its runs, or is recycled."""
        if self._shared.get(worker.plan.key) is worker:
            del self._shared[worker.plan.key]

    def is_current(self, worker: Worker) -> bool:
        """Does a shared worker still take new runs?"""
        return self._shared.get(worker.plan.key) is worker

    def withdraw(self, worker: Worker) -> None:
        """It is offered to no run any more."""
        shelf = self.shelves.get(worker.plan.key)
        if shelf is not None and worker in shelf.warm:
            shelf.warm.remove(worker)
        self.forget_shared(worker)

    def adopt(self, worker: Worker) -> None:
        """A runner of an earlier agent belongs to this one now."""
        self.workers[worker.name] = worker
        if worker.plan.shared:
            self._shared.setdefault(worker.plan.key, worker)

    # --- upkeep

    async def tick(self) -> None:
        """Discard, refill, look for changed sources; called a few times a second."""
        now = self._clock()
        if now - self._scan_at > 0.5:
            self._scan_at = now
            await self._scan()
        warm = self._config.warm
        for shelf in list(self.shelves.values()):
            for worker in discards(shelf, warm, now):
                self.discard(worker)
            if now - shelf.used > 2 * warm.idle and not shelf.warm:
                self._forget_shelf(shelf)
        if self.stopping:
            return
        for shelf in refill_plan(list(self.shelves.values()), warm, now):
            if sum(s.starting for s in self.shelves.values()) >= warm.refill:
                break
            if not self._tokens.take(now):
                break
            shelf.starting += 1
            self.go(self._refill(shelf, self.new(shelf.plan)))

    def _forget_shelf(self, shelf: Shelf) -> None:
        worker = self._shared.get(shelf.plan.key)
        if worker is None:
            del self.shelves[shelf.plan.key]
        elif worker.idle:
            self.discard(worker)

    async def _refill(self, shelf: Shelf, worker: Worker) -> None:
        source = shelf.source
        try:
            await worker.settled.wait()
        finally:
            shelf.starting -= 1
        if not worker.ready:
            # Do not start the same failure again and again: the next run will find out.
            shelf.retired = True
        elif shelf.source != source and worker in shelf.warm:
            self.discard(worker)  # the source changed while it loaded

    def _source(self, plan: Plan) -> Source:
        found = self._sources.get(plan.source)
        if found is None:
            found = self._sources[plan.source] = Source(Path(plan.source))
        return found

    async def _scan(self) -> None:
        """Development: a changed source restarts what was loaded from it."""
        shelves = [s for s in self.shelves.values() if _watched(s.plan)]
        self._sources = {s.plan.source: self._source(s.plan) for s in shelves}
        for folder, source in list(self._sources.items()):
            seen = await asyncio.to_thread(source.look)
            if seen is None:
                continue
            dropped = False
            for shelf in (s for s in shelves if s.plan.source == folder):
                before, shelf.source = shelf.source, seen
                if before not in (None, seen):
                    dropped |= self.reload(shelf)
            if dropped:
                log.info("the source in %s changed: its runners start anew", folder)
        self.looks += 1

    def reload(self, shelf: Shelf) -> bool:
        """Throw away what waits; a shared worker ends when its runs have. Was there anything?"""
        waiting = list(shelf.warm)
        for worker in waiting:
            self.discard(worker)
        worker = self._shared.pop(shelf.plan.key, None)
        if worker is not None and worker.idle and worker.settled.is_set():
            self.discard(worker)
        return bool(waiting) or worker is not None


def _watched(plan: Plan) -> bool:
    return plan.dev and bool(plan.source)
