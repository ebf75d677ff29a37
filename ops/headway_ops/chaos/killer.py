"""Carries out a plan of faults on processes of this machine: SIGKILL, or SIGSTOP and SIGCONT."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from headway_ops.chaos.plan import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headway_ops.chaos.plan import Fault


class Victims(Protocol):
    """Who can be hit, by kind and name. Asked at the moment of each fault."""

    def names(self, kind: str) -> list[str]:
        """Those of the kind that live now, in a stable order."""
        ...

    def pid(self, name: str) -> int:
        """The process that is signalled; 0 = gone meanwhile."""
        ...

    async def kill(self, name: str, away: float) -> None:
        """SIGKILL; `away`: seconds until it comes back, where nobody else starts it again."""
        ...


class Hit(Struct):
    """One fault that was carried out."""

    at: float
    """`time.time()`."""
    kind: str
    name: str
    how: str
    hold: float

    def __str__(self) -> str:
        done = "SIGKILL" if self.how == "kill" else f"SIGSTOP for {self.hold:.1f} s"
        return f"{self.name}: {done}"


class Killer:
    """Runs a plan once. `heal` sends SIGCONT to whatever still stands still."""

    def __init__(self, victims: Victims, say: Callable[[str], None]) -> None:
        self._victims, self._say = victims, say
        self.hits: list[Hit] = []
        self._stopped: dict[int, str] = {}
        self._timers: list[asyncio.TimerHandle] = []

    async def run(self, faults: Iterable[Fault]) -> None:
        """Each at its time; a kind of which nothing lives at that moment is passed over."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for fault in faults:
            await asyncio.sleep(max(0.0, begun + fault.at - loop.time()))
            await self._hit(fault)

    async def _hit(self, fault: Fault) -> None:
        standing = set(self._stopped.values())
        names = [n for n in self._victims.names(fault.kind) if n not in standing]
        name = choose(names, fault.pick)
        pid = self._victims.pid(name) if name else 0
        if not pid:
            return
        hit = Hit(time.time(), fault.kind, name, fault.how, fault.hold)
        self._say(str(hit))
        if fault.how == "kill":
            await self._victims.kill(name, fault.hold)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped[pid] = name
                loop = asyncio.get_running_loop()
                self._timers.append(loop.call_later(fault.hold, self._go_on, pid))
        self.hits.append(hit)

    def _go_on(self, pid: int) -> None:
        if self._stopped.pop(pid, None) is not None:
            # Should the pid be another's by now: SIGCONT does nothing to what runs.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGCONT)

    def heal(self) -> None:
        """No more faults; what stands still goes on."""
        for timer in self._timers:
            timer.cancel()
        for pid in list(self._stopped):
            self._go_on(pid)
