"""The agent's lease: registration, beats, and what their answers ask for.

One beat renews the lease of everything that the agent holds. Fence and kill are separate: an
overdue lease freezes attempts, since the store may only be away; they are killed when an engine
says that the session is over, or when neither engine nor NATS were reached for minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from headway._version import __version__
from headway.wire import PROTOCOL, Malformed, decode, encode
from headway.wire.rpc import BEATEN, REGISTERED, Beat, Beaten, Register, Registered
from headway_engine.agent.port import Link, NoAnswer
from headway_engine.agent.uplink import jittered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_engine.agent.config import AgentConfig

log = logging.getLogger("headway.agent")

Hold = tuple[str, int]

HEDGES = 4
"""Times that a beat is asked within its time limit, as long as nobody answers."""


def digest_of(holds: list[Hold]) -> str:
    """16 hex over the sorted `run:epoch` lines."""
    text = "\n".join(f"{run}:{epoch}" for run, epoch in sorted(holds))
    return sha256(text.encode()).hexdigest()[:16]


class Leases:
    """Keeps one session with the engines alive."""

    def __init__(
        self,
        config: AgentConfig,
        link: Link,
        *,
        host: str,
        holds: Callable[[], list[Hold]],
        free: Callable[[], tuple[int, int]],
        degraded: Callable[[], str],
        images: Callable[[], Awaitable[tuple[str, ...]]],
        freeze: Callable[[bool], None],
        stop: Callable[[str, int, str], None],
        kill_all: Callable[[], None],
        opened: Callable[[Registered], None],
        beaten: Callable[[str], None],
        claims: Callable[[], tuple[bool, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._link, self._host, self._clock = config, link, host, clock
        self._holds, self._free, self._degraded, self._images = holds, free, degraded, images
        self._freeze, self._stop, self._kill_all = freeze, stop, kill_all
        self._opened, self._beaten, self._claims = opened, beaten, claims
        self.session = 0
        self.lease = 15.0
        self.beat_every = 5.0
        self.registered = asyncio.Event()
        self._renewed_at = 0.0
        self._heard_at = clock()
        self._want_holds = True
        self._over = False
        self._wake = asyncio.Event()
        self.beats = 0
        """Answered beats so far."""

    def heard(self) -> None:
        """An engine answered something."""
        self._heard_at = self._clock()

    def session_over(self, session: int) -> None:
        """An answer said that this session ended; a later one goes on."""
        if session == self.session:
            self._over = True
            self._wake.set()

    async def run(self, session: int = 0) -> None:
        """Register, then beat until cancelled. `session`: that of an agent that is adopted."""
        await self._register(session)
        while True:
            if self._over:
                self._end_session()
                await self._register(0)
            pause = await self._beat()
            self._wake.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _end_session(self) -> None:
        log.warning("the session is over: everything is stopped")
        self.registered.clear()
        self.session = 0
        self._over = False
        self._kill_all()

    async def _register(self, session: int) -> None:
        free, shared = self._config.slots, self._config.shared_slots
        pause = 0.05
        while True:
            sent = self._clock()
            body = encode(
                Register(
                    agent=self._config.name,
                    host=self._host,
                    runtime=self._config.runtime,
                    queues=self._config.queues,
                    slots=free,
                    shared_slots=shared,
                    protocol=PROTOCOL,
                    version=__version__,
                    holds=self._holds(),
                    session=session,
                    images=await self._images(),
                )
            )
            try:
                raw = await self._link.request("register", body, None, self._config.rpc_timeout)
                answer = decode(REGISTERED, raw)
            except (NoAnswer, Malformed) as e:
                log.info("cannot register: %s", e)
                self._check_orphaned()
                await asyncio.sleep(jittered(pause))
                pause = min(2.0, pause * 1.3)
                continue
            break
        self.heard()
        self.session = answer.session
        self.lease, self.beat_every = answer.lease, answer.beat_every
        self._renewed_at = sent
        self._want_holds = True
        self._freeze(False)
        self._opened(answer)
        for run, epoch in answer.stop:
            self._stop(run, epoch, "stale")
        self.registered.set()

    async def _beat(self) -> float:
        """One beat; gives the seconds until the next one."""
        images = await self._images()
        holds, stirring, listed = self._holds(), self._claims(), self._want_holds
        free, shared = self._free()
        sent = self._clock()
        beat = Beat(
            agent=self._config.name,
            session=self.session,
            digest=digest_of(holds),
            holds=holds if listed else None,
            free=free,
            shared_free=shared,
            degraded=self._degraded(),
            images=images,
        )
        # What two lists lack is lost for the engine: a copy of the first must not be the second.
        again = msgspec.structs.replace(beat, holds=None)
        try:
            timeout = max(0.2, min(self._config.rpc_timeout, self.beat_every))
            raw = await self._first_answer(encode(beat), encode(again), timeout)
            answer = decode(BEATEN, raw)
        except (NoAnswer, Malformed) as e:
            log.debug("beat: %s", e)
            self._check_overdue()
            self._check_orphaned()
            return jittered(min(0.5, self.beat_every / 4))
        # The engine may know a claim whose answer is still on its way to us.
        quiet = stirring == self._claims() and not stirring[0]
        return self._answered(answer, sent, at_once=not listed or quiet)

    async def _first_answer(
        self,
        body: bytes,
        again: bytes,
        timeout: float,  # noqa: ASYNC109 - of all
    ) -> bytes:
        """A beat's answer; asked again while it is awaited, or one engine that hangs costs leases.

        Each request goes to any engine, and beats may be repeated. Raises NoAnswer.
        """
        asked: set[asyncio.Task[bytes]] = set()
        left = timeout
        try:
            while True:
                request = self._link.request("beat", body, None, left)
                asked.add(asyncio.get_running_loop().create_task(request))
                body = again
                done, _ = await asyncio.wait(
                    asked, timeout=timeout / HEDGES, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    if task.exception() is None:
                        return task.result()
                    asked.discard(task)
                left -= timeout / HEDGES
                if left < timeout / HEDGES / 2 or (done and not asked):
                    break
            for task in asyncio.as_completed(asked):
                with contextlib.suppress(NoAnswer):
                    return await task
            raise NoAnswer("no engine answers")
        finally:
            for task in asked:
                task.cancel()

    def _answered(self, answer: Beaten, sent: float, *, at_once: bool) -> float:
        """The seconds until the next beat; `at_once`: a list may follow in a moment."""
        self.heard()
        self.beats += 1
        if answer.session_over:
            self._over = True
            return 0.0
        self._want_holds = answer.want_holds
        # The list is repeated by the engine until those attempts are gone.
        for run, epoch, why in answer.stop:
            self._stop(run, epoch, why)
        if answer.store_down or not answer.ok:
            self._freeze(True)
            return min(1.0, self.beat_every / 2)
        # Counted from when it was asked: the engine's clock started no earlier.
        self._renewed_at = sent
        self._freeze(False)
        self._beaten(answer.drain)
        return 0.05 if answer.want_holds and at_once else self.beat_every

    def _check_overdue(self) -> None:
        if self._clock() - self._renewed_at > self.lease:
            self._freeze(True)

    def _check_orphaned(self) -> None:
        """Neither engine nor NATS for minutes: somebody else runs these by now."""
        now = self._clock()
        if self._link.connected:
            self._heard_at = max(self._heard_at, now - self._config.orphan_after + 1.0)
        if now - self._heard_at > self._config.orphan_after and self._holds():
            log.error("no engine and no NATS for %g s: stopping all", self._config.orphan_after)
            self._kill_all()
            self._over = True
