"""The life of one agent's runners: start, hand-shake, end, removal.

Ended runners are removed lazily, one by one: removal competes with starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any

from headway import faults
from headway_engine.agent.provider import NotProvided
from headway_engine.agent.redact import Redactor
from headway_engine.agent.verdict import Ended
from headway_engine.agent.worker import Worker
from headway_engine.runtime import (
    CannotStart,
    Exited,
    ImageMissing,
    Oom,
    RunnerSpec,
    RuntimeUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.conns import Endpoints
    from headway_engine.agent.plans import Plan
    from headway_engine.agent.provider import Provider
    from headway_engine.agent.worker import Host
    from headway_engine.runtime import Runtime

log = logging.getLogger("headway.agent")

GONE_TIMEOUT = 3.0
"""Seconds after an EOF until a runner that neither ends nor dials again is killed."""
CLOSE_TIMEOUT = 10.0
SWEEP_AFTER = 60.0
"""Seconds after its start was asked for, from which on a runner that nobody knows is removed: one
that another agent of this name has just started must not be taken for ours."""


class Lives:
    """Starts and ends workers; `on_gone` hears of each whose process is certainly gone."""

    def __init__(
        self,
        config: AgentConfig,
        runtime: Runtime,
        endpoints: Endpoints,
        provider: Provider,
        host: Host,
        on_gone: Callable[[Worker], None],
        clock: Callable[[], float],
    ) -> None:
        self._config, self._runtime, self._endpoints = config, runtime, endpoints
        self._provider, self._host, self._on_gone, self._clock = provider, host, on_gone, clock
        self.workers: dict[str, Worker] = {}
        """All that are not gone, by name."""
        self._redactors: dict[tuple[str, ...], Redactor] = {}
        self._removals: asyncio.Queue[Worker] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._none_left = asyncio.Event()
        self._boots: set[asyncio.Task[None]] = set()
        self.stopping = False
        self.starts = 0
        """Runners started so far."""
        self.swept = 0
        """Runners removed that nobody knew."""

    @property
    def owner(self) -> str:
        """The label under which this agent's runners are found."""
        return self._config.owner

    def start(self) -> None:
        """Begin to watch the runtime's events and to remove what ended."""
        self.go(self._watch())
        self.go(self._remover())

    def go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside; a failure is logged."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the pool failed: %r", error, exc_info=error)

    # --- starting

    def new(self, plan: Plan) -> Worker:
        """A worker that is being started; `settled` tells when it is ready, or never will be."""
        name = f"{self._config.name[:24]}-{secrets.token_hex(6)}"
        worker = Worker(self._host, plan, name, self._clock())
        worker.capacity = self._config.shared_slots if plan.shared else 1
        worker.log_rate, worker.log_burst = self._config.log_rate, self._config.log_burst
        worker.orphan_after = self._config.orphan_after
        self.workers[name] = worker
        self.starts += 1
        boot = self.go(self._boot(worker))
        self._boots.add(boot)
        boot.add_done_callback(self._boots.discard)
        return worker

    def redactor_of(self, secret_values: tuple[str, ...]) -> Redactor:
        """One per set of secrets: it is costly to make."""
        found = self._redactors.get(secret_values)
        if found is None:
            found = self._redactors[secret_values] = Redactor(secret_values)
        return found

    async def _boot(self, worker: Worker) -> None:
        plan = worker.plan
        try:
            hidden = self._provider.resolve(plan.secrets)
            worker.env = self._provider.resolve(plan.env) | hidden
            worker.redactor = self.redactor_of(tuple(hidden.values()))
            # The socket's folder has a short name of its own: its path is bounded.
            worker.endpoint = await self._endpoints.listen(
                worker.name[-12:], worker, slots=worker.capacity
            )
            worker.handle = await self._runtime.spawn(self._spec(worker))
            if faults.armed:
                await faults.point("agent.runner.spawned")
        except (ImageMissing, RuntimeUnavailable, NotProvided) as e:
            worker.agent_error = str(e)
        except CannotStart as e:
            worker.start_error = str(e)
        except (OSError, ValueError) as e:
            worker.agent_error = f"{type(e).__name__}: {e}"
        if worker.gone:
            await self.remove(worker)  # it was discarded while it started
            return
        if worker.agent_error or worker.start_error:
            self._finish(worker)
            return
        try:
            async with asyncio.timeout(self._config.start_timeout):
                await worker.settled.wait()
        except TimeoutError:
            worker.agent_error = f"not loaded within {self._config.start_timeout:g} s"
            self.discard(worker)
            return
        if worker.load_error is not None:
            self.discard(worker)

    def _spec(self, worker: Worker) -> RunnerSpec:
        plan = worker.plan
        assert worker.endpoint is not None
        return RunnerSpec(
            name=worker.name,
            owner=self.owner,
            grant=worker.endpoint.grant,
            key=plan.key,
            image=plan.image,
            limits=plan.limits,
            network=plan.network,
            source=plan.source,
            created_ms=time.time_ns() // 1_000_000,
        )

    # --- ending

    def withdraw(self, worker: Worker) -> None:
        """It is offered to no run any more."""

    def discard(self, worker: Worker) -> None:
        """End a worker: kill it, remove it. Its runs hear of it through `on_gone`."""
        self.withdraw(worker)
        worker.settled.set()
        if worker.endpoint is not None and worker.idle:
            worker.endpoint.cut()
        self.kill(worker)

    def kill(self, worker: Worker) -> None:
        """SIGKILL, then the ordinary way of an ended worker."""
        if not worker.gone:
            self.go(self._kill(worker))

    async def _kill(self, worker: Worker) -> None:
        if worker.handle is not None:
            await self._runtime.signal(worker.handle, signal.SIGKILL)
        await self._examine(worker)

    async def term(self, worker: Worker) -> None:
        """SIGTERM."""
        if worker.handle is not None:
            await self._runtime.signal(worker.handle, signal.SIGTERM)

    def eof(self, worker: Worker) -> None:
        """Its connection ended: see whether it is dead, or dials again."""
        if not worker.gone:
            self.go(self._examine(worker))

    async def _examine(self, worker: Worker) -> None:
        if worker.examined or worker.gone:
            return
        worker.examined = True
        try:
            if not await self._until_gone(worker):
                return
        finally:
            worker.examined = False
        self._finish(worker)

    async def _until_gone(self, worker: Worker) -> bool:
        """True when its process is gone, with the evidence noted; False if it dialled again."""
        end, said = self._clock() + GONE_TIMEOUT, False
        while worker.handle is not None:
            try:
                state = await self._runtime.inspect(worker.handle)
            except RuntimeUnavailable as e:
                log.log(logging.DEBUG if said else logging.WARNING, "cannot look at %s: %s",
                        worker.name, e)  # fmt: skip
                said = True
            else:
                if not state.running:
                    tail = ""
                    if state.exit_code not in (0, None):
                        tail = await self._runtime.tail(worker.handle)
                    worker.ended = Ended(state.exit_code, state.oom, tail, state.error)
                    return True
                if worker.conn is not None and self._clock() > end:
                    return False
                if self._clock() > end:
                    await self._runtime.signal(worker.handle, signal.SIGKILL)
                    end += GONE_TIMEOUT
            worker.exited.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await worker.exited.wait()
        return True

    def _finish(self, worker: Worker) -> None:
        if worker.gone:
            return
        worker.gone = True
        self.workers.pop(worker.name, None)
        self.withdraw(worker)
        if worker.endpoint is not None:
            worker.endpoint.cut()
        worker.conn = None
        worker.settled.set()
        self._on_gone(worker)
        self._removals.put_nowait(worker)
        if not self.workers:
            self._none_left.set()

    async def _watch(self) -> None:
        async for event in self._runtime.events(self.owner):
            if isinstance(event, Exited):
                worker = self.workers.get(event.name)
                if worker is not None:
                    worker.exited.set()
                    self.eof(worker)
            elif isinstance(event, Oom):
                worker = self.workers.get(event.name)
                if worker is not None:
                    worker.oom = True
            else:  # the stream broke: anything may have happened
                for worker in list(self.workers.values()):
                    if worker.conn is None and worker.settled.is_set():
                        self.eof(worker)

    async def _remover(self) -> None:
        while True:
            worker = await self._removals.get()
            try:
                await self.remove(worker)
            finally:
                self._removals.task_done()

    async def remove(self, worker: Worker) -> None:
        """Take away its process's remains and its endpoint."""
        if worker.handle is not None:
            await self._runtime.remove(worker.handle)
        # Each refers to the other: unbound, both go at once and not with the next collection.
        endpoint, worker.endpoint = worker.endpoint, None
        if endpoint is not None:
            await endpoint.close()

    async def sweep(self) -> None:
        """Remove the runners that the runtime has under our name and that we do not know.

        Their removal failed since the daemon was away, or their start was given up and took place
        all the same. To be called when the session was just confirmed: whoever has lost it would
        remove those of its successor. A crash in the middle leaves the rest to the next one.
        """
        try:
            handles = await self._runtime.list_all(self.owner)
        except RuntimeUnavailable as e:
            log.debug("cannot look for runners that nobody knows: %s", e)
            return
        before = time.time() - SWEEP_AFTER
        for handle in handles:
            if handle.name not in self.workers and handle.created_ms / 1000 < before:
                log.info("%s is removed: nobody knows it", handle.name)
                self.swept += 1
                await self._runtime.remove(handle)

    async def close(self, *, kill: bool) -> None:
        """Stop; with `kill` end and remove every runner, else leave them for an adopter."""
        self.stopping = True
        if kill:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._end_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end_all(self) -> None:
        self._none_left.clear()
        for worker in list(self.workers.values()):
            self.discard(worker)
        if self.workers:
            await self._none_left.wait()
        # One that was discarded while it started is removed when its start comes back.
        if self._boots:
            await asyncio.wait(list(self._boots))
        await self._removals.join()
