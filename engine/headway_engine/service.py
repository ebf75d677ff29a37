"""Services: the long-lived parts of an engine, and the one contract that they all keep.

`start` may come once, `stop` any number of times and also before start; `ready` says whether the
part does its work now. All bodies run in one task group: the failure of one ends the process, which
is started anew from outside (DECISIONS A2). A loop that died in silence would be worse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from headway_engine.clock import on_grid
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

log = logging.getLogger("headway.engine")

READY_WINDOW = 2.0
"""Seconds: ready means that the store committed or answered a probe within them."""
STORE_PAUSE = 0.25
"""Seconds between two tries while the store does not answer."""


class Signal:
    """Counts finished passes; does nothing in production, and lets a test await one."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[asyncio.Future[None]] = []

    def fire(self) -> None:
        """A pass was finished."""
        self.count += 1
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def after(self, count: int) -> None:
        """Return when more than `count` passes were finished."""
        while self.count <= count:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    async def next(self) -> None:
        """Return when the next pass is finished."""
        await self.after(self.count)


class Service:
    """A part with one body, `run()`, that goes on until `stopping` is set."""

    name = "service"

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.passed = Signal()
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """The body: returns soon after `stopping` is set; any other end is a failure."""
        raise NotImplementedError

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run the body in the group, unless it runs already or was stopped before."""
        if self._task is None and not self.stopping.is_set():
            self._task = group.create_task(self._body(), name=f"headway-{self.name}")

    async def _body(self) -> None:
        await self.run()
        if not self.stopping.is_set():
            raise RuntimeError(f"service {self.name} ended by itself")

    def ready(self) -> bool:
        """True while the body runs."""
        return self._task is not None and not self._task.done()

    def wake(self) -> None:
        """Look again now; services with a loop of their own override it."""

    async def stop(self, grace: float = 5.0) -> None:
        """Let the body end by itself for `grace` seconds, then cancel it; idempotent."""
        self.stopping.set()
        self.wake()
        task = self._task
        if task is None or task.done():
            return
        done, _ = await asyncio.wait([task], timeout=grace)
        if not done:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Ticker(Service):
    """A service that makes a pass every `period` seconds, or at once when it is woken.

    While the store is down it tries again after a short pause.
    """

    gathered = False
    """Passes of several tickers come together (`on_grid`): a small machine wakes less often."""

    def __init__(self, period: float) -> None:
        super().__init__()
        self.period = period
        self._event = asyncio.Event()

    async def once(self) -> float | None:
        """One pass; returns how many seconds to rest instead of the period, if not None."""
        raise NotImplementedError

    def wake(self) -> None:
        """Make the next pass now."""
        self._event.set()

    async def run(self) -> None:
        """Pass, rest, pass, until stopped."""
        down = False
        while not self.stopping.is_set():
            self._event.clear()
            try:
                rest = await self.once()
                down = False
            except StoreDown as e:
                if not down:
                    log.debug("%s waits: store_down=%s", self.name, e)
                down, rest = True, STORE_PAUSE
            self.passed.fire()
            await self._rest(self.period if rest is None else rest)

    async def _rest(self, seconds: float) -> None:
        if seconds <= 0 or self.stopping.is_set():
            await asyncio.sleep(0)
            return
        if self.gathered:
            seconds = on_grid(asyncio.get_running_loop().time(), seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()


class Health:
    """When the store last committed or answered; what `ready` and the beats say."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._clock = clock
        self._last = float("-inf")
        self.down_reason = ""
        self.on_back: Callable[[], object] = lambda: None
        """Called when an outage is over."""

    def good(self) -> None:
        """The store has just committed or answered."""
        now = self._clock()
        if self.down_reason:
            log.warning("the store answers again: away_s=%.1f", now - self._last)
            self.down_reason = ""
            self.on_back()
        self._last = now

    def bad(self, reason: str) -> None:
        """The store did not answer; said once, until it does."""
        if not self.down_reason:
            log.warning(
                "the store is away: enqueues wait in NATS, attempts hold: why=%s",
                reason,
            )
        self.down_reason = reason or "the store does not answer"

    def ready(self) -> bool:
        """Committed or probed within the last 2 s."""
        return self._clock() - self._last <= READY_WINDOW

    def down(self) -> bool:
        """Something failed and nothing has worked for 2 s: no use asking, the probe will see."""
        return bool(self.down_reason) and not self.ready()

    def quiet(self, seconds: float) -> bool:
        """Nothing good was heard for so long: time for a probe."""
        return self._clock() - self._last > seconds


class StoreClock:
    """The store's time, about: its last answer plus the time since."""

    def __init__(self) -> None:
        self._at = datetime.now(UTC)
        self._since = time.monotonic()

    def set(self, at: datetime) -> None:
        """The store has just said so."""
        self._at, self._since = at, time.monotonic()

    def now(self) -> datetime:
        """About the store's now."""
        return self._at + timedelta(seconds=time.monotonic() - self._since)


class Probe(Ticker):
    """Asks an idle store whether it answers, so that `ready` is always fresh."""

    name = "probe"

    def __init__(
        self,
        health: Health,
        ask: Callable[[], Awaitable[object]],
        patience: float = READY_WINDOW,
    ) -> None:
        super().__init__(READY_WINDOW / 4)
        self._health, self._ask, self._patience = health, ask, patience

    async def once(self) -> float | None:
        """Ask, if nothing was heard of the store lately."""
        if self._health.quiet(READY_WINDOW / 3):
            try:
                # A store that takes the question and says nothing is down as well.
                async with asyncio.timeout(self._patience):
                    await self._ask()
            except StoreDown as e:
                self._health.bad(str(e))
            except TimeoutError:
                self._health.bad(f"no answer within {self._patience:g} s")
            else:
                self._health.good()
        return None


async def run_services(
    services: Sequence[Service], stop: asyncio.Event, grace: float = 5.0
) -> None:
    """Start all in order, wait for `stop`, stop all in reverse order, `grace` seconds for each.

    If one fails the others are cancelled and the failure is raised (an ExceptionGroup).
    """
    async with asyncio.TaskGroup() as group:
        for service in services:
            service.start(group)
        try:
            await stop.wait()
        except asyncio.CancelledError:
            # The group cancels them, once. `wait_for` of Python 3.11 (in nats-py's flush) loses a
            # cancel that comes together with its result: such a service hears it from here.
            for service in services:
                service.stopping.set()
                service.wake()
            raise
        for service in reversed(services):
            await service.stop(grace)
