"""Tasks that behave as badly as they can; they run in real containers."""

# ruff: noqa: T201 - output is what some are for
from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from headway import Retry, task

if TYPE_CHECKING:
    from headway.tasks import Task

ONCE = Retry(max_attempts=1)


@task(grace="0.3s")
async def f_deaf() -> None:
    """Neither SIGTERM nor anything else that can be caught."""
    for number in range(1, 32):
        with suppress(OSError, ValueError, RuntimeError):
            signal.signal(number, signal.SIG_IGN)
    print("deaf", flush=True)
    while True:
        with suppress(BaseException):
            time.sleep(600)  # noqa: ASYNC251 - its loop is deaf too


@task
def f_daemon(marker: str) -> str:
    """Leaves a process behind in a session of its own, with nobody as its parent."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", marker])
        os._exit(0)
    os.wait()
    time.sleep(0.5)
    return marker


@task(pids=40, retry=ONCE)
def f_bomb() -> list[int]:
    """Forks until it may not."""
    born = 0
    while True:
        try:
            if os.fork() == 0:
                time.sleep(600)
        except OSError as e:
            return [born, e.errno or 0]
        born += 1


@task(retry=ONCE)
def f_fills() -> list[int]:
    """Its temp folder, then its output: lines, one line without end, and no text at all."""
    written = 0
    code = 0
    try:
        with open("/tmp/full", "wb", buffering=0) as f:
            while True:
                written += f.write(b"x" * 1_048_576)
    except OSError as e:
        code = e.errno or 0
    os.unlink("/tmp/full")
    for _ in range(200_000):
        print("x" * 100)
    sys.stdout.flush()
    for _ in range(10):
        os.write(1, b"y" * 1_000_000)
    os.write(2, b"\n" + bytes(range(256)) * 100 + b"\n")
    subprocess.run(["/bin/sh", "-c", "echo from a child"], check=True)
    time.sleep(2.2)
    print("after the flood", flush=True)
    return [written, code, errno.ENOSPC]


def all_tasks() -> list[Task[..., Any]]:
    """What a test deploys."""
    return [f_deaf, f_daemon, f_bomb, f_fills]
