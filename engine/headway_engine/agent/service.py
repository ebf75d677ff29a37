"""The agent: takes work into free slots, keeps its attempts, answers for their lease.

start → adopt what lives → register → pull; stop → drain, or leave everything for the next agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.wire import Malformed, decode
from headway.wire.rpc import CTL, Registered
from headway_engine.agent.adoption import adopt, settle
from headway_engine.agent.attempts import Attempts
from headway_engine.agent.before import AgentCannotStart
from headway_engine.agent.bodies import Carrier
from headway_engine.agent.certificate import NoCertificate
from headway_engine.agent.claims import Claims
from headway_engine.agent.journal import FileJournal, read
from headway_engine.agent.leases import Leases
from headway_engine.agent.plans import Plans
from headway_engine.agent.pool import Pool
from headway_engine.agent.provider import Provider
from headway_engine.agent.sockets import BadEndpoint
from headway_engine.agent.telling import Telling
from headway_engine.agent.uplink import Uplink
from headway_engine.agent.ways import NoWay, open_endpoints
from headway_engine.clock import on_grid
from headway_engine.metrics.endpoint import Endpoint
from headway_engine.runtime import RuntimeUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.conns import Endpoints
    from headway_engine.agent.port import Link
    from headway_engine.agent.worker import Worker
    from headway_engine.runtime import Runtime

log = logging.getLogger("headway.agent")

TICK, IDLE_TICK = 0.1, 0.5
"""Seconds between looks at deadlines and at the pool; the second while there is nothing of both."""
PING_EVERY = 5.0
SILENT_AFTER = 15.0
"""Seconds without the answer to a ping until the agent warns."""
FAILED_STARTS = 3
"""Failed starts of different runs, with none that worked between, until the agent stops pulling."""
PROBE_EVERY = 5.0
SWEEP_EVERY = 60.0
"""Seconds between looks for runners that nobody knows."""
IMAGES_EVERY = 10.0
FIRST_IMAGES, IMAGES_PATIENCE = 5.0, 0.5
"""Seconds that a registration, and a beat, wait for the host's images: the next beat has them."""
_DRAINS = {
    "": "not draining any more: takes work again",
    "drain": "drains: takes nothing new, what runs goes on to its end",
    "now": "drains now: gives back what runs",
}


class Agent:
    """One agent of one namespace. `start` once; `stop` any number of times, also before `start`.

    Whoever makes it holds its folder (`before.hold`).
    """

    def __init__(
        self,
        config: AgentConfig,
        link: Link,
        runtime: Runtime,
        *,
        provider: Provider | None = None,
        host: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.link, self.runtime, self.clock = config, link, runtime, clock
        # Not relative: a container's mount, and a runner in another directory, must find it.
        self._state = Path(config.state_dir).absolute()
        self.endpoints: Endpoints
        self.host = host or socket.gethostname()
        self.provider = provider or Provider(config.provider_file, config.env_prefix)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.metrics: Endpoint | None = None
        """Where Prometheus scrapes, if the settings say so."""
        self._failed_starts: set[str] = set()
        self._images: tuple[str, ...] = ()
        self._images_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._swept_at = clock()
        self._stopped = False
        self._started = False
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._adopted: list[Worker] = []
        self.failure: BaseException | None = None
        """Why a part of it ended by itself: then the agent has to be started anew."""
        self.failed = asyncio.Event()
        self.degraded = ""
        self.draining = ""
        """An operator's word: `drain` = nothing new is taken, `now` = what runs is given back."""
        self.open = False
        """It has a session that an engine has confirmed."""

    # --- start

    async def start(self) -> None:
        """Adopt, register in the background, begin to pull; raises AgentCannotStart."""
        if self._started or self._stopped:
            return
        if why := await self.runtime.check():
            raise AgentCannotStart(why)
        self._state.mkdir(parents=True, exist_ok=True)
        try:
            left = await self.runtime.list_all(self.config.owner)
            self.endpoints = await open_endpoints(
                self.config, self.runtime, self._state, keep=bool(left)
            )
        except (NoWay, NoCertificate, BadEndpoint, RuntimeUnavailable) as e:
            raise AgentCannotStart(str(e)) from e
        self._started = True
        self._build()
        saved = read(self._state / "journal")
        self.journal.start(saved)
        self._adopted = await adopt(
            self.config, self.runtime, self.endpoints, self.provider, self.pool, self.attempts,
            self.plans, self.journal, saved,
        )  # fmt: skip
        self.pool.start()
        session = saved.session if self.attempts.live else 0
        self._go(self.leases.run(session))
        self._go(self._ticks())
        self._go(self.telling.beats())
        self._go(self.attempts.children.run())
        if self.config.metrics_listen:
            self.metrics = Endpoint(self.config.metrics_listen, self.telling.families)
            self._go(self.metrics.run())
        await self.link.start(
            queues=self.config.queues,
            want=self.claims.want,
            deliver=self.claims.deliver,
            on_ctl=self._on_ctl,
            on_reply=self.attempts.children.heard,
            on_back=self.attempts.children.ask_all,
        )

    def _build(self) -> None:
        c = self.config
        self.plans = Plans(c.caps, self.runtime.caps.source_at)
        self.journal = FileJournal(self._state / "journal", self.plans)
        self.uplink = Uplink(
            self.link, c.name, timeout=c.rpc_timeout, free=self._free, heard=self._heard
        )
        self.carrier = Carrier(
            self.link, alive=lambda: bool(self.uplink.session) and not self._stopped
        )
        self.attempts = Attempts(
            c, self.uplink, self.plans, self.carrier, self.journal,
            host=self.host, clock=self.clock, on_room=self._made_room,
            on_start_failed=self._start_failed, on_started=self._start_worked,
        )  # fmt: skip
        self.pool = Pool(
            c, self.runtime, self.endpoints, self.provider, self.attempts, self._worker_gone,
            clock=self.clock,
        )  # fmt: skip
        self.attempts.pool = self.pool
        self.leases = Leases(
            c, self.link, host=self.host, holds=self._holds, free=self._free,
            degraded=lambda: self.degraded, images=self._image_ids,
            freeze=self.attempts.stopping.freeze,
            stop=self.attempts.stopping.stop_by_id, kill_all=self._kill_all, opened=self._opened,
            beaten=self._beaten, claims=lambda: self.claims.stirring(), clock=self.clock,
        )  # fmt: skip
        self.claims = Claims(
            c, self.link, self.attempts, self.plans, session=lambda: self.leases.session,
            session_over=self.leases.session_over, heard=self._heard, spawn=self.uplink.spawn,
        )  # fmt: skip
        self.telling = Telling(self)
        self._update_pause()

    def _go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the agent failed: %r", error, exc_info=error)
            self.failure = error
            self.failed.set()

    async def ready(self) -> None:
        """Return when it is registered and takes work."""
        await self._ready.wait()

    def _opened(self, answer: Registered) -> None:
        self.uplink.open(answer.session)
        self.journal.session(answer.session)
        adopted, self._adopted = self._adopted, []
        if adopted:
            self._go(settle(adopted, self.pool, self.attempts))

    def _beaten(self, drain: str) -> None:
        """The lease is good, and this is the operator's word: only then work is taken."""
        if drain != self.draining:
            log.warning("%s", _DRAINS.get(drain, "draining"))
            self.draining = drain
            self.attempts.stopping.stay_all()
        if drain == "now":
            self.attempts.stopping.leave_all()
        if self._stopped:
            return
        self.open = True
        self._update_pause()
        self._ready.set()
        self.link.wake()
        if self.clock() - self._swept_at > SWEEP_EVERY:
            self._swept_at = self.clock()
            self.pool.go(self.pool.sweep())

    # --- what the parts ask

    def _free(self) -> tuple[int, int]:
        return self.claims.free()

    def _heard(self) -> None:
        self.leases.heard()

    def _holds(self) -> list[tuple[str, int]]:
        return [(a.run, a.epoch) for a in self.attempts.live.values()]

    async def _image_ids(self) -> tuple[str, ...]:
        """What the host has, as last looked up: a daemon that hangs must not hold up a beat."""
        looking = self._looking
        if looking is None and self.clock() - self._images_at > IMAGES_EVERY:
            looking = self._looking = self._go(self._look_for_images())
        if looking is not None:
            first = self._images_at == float("-inf")
            await asyncio.wait([looking], timeout=FIRST_IMAGES if first else IMAGES_PATIENCE)
        return self._images

    async def _look_for_images(self) -> None:
        try:
            self._images = await self.runtime.images()
        finally:
            self._images_at, self._looking = self.clock(), None

    def _kill_all(self) -> None:
        self.uplink.end_session()
        self.open = False
        self._update_pause()
        self.attempts.stopping.abandon_all()

    def _on_ctl(self, body: bytes) -> None:
        try:
            ctl = decode(CTL, body)
        except Malformed as e:
            log.warning("a control message that nobody can read: %s", e)
            return
        self.attempts.stopping.stop_by_id(ctl.run, ctl.epoch, ctl.why)

    def _worker_gone(self, worker: Worker) -> None:
        self.attempts.worker_gone(worker)

    # --- the breaker: an agent that cannot start anything must not take work (DECISIONS B4)

    def _start_failed(self, run: str, why: str) -> None:
        self._failed_starts.add(run)
        if len(self._failed_starts) >= FAILED_STARTS and not self.degraded:
            self.degraded = f"cannot start runners: {why}"[:200]
            log.error("%s", self.degraded)
            self._update_pause()
            self._go(self._probe())

    def _start_worked(self) -> None:
        self._failed_starts.clear()
        if self.degraded:
            log.warning("runners start again")
            self.degraded = ""
            self._update_pause()
            self.link.wake()

    def _update_pause(self) -> None:
        if self._stopped:
            self.claims.paused = "stopping"
        elif not self.open:
            self.claims.paused = "no session"
        else:
            self.claims.paused = "draining" if self.draining else self.degraded

    async def _probe(self) -> None:
        """Until a blank runner of the last plan starts; `worker_ready` then ends the breaker."""
        while self.degraded and not self._stopped:
            await asyncio.sleep(PROBE_EVERY)
            shelf = max(self.pool.shelves.values(), key=lambda s: s.used, default=None)
            if shelf is None or not self.degraded:
                self._start_worked()
                return
            worker = self.pool.new(shelf.plan)
            await worker.settled.wait()

    # --- periodic

    async def _ticks(self) -> None:
        ping_at = self.clock()
        while True:
            self.attempts.stopping.tick()
            await self.pool.tick()
            if self.clock() - ping_at > PING_EVERY:
                ping_at = self.clock()
                self._ping_all(ping_at)
            busy = self.attempts.live or self.attempts.superseded or self.pool.shelves
            tick = TICK if busy or self.pool.workers else IDLE_TICK
            await asyncio.sleep(on_grid(asyncio.get_running_loop().time(), tick))

    def _ping_all(self, now: float) -> None:
        # A warning only (DECISIONS B5): the process lives, so it is a timeout or a cancel that ends
        # it, never this.
        for worker in self.pool.workers.values():
            if not worker.slots:
                worker.pinged_at = None
            elif worker.ping(now, SILENT_AFTER):
                runs = ", ".join(a.run for a in worker.slots.values())
                log.warning(
                    "%s has not answered for %.0f s, its process lives: run %s",
                    worker.name, SILENT_AFTER, runs[:200],
                )  # fmt: skip

    # --- stop

    async def stop(self, drain: bool = True) -> None:
        """End; with `drain` without leaving anything.

        Attempts may end by themselves for a while, then they are moved elsewhere, and every runner
        is removed. Without it all of them are left to the next agent, as after a crash.
        """
        if self._stopped:
            return
        self._stopped = True
        if not self._started:
            return
        self._update_pause()
        await self.link.stop_pulling()
        if drain:
            await self._drain()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.uplink.close()
        await self.pool.close(kill=drain)
        await self.endpoints.close()
        await self.runtime.close()
        self.journal.close()
        await self.link.close()

    async def _until_empty(self, seconds: float) -> None:
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.attempts.live:
                    await self._room.wait()
                    self._room.clear()

    def _made_room(self) -> None:
        self._room.set()
        self.link.wake()

    async def _drain(self) -> None:
        await self._until_empty(self.config.drain_timeout)
        for attempt in list(self.attempts.live.values()):
            self.attempts.stopping.stop(attempt, "drain")
        await self._until_empty(15.0)
        try:
            async with asyncio.timeout(2):
                await self.uplink.idle()
        except TimeoutError:
            log.warning("stopping although some reports were not answered")
