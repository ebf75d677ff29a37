"""The parts of a local stack kept alive: what ends by itself is started again, a little later."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Protocol

from headway_ops.local.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHECK_EVERY = 0.2
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the first, second ... start after an end; the last one repeats."""
STEADY = 30.0
"""Seconds alive after which an end counts as the first one again."""


class Part(Protocol):
    """A server or a role: `start` returns when it runs, and may be called again after an end."""

    @property
    def running(self) -> bool:
        """True while the process lives."""
        ...

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    async def start(self) -> None:
        """Start it if it does not run."""
        ...

    async def stop(self) -> None:
        """Stop it in order; may be called again."""
        ...


class Role:
    """`headway engine` or `headway agent` as a child process, its log in a file."""

    def __init__(self, name: str, config: Path, log: Path, grace: float) -> None:
        self.name = name
        self._config, self._grace = config, grace
        self._process = Process(f"headway {name}", log)
        self.starts = 0
        """How often it was started."""

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process.running

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def start(self) -> None:
        """Start it; it waits for its servers by itself."""
        if self.running:
            return
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
        for name in ("HEADWAY_DEBUG", "HEADWAY_JOURNAL", "HEADWAY_LOG_LEVEL"):
            if name in os.environ:
                env[name] = os.environ[name]
        env["PYTHONUNBUFFERED"] = "1"
        self.starts += 1
        self._process.spawn(
            [sys.executable, "-m", "headway_ops", self.name, "--config", str(self._config)], env=env
        )

    async def stop(self) -> None:
        """SIGTERM, the grace, then SIGKILL."""
        await self._process.stop(within=self._grace)

    def kill(self) -> None:
        """SIGKILL, and reap: for faults on purpose."""
        self._process.kill()

    def tail(self) -> str:
        """The end of its log."""
        return self._process.tail(8)


async def keep_alive(name: str, part: Part, say: Callable[[str], None]) -> None:
    """Start the part again whenever it has ended, until cancelled."""
    loop = asyncio.get_running_loop()
    ends, since = 0, loop.time()
    while True:
        await asyncio.sleep(CHECK_EVERY)
        if part.running:
            continue
        if loop.time() - since > STEADY:
            ends = 0
        delay = BACKOFF[min(ends, len(BACKOFF) - 1)]
        say(f"{name} ended; starting it again in {delay:g} s")
        await asyncio.sleep(delay)
        ends, since = ends + 1, loop.time()
        try:
            await part.start()
        except Exception as e:
            say(f"{name}: {e}")
        else:
            say(f"{name} runs again (pid {part.pid})")
