"""`headway up` as a user starts it: a process in a project's folder, and commands beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

APP = """
import asyncio
import os

from msgspec import Struct

from headway import checkpoint, resume, task

SAYS = "hello"


class Count(Struct):
    n: int = 0


@task
async def greet(name: str) -> str:
    print("greeting", name)
    return f"{SAYS} {name}"


@task(queue="slow")
async def count(to: int, pace: float = 0.0, gate: str = "") -> list[int]:
    state = await resume(Count())
    start = state.n
    while state.n < to:
        state.n += 1
        await checkpoint(f"n-{state.n}", state)
        await asyncio.sleep(pace)
        while gate and state.n >= 3 and not os.path.exists(gate):
            await asyncio.sleep(0.05)
    return [start, state.n]
"""
WITHIN = 30.0


def clean_environment() -> dict[str, str]:
    """The environment without a developer's own settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}


@dataclass
class Up:
    """A running `headway up`."""

    process: subprocess.Popen[str]
    folder: Path
    facts: dict[str, Any]
    error: str = ""

    def headway(
        self, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command in the project's folder: it finds the stack by itself."""
        return subprocess.run(
            [sys.executable, "-m", "headway_ops", *arguments],
            cwd=self.folder, env=clean_environment() | (env or {}), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line for bash, with `headway` being this one."""
        return subprocess.run(
            ["bash", "-c", f'headway() {{ "{sys.executable}" -m headway_ops "$@"; }}; {line}'],
            cwd=self.folder, env=clean_environment(), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def result(self, *arguments: str) -> Any:
        """What `headway run` prints as the result."""
        done = self.headway("run", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def runs(self, *arguments: str) -> list[dict[str, Any]]:
        """`headway ls --json`."""
        done = self.headway("ls", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def stop(self) -> int:
        """SIGTERM, and the exit code; `error` is then all that it said."""
        self.process.send_signal(signal.SIGTERM)
        _, self.error = self.process.communicate(timeout=60)
        return self.process.returncode


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`headway up` as a process, not yet ready."""
    return subprocess.Popen(
        [sys.executable, "-m", "headway_ops", "up", "--runtime", "process", "--json", *arguments],
        cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def start(folder: Path, *arguments: str) -> Up:
    """`headway up`, ready."""
    process = begin(folder, *arguments)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, error = process.communicate(timeout=30)
        pytest.fail(f"headway up did not start: {error}")
    return Up(process, folder, json.loads(line))


@contextmanager
def project() -> Generator[Path]:
    """A folder with tasks, where root's Postgres user may enter (pytest's own is 0700)."""
    path = Path(tempfile.mkdtemp(prefix="hwup-"))
    path.chmod(0o711)
    (path / "app.py").write_text(APP)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
