"""Keeps WORK shallow: gives due runs to WORK as live agents have slots free, and no more.

The backlog with its priority lives in the store; WORK holds what can start now. A dispatch that was
chosen but never published, or whose messages are gone, is found again by `worksweep`; a doubled
message is harmless, the claim decides (DECISIONS D1, D2).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from headway import faults, subjects
from headway.bus import JetStreamRefused, publish_batch_acked
from headway.errors import HeadwayError, NotReachable
from headway.states import OPEN, RunState
from headway.wire import encode
from headway.wire.rpc import Work
from headway_engine.clock import on_grid
from headway_engine.service import STORE_PAUSE, Service
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from nats.aio.client import Client as NatsClient

    from headway_engine.credits import Credits, Place
    from headway_engine.post import Post
    from headway_engine.store import Store
    from headway_engine.store.records import AgentState, Dispatch, Outcome, QueueState

log = logging.getLogger("headway.engine")

TICK = 1.0
"""Seconds between looks at all queues: what no wake told is found then."""
PAUSE = 0.2
SEND_TRIES = 3
"""Of a batch, with a repair of WORK between; then it is left to the sweep."""
NOTE_EVERY = 2.0
"""Seconds in which written batches are gathered for the store: only the sweep asks, after 30 s."""
_TAKEN, _FREE, _LEFT = "taken ", "free ", "left "

Counts = dict[str, tuple[int, int]]
"""Queue to (runs in their own container, shared runs)."""


class Dispatcher(Service):
    """Chooses and publishes; woken by freed slots, new runs and other engines' hints."""

    name = "dispatch"

    def __init__(
        self,
        nc: NatsClient,
        store: Store,
        post: Post,
        credits: Credits,
        work_created: Callable[[], str],
        repair: Callable[[], Awaitable[None]],
        *,
        sourced: bool = False,
    ) -> None:
        """`work_created`: when the stream WORK was made; `repair`: make it again if it is gone.

        `sourced`: WORK takes what it has from RUNS (the edge): nothing is published here.
        """
        super().__init__()
        self._sourced = sourced
        self._nc, self._store, self._post, self.credits = nc, store, post, credits
        self._work_created, self._repair = work_created, repair
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Place, list[bool]] = {}
        self._dirty: set[Place] = set()
        self._event = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._limited: set[Place] = set()
        self._written: dict[str, list[tuple[int, int]]] = {}
        self.published = 0

    # --- hints from others; never wait

    def mark(self, place: Place, *, shared: bool | None = None) -> None:
        """A run of this kind (None = any) may wait in this queue."""
        flags = self._waiting.setdefault(place, [False, False])
        if shared is None:
            flags[0] = flags[1] = True
        else:
            flags[shared] = True
        self._dirty.add(place)
        self._event.set()

    def freed(self, places: Iterable[Place]) -> None:
        """Slots became free for these queues."""
        for place in places:
            if place in self._waiting:
                self._dirty.add(place)
                self._event.set()

    def told(self, outcomes: Iterable[Outcome]) -> None:
        """Commits that made runs QUEUED, or freed a slot of a limited queue."""
        for outcome in outcomes:
            run = outcome.run
            if run is None or not outcome.events:
                continue
            if run.state is RunState.QUEUED:
                self.mark((run.ns, run.queue), shared=run.shared)
                self.hint((run.ns, run.queue))
            elif self._limited and run.state not in OPEN and (run.ns, run.queue) in self._limited:
                self.mark((run.ns, run.queue))
                if self.credits.engines > 1:
                    self._post.put(subjects.WAKE, left_hint((run.ns, run.queue)).encode())

    def changed(self, place: Place) -> None:
        """Its settings are others now: all engines look, each has its own copy at an edge."""
        self.mark(place)
        if self.credits.engines > 1:
            self._post.put(subjects.WAKE, place_hint(place).encode())

    def hint(self, place: Place) -> None:
        """Tell other engines, if there are any and it may not be ours to dispatch.

        That is so when our share of the slots is taken, and where a queue has limits: at an edge
        one engine at a time has its turn there.
        """
        if self.credits.engines == 1:
            return
        if place in self._limited or not any(self.credits.room(place, self._loop.time())):
            self._post.put(subjects.WAKE, place_hint(place).encode())

    def hinted(self, body: bytes) -> None:
        """Another engine's hint: runs wait in a queue, or runs of ours were claimed there."""
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            text = body.decode()
            if text.startswith(_TAKEN):
                self.credits.taken(text.removeprefix(_TAKEN).split())
                self.freed(list(self._waiting))
                return
            if text.startswith(_FREE):
                ns, agent, free, shared = text.removeprefix(_FREE).split()
                now = self._loop.time()
                self.freed(self.credits.heard(ns, agent, int(free), int(shared), now))
                return
            left = text.startswith(_LEFT)
            ns, queue = text.removeprefix(_LEFT).split(".")
            if left and (ns, queue) not in self._limited:
                return
            # Where nobody else dispatches, what has no room now must not wait for the next tick.
            if self.credits.engines == 1 or any(self.credits.room((ns, queue), self._loop.time())):
                self.mark((ns, queue))

    def taken(self, runs: Iterable[str]) -> None:
        """These were claimed, or their claim was refused."""
        others = self.credits.taken(runs)
        if others and self.credits.engines > 1:
            for text in taken_hints(others):
                self._post.put(subjects.WAKE, text.encode())

    # --- the fast path: intake's own commit dispatches

    def reserve(self, ns: str, counts: Counts) -> Counts:
        """Of so many new runs per queue, how many may go with their own commit."""
        room: Counts = {}
        now = self._loop.time()
        for queue, (run, shared) in counts.items():
            place = (ns, queue)
            free = self.credits.room(place, now)
            # Older runs that wait go first; the store looks again.
            flags = self._waiting.get(place, (False, False))
            give = (
                0 if flags[0] else min(run, free.run),
                0 if flags[1] else min(shared, free.shared),
            )
            if any(give):
                room[queue] = give
                self.credits.reserve(place, *give)
        return room

    def settle(self, ns: str, counts: Counts, reserved: Counts, done: list[Dispatch]) -> None:
        """After the commit: publish what it dispatched, give back what was reserved for nothing."""
        for queue, (run, shared) in reserved.items():
            self.credits.reserve((ns, queue), -run, -shared)
        used: dict[str, list[int]] = {}
        for dispatch in done:
            n_shared = self._publish(dispatch)
            u = used.setdefault(dispatch.queue, [0, 0])
            u[0] += len(dispatch.runs) - n_shared
            u[1] += n_shared
        for queue, (run, shared) in counts.items():
            u = used.get(queue, [0, 0])
            for kind, left in ((False, run - u[0]), (True, shared - u[1])):
                if left > 0:
                    self.mark((ns, queue), shared=kind)
            if run + shared > u[0] + u[1]:
                self.hint((ns, queue))

    def _publish(self, dispatch: Dispatch) -> int:
        """Queue a dispatch for WORK; returns how many of its runs are shared."""
        n_shared = sum(1 for _, shared in dispatch.runs if shared)
        self.credits.sent((dispatch.ns, dispatch.queue), dispatch.runs)
        self._send(dispatch)
        return n_shared

    def _send(self, dispatch: Dispatch) -> None:
        if self._sourced:
            self.published += len(dispatch.runs)
            self.passed.fire()
            return
        # One task per batch, so that a slow ack holds up nobody. Stopped = left to the sweep.
        if self._group is not None:
            self._group.create_task(self._send_one(dispatch))

    # --- the loops

    def wake(self) -> None:
        """Look now."""
        self._event.set()

    async def run(self) -> None:
        """Choose and publish until stopped."""
        async with asyncio.TaskGroup() as self._group:
            noting = self._group.create_task(self._note())
            try:
                await self._choose()
            finally:
                self._group = None
                noting.cancel()
        await self._note_written()

    async def _choose(self) -> None:
        while not self.stopping.is_set():
            if not self._dirty:
                self._event.clear()
                await self._event.wait()
                continue
            dirty, self._dirty = self._dirty, set()
            try:
                for place in dirty:
                    await self._look(place)
            except StoreDown:
                self._dirty |= dirty
                await asyncio.sleep(STORE_PAUSE)
            self.passed.fire()

    async def _look(self, place: Place) -> None:
        flags = self._waiting.get(place)
        if flags is None or not any(flags):
            return
        room = self.credits.room(place, self._loop.time())
        run, shared = room.run if flags[0] else 0, room.shared if flags[1] else 0
        if not run and not shared:
            return
        # New runs that come while the store chooses are not forgotten.
        if run:
            flags[0] = False
        if shared:
            flags[1] = False
        self.credits.reserve(place, run, shared)
        try:
            dispatch = await self._store.dispatch(*place, run, shared)
        except BaseException:
            flags[0], flags[1] = flags[0] or run > 0, flags[1] or shared > 0
            raise
        finally:
            self.credits.reserve(place, -run, -shared)
        if dispatch is None:  # paused, or another engine is at it: the next tick looks again
            flags[0], flags[1] = flags[0] or run > 0, flags[1] or shared > 0
            return
        if not dispatch.runs:
            return
        if faults.armed:
            await faults.point("engine.dispatch.committed")
        n_shared = self._publish(dispatch)
        if run and len(dispatch.runs) - n_shared >= run:
            flags[0] = True
        if shared and n_shared >= shared:
            flags[1] = True

    async def _send_one(self, dispatch: Dispatch) -> None:
        subject = subjects.work(dispatch.ns, dispatch.queue)
        messages = [(subject, encode(Work(run, shared))) for run, shared in dispatch.runs]
        for _ in range(SEND_TRIES):
            # Noted under the stream that was known before: if it was made anew meanwhile, the sweep
            # publishes the batch once more, which is better than never.
            created = self._work_created()
            try:
                ack = await publish_batch_acked(self._nc, messages)
            except HeadwayError as e:
                log.warning(
                    "WORK cannot be written: queue=%s runs=%d why=%s",
                    dispatch.queue,
                    len(messages),
                    e,
                )
                if not isinstance(e, NotReachable | JetStreamRefused):
                    return  # the row stays without a sequence: the sweep publishes it again
                await asyncio.sleep(PAUSE)
                with contextlib.suppress(HeadwayError):
                    await self._repair()
            else:
                break
        else:
            return
        if faults.armed:
            await faults.point("engine.dispatch.published")
        self.published += len(messages)
        self.passed.fire()
        if ack is not None:
            self._written.setdefault(created, []).append((dispatch.id, ack.seq))

    async def _note(self) -> None:
        while True:
            await asyncio.sleep(on_grid(self._loop.time(), NOTE_EVERY))
            await self._note_written()

    async def _note_written(self) -> None:
        """Tell the store which batches are in WORK; what it does not hear is published again."""
        if not self._written:
            return
        written, self._written = self._written, {}
        with contextlib.suppress(StoreDown):
            for created, batches in written.items():
                await self._store.dispatched(batches, created)

    def again(self, dispatches: Iterable[Dispatch]) -> None:
        """Publish these once more (the sweep found their messages gone)."""
        for dispatch in dispatches:
            self._send(dispatch)

    def counted(self, states: Iterable[QueueState], agents: Iterable[AgentState]) -> None:
        """The store's own numbers: correct the credits, find queues that nobody woke."""
        now = self._loop.time()
        for a in agents:
            if not a.alive:
                continue
            if not self.credits.knows(a.ns, a.agent):
                self.credits.registered(a.ns, a.agent, a.queues, a.slots, a.shared_slots, now)
            if a.degraded or a.drain:
                self.credits.stored(a.ns, a.agent, 0, 0, now)
            else:
                free, shared = max(0, a.slots - a.open), max(0, a.shared_slots - a.open)
                self.credits.stored(a.ns, a.agent, free, shared, now)
        for ns, agent in self.credits.silent(now):
            self.credits.gone(ns, agent)
        limited: set[Place] = set()
        for q in states:
            place = (q.ns, q.queue)
            self.credits.correct(place, q.dispatched - q.dispatched_shared, q.dispatched_shared)
            if q.limit or q.key_limit:
                limited.add(place)
            if q.queued > q.dispatched and not q.paused:
                self.mark(place)
        self._limited = limited


def place_hint(place: Place) -> str:
    """Runs wait in this queue."""
    return f"{place[0]}.{place[1]}"


def left_hint(place: Place) -> str:
    """A run of this queue has left its slot: of interest if the queue has limits."""
    return _LEFT + place_hint(place)


def free_hint(ns: str, agent: str, free: int, shared_free: int) -> str:
    """What an agent says that it has free."""
    return f"{_FREE}{ns} {agent} {free} {shared_free}"


def taken_hints(runs: list[str]) -> Iterator[str]:
    """These runs are no longer on their way to an agent."""
    for i in range(0, len(runs), 1000):
        yield _TAKEN + " ".join(runs[i : i + 1000])
