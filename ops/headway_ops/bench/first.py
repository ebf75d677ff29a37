"""The line first_result: `headway up` on an empty folder until the first result is in hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import statistics
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from headway_ops.bench.report import Measured, Stage
from headway_ops.bench.stack import TASKS_FILE, TASKS_MODULE, copy_tasks, scratch_folder
from headway_ops.local.nats import NatsServer
from headway_ops.local.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headway_ops.bench.rig import Say

AGAIN = 2
"""Starts on the state that the first one left."""
LIMIT = 40.0

CALLER = f"""
import asyncio, sys, time
import {TASKS_MODULE} as tasks
async def main():
    run = await tasks.bench_first_line.enqueue()
    await run.result()
    print(time.time_ns(), file=open(sys.argv[1], "w"))
asyncio.run(main())
"""
"""The first caller, a program of its own: it is started when the stack is ready."""


LANDMARKS = (
    ("nats/nats.log", "Starting nats-server", "nats-server is started"),
    ("nats/nats.log", "Server is ready", "nats-server is ready"),
    ("postgres/postgres.log", "starting PostgreSQL", "Postgres is started"),
    ("postgres/postgres.log", "ready to accept connections", "Postgres is ready"),
    ("logs/engine.log", "engine starts", "the engine serves"),
    ("logs/engine.log", "agent registered", "the agent is registered"),
)
"""Log below the state folder, words in its line, what that moment is."""

_TIME = re.compile(r"(\d{4}[-/]\d\d[-/]\d\d) (\d\d:\d\d:\d\d)\.(\d+)( UTC)?")


class Start(Struct):
    """One `headway up`. Seconds from its start."""

    result: float
    whole: float
    """Until the command had stopped everything and ended."""
    moments: list[Stage]


def moments(logs: Mapping[str, str], begun: datetime) -> list[Stage]:
    """When each landmark was reached, seconds from `begun` (with a time zone), in order. Pure.

    Times in a log are local unless they say UTC; a landmark that no log tells of is left out.
    """
    found = list[Stage]()
    for log, words, what in LANDMARKS:
        line = next((x for x in logs.get(log, "").splitlines() if words in x), "")
        if told := _TIME.search(line):
            date, clock, fraction, utc = told.groups()
            text = f"{date.replace('/', '-')} {clock}.{fraction[:6]:0<6}"
            at = datetime.fromisoformat(text)
            at = at.replace(tzinfo=UTC) if utc else at.astimezone()
            found.append(Stage(f"at: {what}", (at - begun).total_seconds(), "s"))
    return sorted(found, key=lambda stage: stage.amount)


def _clear(state: Path) -> None:
    for log, _, _ in LANDMARKS:
        (state / log).unlink(missing_ok=True)


def _logs(state: Path) -> dict[str, str]:
    files = {log: state / log for log, _, _ in LANDMARKS}
    return {k: f.read_text(errors="replace") for k, f in files.items() if f.is_file()}


async def up_once(folder: Path, runtime: str, *options: str) -> Start:
    """One `headway up`, until its caller has a result; the tasks lie in `tasks` below the folder.

    The state of an earlier one in the same folder stays.
    """
    answer, state, tasks = folder / "answer", folder / "state", folder / "tasks"
    answer.unlink(missing_ok=True)
    _clear(state)
    caller = shlex.join([sys.executable, str(tasks / "caller.py"), str(answer)])
    (tasks / "caller.py").write_text(CALLER, encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
    begun, clock = time.time_ns(), time.perf_counter()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headway_ops", "up", "--tasks", str(tasks / TASKS_FILE),
        "--state-dir", str(state), "--runtime", runtime, "--once-ready-cmd", caller, *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**env, "PYTHONUNBUFFERED": "1"},
        cwd=str(folder),
    )  # fmt: skip
    said = list[tuple[float, str]]()
    try:
        assert child.stdout is not None
        async with asyncio.timeout(LIMIT):
            async for line in child.stdout:
                said.append((time.perf_counter() - clock, line.decode(errors="replace").strip()))
            code = await child.wait()
    finally:
        if child.returncode is None:
            await _end(child)
    whole = time.perf_counter() - clock
    if code or not answer.exists():
        raise RuntimeError(
            f"`headway up` ended with exit code {code}: " + " | ".join(t for _, t in said[-6:])
        )
    result = (int(answer.read_text()) - begun) / 1e9
    reached = moments(_logs(state), datetime.fromtimestamp(begun / 1e9, UTC))
    if said:
        reached.append(Stage("at: `headway up` says that it is up", said[0][0], "s"))
    return Start(result, whole, [*reached, Stage("at: the result is in hand", result, "s")])


async def _end(child: asyncio.subprocess.Process) -> None:
    """Stop it in order, so that its servers and containers go with it; kill it if it does not."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), 15)
            return
        child.kill()
        await child.wait()


async def _servers_alone(folder: Path) -> float:
    """Seconds until an empty Postgres and an empty nats-server take connections."""
    nats, postgres = NatsServer(folder / "raw-nats"), PostgresServer(folder / "raw-postgres")
    before = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(nats.start())
            group.create_task(postgres.start())
        return time.perf_counter() - before
    finally:
        await nats.stop()
        await postgres.stop()


async def first_result(runtime: str, say: Say) -> dict[str, Measured]:
    """An empty state folder first (the figure), then starts on the state that is there (detail)."""
    with scratch_folder() as folder:
        # Apart from the state: what changes beside a task's source restarts its runners.
        copy_tasks(folder / "tasks")
        say("first_result: servers alone")
        raw = await _servers_alone(folder)
        say("first_result: `headway up` on an empty folder")
        fresh = await up_once(folder, runtime)
        again = list[Start]()
        for number in range(AGAIN):
            say(f"first_result: `headway up` again, {number + 1} of {AGAIN}")
            again.append(await up_once(folder, runtime))
    measured = Measured(
        value=fresh.result,
        raw=raw,
        raw_of="initdb and start of Postgres, start of nats-server, side by side",
        ratio=fresh.result / raw,
        detail={
            "again": statistics.median(start.result for start in again),
            "whole_command": fresh.whole,
            "runtime": runtime,
        },
        stages=fresh.moments,
    )
    return {"first_result": measured}
