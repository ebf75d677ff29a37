"""An agent by script: a NATS client that speaks the rpc vocabulary, and runs nothing."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Raw
from nats.errors import NoRespondersError

from headway import subjects
from headway.pull import PullLoop, ack
from headway.wire import decode, encode, rpc
from headway.wire.reports import (
    REPORTED,
    Finished,
    Report,
    Reported,
    ReportOutcome,
    Reports,
    Started,
)
from headway.wire.saves import SAVED, Save, Saved, SaveOutcome, Saves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    import msgspec
    from nats.aio.msg import Msg

    from headway.bus import Connection

T = TypeVar("T")


def digest_of(holds: Iterable[tuple[str, int]]) -> str:
    """As a beat carries it."""
    lines = "\n".join(sorted(f"{run}:{epoch}" for run, epoch in holds))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


class ScriptedAgent:
    """Registers, pulls, claims, and reports what `script(assignment)` returns.

    Without a script it only claims; `assignments` is what it was given.
    """

    def __init__(
        self,
        nc: Connection,
        name: str = "a1",
        ns: str = "default",
        queues: tuple[str, ...] = ("default",),
        slots: int = 8,
        shared_slots: int = 64,
    ) -> None:
        self.nc, self.name, self.ns, self.queues = nc, name, ns, queues
        self.slots, self.shared_slots = slots, shared_slots
        self.session = 0
        self.engine: str | None = None
        self.held: dict[str, int] = {}
        self.assignments: dict[str, rpc.Assignment] = {}
        self.refused: list[tuple[str, str]] = []
        self.work_seen: list[str] = []
        self.script: Callable[[rpc.Assignment], list[Report]] | None = None
        self._arrived: asyncio.Queue[list[Msg]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._loops: list[PullLoop] = []

    async def ask(
        self, verb: str, body: Any, answer: msgspec.json.Decoder[Any], *, direct: bool = True
    ) -> Any:
        """One rpc; to its own engine if it has one."""
        subject = subjects.rpc(self.ns, self.name, verb, self.engine if direct else None)
        msg = await self.nc.request(subject, encode(body), timeout=20)
        assert b"rpc_error" not in msg.data, msg.data
        return decode(answer, msg.data)

    async def register(self, holds: list[tuple[str, int]] | None = None) -> rpc.Registered:
        """A session, by any engine."""
        ask = rpc.Register(
            self.name,
            "host",
            "process",
            self.queues,
            self.slots,
            self.shared_slots,
            1,
            "test",
            holds or [],
        )
        got: rpc.Registered = await self.ask("register", ask, rpc.REGISTERED, direct=False)
        self.session, self.engine = got.session, got.engine
        return got

    def free(self) -> tuple[int, int]:
        """Slots that are free."""
        return self.slots - len(self.held), self.shared_slots - len(self.held)

    async def beat(self, *, full: bool = False) -> rpc.Beaten:
        """Renew the lease."""
        holds = sorted(self.held.items())
        free, shared = self.free()
        ask = rpc.Beat(
            self.name, self.session, digest_of(holds), holds if full else None, free, shared
        )
        return await self.ask("beat", ask, rpc.BEATEN)

    async def claim(self, runs: list[str], nonce: str = "") -> rpc.Claimed:
        """Claim these runs."""
        free, shared = self.free()
        ask = rpc.Claim(self.name, self.session, nonce or secrets.token_hex(8), runs, free, shared)
        got: rpc.Claimed = await self.ask("claim", ask, rpc.CLAIMED)
        for a in got.assignments:
            self.assignments[a.run] = a
            self.held[a.run] = a.epoch
        self.refused += got.refused
        return got

    async def save(self, *saves: Save) -> list[SaveOutcome]:
        """Save, one rpc."""
        got: Saved = await self.ask("save", Saves(self.name, self.session, list(saves)), SAVED)
        assert not got.busy
        return got.outcomes

    async def report(self, *reports: Report) -> list[ReportOutcome]:
        """Report, one rpc; ends free their slots."""
        for r in reports:
            if not isinstance(r, Started):
                self.held.pop(r.run, None)
        free, shared = self.free()
        body = Reports(self.name, self.session, list(reports), free, shared)
        got: Reported = await self.ask("report", body, REPORTED)
        assert not got.busy
        return got.outcomes

    async def start(self) -> None:
        """Register and work until stopped."""
        await self.register()
        for queue in self.queues:
            loop = PullLoop(
                self.nc,
                subjects.WORK,
                subjects.work_consumer(self.ns, queue),
                want=lambda: max(self.free()),
                deliver=self._arrived.put_nowait,
            )
            self._loops.append(loop)
            self._tasks.append(asyncio.create_task(loop.run()))
        self._tasks.append(asyncio.create_task(self._work()))

    async def stop(self) -> None:
        """Stop pulling; idempotent. What broke the agent's script is raised."""
        for loop in self._loops:
            loop.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks[:-1]:
            await task
        for task in tasks[-1:]:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await task

    async def _work(self) -> None:
        while True:
            batch = await self._arrived.get()
            while not self._arrived.empty():
                batch += self._arrived.get_nowait()
            runs = [decode(rpc.WORK_BODY, m.data).run for m in batch]
            self.work_seen += runs
            claim = partial(self.claim, list(dict.fromkeys(runs)), secrets.token_hex(8))
            got = await _answered(claim)
            await ack(self.nc, batch)
            if self.script is None:
                continue
            reports = [r for a in got.assignments for r in self.script(a)]
            if reports:
                await _answered(partial(self.report, *reports))
            for loop in self._loops:
                loop.wake()


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, again for as long as the engine is not back at a NATS that has started anew."""
    while True:
        try:
            return await ask()
        except NoRespondersError:
            await asyncio.sleep(0.05)


def finish(result: bytes = b"null") -> Callable[[rpc.Assignment], list[Report]]:
    """A script: every run succeeds at once."""

    def script(a: rpc.Assignment) -> list[Report]:
        return [Finished(a.run, a.epoch, Raw(result), size=len(result))]

    return script
