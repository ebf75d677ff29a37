"""Work that was pulled becomes claims: many runs in one request, acknowledged after the answer.

From the answer on only the lease and the epoch count, never an ack.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any

from headway import faults, subjects
from headway.wire import Malformed, decode, encode
from headway.wire.rpc import CLAIMED, WORK_BODY, Claim, Claimed
from headway_engine.agent.port import Link, NoAnswer, WorkItem
from headway_engine.agent.uplink import jittered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from headway_engine.agent.attempts import Attempts
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.plans import Plans

log = logging.getLogger("headway.agent")

SURPLUS_DELAY = 0.2
"""Seconds after which work that there was no room for is offered to somebody else."""
PATIENCE = 20.0
"""Seconds that a claim is asked again, until somebody else may try."""
WORKING_EVERY = 0.5
"""Seconds between two marks that a claim is under way; well below the consumer's ack_wait."""
BATCH = 64
"""Runs in one claim: with larger ones all slots go in step, and engine and agent take turns."""


class Claims:
    """Takes pulled work into free slots."""

    def __init__(
        self,
        config: AgentConfig,
        link: Link,
        attempts: Attempts,
        plans: Plans,
        *,
        session: Callable[[], int],
        session_over: Callable[[int], None],
        heard: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._config, self._link, self._attempts, self._plans = config, link, attempts, plans
        self._session, self._session_over = session, session_over
        self._heard, self._spawn = heard, spawn
        self._pending: list[tuple[WorkItem, str, bool]] = []
        self._surplus: list[WorkItem] = []
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        self._asking: dict[int, tuple[list[WorkItem], float]] = {}
        """Claims without an answer: their work, and since when."""
        self._stirred = 0
        self.marks: asyncio.TimerHandle | None = None
        """The next marks; None while no claim is under way."""
        self.reserved_run = self.reserved_shared = 0
        self.unreadable = 0
        """Messages of WORK that could not be decoded."""
        self.paused = ""
        """Why nothing is taken (a drain, the breaker, no session)."""

    def free(self) -> tuple[int, int]:
        """Free slots of both kinds."""
        if self.paused:
            return 0, 0
        return (
            max(0, self._config.slots - self._attempts.run_used - self.reserved_run),
            max(0, self._config.shared_slots - self._attempts.shared_used - self.reserved_shared),
        )

    def stirring(self) -> tuple[bool, int]:
        """Is a claim under way, and how often one has begun or ended: what holds may change by."""
        return bool(self._asking), self._stirred

    def want(self) -> int:
        """For how many runs there is room."""
        return sum(self.free())

    def deliver(self, items: list[WorkItem]) -> None:
        """Work has arrived: reserve slots, give back what is too much."""
        run_free, shared_free = self.free()
        for item in items:
            try:
                work = decode(WORK_BODY, item.body)
            except Malformed as e:
                self._refuse(item, str(e))
                continue
            if work.shared and shared_free > 0:
                shared_free -= 1
                self.reserved_shared += 1
            elif not work.shared and run_free > 0:
                run_free -= 1
                self.reserved_run += 1
            else:
                self._surplus.append(item)
                continue
            self._pending.append((item, work.run, work.shared))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _refuse(self, item: WorkItem, why: str) -> None:
        """Given back it would come for ever. Its run is dispatched again by the engine's sweep."""
        self.unreadable += 1
        self._spawn(self._link.term([item], f"this agent cannot read it: {why}"))
        if self.unreadable == 1:
            log.error(
                "work that this agent cannot read is thrown away, this and any that follows: %s."
                " Engines newer than this agent? Then upgrade it. Else something that is no engine"
                " publishes to the stream %s: look at the users' rights in NATS",
                why, subjects.WORK,
            )  # fmt: skip

    def _flush(self) -> None:
        self._scheduled = False
        if self._surplus:
            surplus, self._surplus = self._surplus, []
            self._spawn(self._link.nak(surplus, SURPLUS_DELAY))
        while self._pending:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            self._spawn(self._claim(batch))

    async def _claim(self, batch: list[tuple[WorkItem, str, bool]]) -> None:
        items = [item for item, _, _ in batch]
        self._under_way(items)
        shared = sum(1 for _, _, s in batch if s)
        if faults.armed:
            await faults.point("agent.claims.pulled")
        session = self._session()
        try:
            claimed = await self._ask(session, [run for _, run, _ in batch])
        finally:
            self.reserved_shared -= shared
            self.reserved_run -= len(batch) - shared
            self._decided(items)
        if claimed is None:
            await self._link.nak(items, 1.0)
        elif claimed.session_over:
            await self._link.nak(items, 0.0)
            self._session_over(session)
        else:
            if faults.armed:
                await faults.point("agent.claims.answered")
            for info in claimed.versions:
                self._plans.learn_version(info)
            for assignment in claimed.assignments:
                if assignment.spec is not None:
                    self._plans.learn_spec(assignment.version, assignment.spec)
            for assignment in claimed.assignments:
                self._attempts.accept(assignment, claimed.engine)
            if faults.armed:
                await faults.point("agent.claims.accepted")
            await self._link.ack(items)
        self._link.wake()

    def _under_way(self, items: list[WorkItem]) -> None:
        self._stirred += 1
        self._asking[id(items)] = items, self._loop.time()
        if self.marks is None:
            self.marks = self._loop.call_later(WORKING_EVERY, self._mark)

    def _decided(self, items: list[WorkItem]) -> None:
        del self._asking[id(items)]
        self._stirred += 1
        if not self._asking and self.marks is not None:
            self.marks.cancel()
            self.marks = None

    def _mark(self) -> None:
        """Claims that wait (for the store, for NATS): their work shall not come again meanwhile."""
        self.marks = None
        late = self._loop.time() - WORKING_EVERY / 2
        waiting = [item for items, at in self._asking.values() if at <= late for item in items]
        if waiting:
            self._spawn(self._link.working(waiting))
        if self._asking:
            self.marks = self._loop.call_later(WORKING_EVERY, self._mark)

    async def _ask(self, session: int, runs: list[str]) -> Claimed | None:
        """The engine's word, or None: nobody decided in time, or the session ended."""
        free, shared = self.free()
        body = encode(Claim(self._config.name, session, secrets.token_hex(8), runs, free, shared))
        end = self._loop.time() + PATIENCE
        pause = 0.05
        while self._loop.time() < end and session == self._session():
            wait = pause
            try:
                raw = await self._link.request("claim", body, None, self._config.rpc_timeout)
                self._heard()
                claimed = decode(CLAIMED, raw)
                if not claimed.busy:
                    if session != self._session():
                        return None
                    if (
                        claimed.assignments
                        or claimed.refused
                        or claimed.session_over
                        or claimed.engine
                    ):
                        return claimed
                else:
                    wait = claimed.busy
            except (NoAnswer, Malformed) as e:
                log.debug("claim: %s", e)
            await asyncio.sleep(jittered(wait))
            pause = min(1.0, pause * 2)
        return None
