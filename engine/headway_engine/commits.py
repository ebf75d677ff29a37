"""Group commit: what arrived together becomes one round of I/O at the store.

While a batch commits, the next one gathers. Requests of one rpc stay together and in order, and two
requests that touch the same run are never in flight at the same time, so the order per run holds
over several lanes. There is no task and no future per request: the lane calls back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from headway import faults
from headway_engine.metrics.timing import Timing
from headway_engine.service import STORE_PAUSE, Health, Service
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headway_engine.happenings import Happening, Told
    from headway_engine.store.records import Outcome

log = logging.getLogger("headway.engine")

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class _Request(Generic[I, O]):
    __slots__ = ("done", "items", "runs")

    def __init__(
        self, items: Sequence[I], runs: frozenset[str], done: Callable[[list[O] | None], object]
    ) -> None:
        self.items, self.runs, self.done = items, runs, done


class Grouping(Service, Generic[I, O]):
    """Lanes that commit requests in groups.

    `act(items)` is the round of I/O; it may raise StoreDown, then every request of the group hears
    None (*busy*: nothing was decided, ask again). `capacity` bounds the items that wait.
    """

    def __init__(
        self,
        name: str,
        act: Callable[[list[I]], Awaitable[list[O]]],
        run_of: Callable[[I], str],
        health: Health,
        *,
        lanes: int = 2,
        batch: int = 512,
        capacity: int = 20_000,
    ) -> None:
        super().__init__()
        self.name = name
        self._act, self._run_of, self._health = act, run_of, health
        self._lanes, self._batch, self._capacity = lanes, batch, capacity
        self._queue: deque[_Request[I, O]] = deque()
        self._waiting = 0
        self._busy: set[str] = set()
        self._event = asyncio.Event()
        self.timing = Timing()
        """Rounds of I/O that the store answered."""

    @property
    def waiting(self) -> int:
        """Items that wait for a lane."""
        return self._waiting

    def submit(self, items: Sequence[I], done: Callable[[list[O] | None], object]) -> bool:
        """Hand in a request; `done(outcomes)` is called after the commit, `done(None)` for busy.

        False if there is no room, or the store is known to be down: then `done` is never called.
        """
        count = len(items)
        full = self._waiting + count > self._capacity and self._waiting > 0
        # With the store away a queue would only fill with what is asked again and again.
        if full or self.stopping.is_set() or self._health.down():
            return False
        if count == 1:
            runs = frozenset((self._run_of(items[0]),))
        else:
            runs = frozenset(map(self._run_of, items))
        self._queue.append(_Request(items, runs, done))
        self._waiting += count
        self._event.set()
        return True

    async def call(self, items: Sequence[I]) -> list[O]:
        """Hand in and wait; raises StoreDown if the store is down or there is no room."""
        if not items:
            return []
        future: asyncio.Future[list[O] | None] = asyncio.get_running_loop().create_future()

        def done(outcomes: list[O] | None) -> None:
            if not future.done():
                future.set_result(outcomes)

        if not self.submit(items, done):
            raise StoreDown(self._health.down_reason or "too much waits for the store")
        outcomes = await future
        if outcomes is None:
            raise StoreDown(self._health.down_reason or None)
        return outcomes

    def wake(self) -> None:
        """Look at the queue."""
        self._event.set()

    async def run(self) -> None:
        """All lanes, until stopped and empty."""
        async with asyncio.TaskGroup() as group:
            for i in range(self._lanes):
                group.create_task(self._lane(), name=f"headway-{self.name}-{i}")

    async def _lane(self) -> None:
        while True:
            group = self._gather()
            if not group:
                if self.stopping.is_set():
                    return
                self._event.clear()
                await self._event.wait()
                continue
            try:
                await self._commit(group)
            finally:
                for request in group:
                    self._busy -= request.runs
                # Whatever waited for one of these runs may go now.
                self._event.set()
            self.passed.fire()

    def _gather(self) -> list[_Request[I, O]]:
        """The oldest requests whose runs are not in flight, up to a batch."""
        queue = self._queue
        if not queue:
            return []
        group: list[_Request[I, O]] = []
        left: list[_Request[I, O]] = []
        blocked = set(self._busy)
        size = 0
        while queue and size < self._batch:
            request = queue.popleft()
            if blocked and not blocked.isdisjoint(request.runs):
                # Later requests of the same runs must not overtake it.
                blocked |= request.runs
                left.append(request)
                continue
            group.append(request)
            size += len(request.items)
        queue.extendleft(reversed(left))
        for request in group:
            self._busy |= request.runs
        self._waiting -= size
        return group

    async def _commit(self, group: list[_Request[I, O]]) -> None:
        items = list(group[0].items) if len(group) == 1 else [i for r in group for i in r.items]
        begun = time.perf_counter()
        try:
            outcomes = await self._act(items)
        except StoreDown as e:
            self._health.bad(str(e))
            for request in group:
                request.done(None)
            # A caller that asks again at once must not make this a hot loop.
            await asyncio.sleep(STORE_PAUSE)
            return
        except BaseException:
            for request in group:
                request.done(None)
            raise
        self._health.good()
        self.timing.add(time.perf_counter() - begun)
        at = 0
        for request in group:
            end = at + len(request.items)
            request.done(outcomes[at:end])
            at = end


class Commits(Grouping["Told", "Outcome"]):
    """Transitions: `store.commit` in groups; what they did is told to `tell` before the callers."""

    def __init__(
        self,
        commit: Callable[[Sequence[Told]], Awaitable[list[Outcome]]],
        tell: Callable[[Sequence[Outcome]], None],
        health: Health,
        *,
        lanes: int = 2,
        batch: int = 512,
        capacity: int = 20_000,
    ) -> None:
        async def act(moves: list[Told]) -> list[Outcome]:
            outcomes = await commit(moves)
            if faults.armed:
                await faults.point("engine.commits.committed")
            tell(outcomes)
            return outcomes

        super().__init__(
            "commits", act, _run_of_move, health, lanes=lanes, batch=batch, capacity=capacity
        )

    async def move(self, run: str, happening: Happening) -> Outcome:
        """One transition; raises StoreDown."""
        return (await self.call([(run, happening)]))[0]

    async def move_many(self, moves: Sequence[Told]) -> list[Outcome]:
        """Several, in order per run; raises StoreDown."""
        return await self.call(moves)


def _run_of_move(move: Told) -> str:
    return move[0]
