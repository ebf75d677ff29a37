"""The parts of a local stack kept alive: what ends by itself is started again, a little later."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Protocol

from headway.errors import HeadwayError
from headway_ops.local.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHECK_EVERY = 0.2
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a start: after a long life, after the first quick end, the second ..."""
QUICK = 5.0
"""Seconds: an end so soon after a start is a quick one."""
TRIES = 10
"""Quick ends in a row until it is given up: about half a minute."""


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

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        ...

    def tail(self) -> str:
        """The end of its log."""
        ...

    async def start(self) -> None:
        """Start it if it does not run."""
        ...

    async def stop(self) -> None:
        """Stop it in order; may be called again."""
        ...


class Role:
    """`headway engine` or `headway agent` as a child process, its log in a file."""

    def __init__(self, name: str, config: Path, log: Path, grace: float, *options: str) -> None:
        self.name = name
        self._config, self._grace, self._options = config, grace, options
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

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        return self._process.ended

    async def start(self) -> None:
        """Start it; it waits for its servers by itself."""
        if self.running:
            return
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_") or k in PASSED}
        env["PYTHONUNBUFFERED"] = "1"
        self.starts += 1
        self._process.spawn(
            [
                sys.executable, "-m", "headway_ops", self.name, *self._options,
                "--config", str(self._config),
            ],
            env=env,
        )  # fmt: skip

    async def stop(self) -> None:
        """SIGTERM, the grace, then SIGKILL."""
        await self._process.stop(within=self._grace)

    def kill(self) -> None:
        """SIGKILL, and reap: for faults on purpose."""
        self._process.kill()

    def tail(self) -> str:
        """The end of its log."""
        return self._process.tail(8)


PASSED = frozenset({
    "HEADWAY_DEBUG", "HEADWAY_JOURNAL", "HEADWAY_LOG_LEVEL", "HEADWAY_LOG_FORMAT",
    "HEADWAY_ENGINE_OTLP_ENDPOINT", "HEADWAY_ENGINE_OTLP_PROTOCOL", "HEADWAY_ENGINE_OTLP_HEADERS",
    "HEADWAY_ENGINE_METRICS_LISTEN", "HEADWAY_AGENT_METRICS_LISTEN",
})  # fmt: skip
"""What engine and agent of a local stack hear of the environment: how they are watched. Where they
work and what they serve is written by the stack."""


class GivesUp(HeadwayError):
    """A part of the local stack ends again and again, right after each start."""

    code = "gives_up"


async def keep_alive(name: str, part: Part, say: Callable[[str], None]) -> None:
    """Start the part again whenever it has ended, until cancelled.

    At once after a long life; ever later, and at last no more (GivesUp), if it ends each time
    within seconds of its start: what fails so fast needs a person, not another try.
    """
    loop = asyncio.get_running_loop()
    quick, since, runs = 0, float("-inf"), True
    while True:
        await asyncio.sleep(CHECK_EVERY)
        if part.running:
            continue
        quick = quick + 1 if loop.time() - since < QUICK else 0
        if quick >= TRIES:
            raise GivesUp(f"{name} ended {quick} times within {QUICK:g} s of its start; its log:\n"
                          f"{part.tail()}")  # fmt: skip
        delay = BACKOFF[min(quick, len(BACKOFF) - 1)]
        if runs:  # said where it began: a start that fails says so itself
            say(f"{name} {part.ended}; starting it again in {delay:g} s")
        await asyncio.sleep(delay)
        since = loop.time()
        try:
            await part.start()
        except Exception as e:
            runs = False
            say(f"{name}: {e}")
        else:
            runs = True
            say(f"{name} runs again (pid {part.pid})")
