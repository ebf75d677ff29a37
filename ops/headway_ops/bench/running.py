"""Which lines are measured in which order, on one stack, within the time there is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from headway_ops.bench.first import first_result
from headway_ops.bench.idle import idle_pss
from headway_ops.bench.latency import latency
from headway_ops.bench.rates import (
    due_2000,
    enqueue_32,
    enqueue_batch,
    enqueue_single,
    throughput,
)
from headway_ops.bench.raw import RawJetStream, RawPostgres
from headway_ops.bench.recovery import recovery
from headway_ops.bench.report import Line, Measured, judged
from headway_ops.bench.rig import Group, Rig, Say
from headway_ops.bench.saves import save_1k, save_1k_64, save_100k
from headway_ops.bench.stack import Stack, scratch_folder
from headway_ops.bench.targets import BY_NAME
from headway_ops.local.up import pick_runtime
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Generator, Sequence

FIRST = "first_result"
REST = "idle_pss"
_OURS = frozenset({"HEADWAY_DEBUG", "HEADWAY_LOG_LEVEL"})
WHOLE = 290.0
"""Seconds for everything; what has not begun by then is reported as not measured."""

# Quiet lines before loud ones: tables that have just grown make Postgres work on.
GROUPS = (
    Group(("start_warm", "result"), latency, 90),
    Group(("save_1k",), save_1k, 60),
    Group(("save_100k",), save_100k, 60),
    Group(("recovery",), recovery, 60),
    Group(("save_1k_64",), save_1k_64, 60),
    Group(("due_2000",), due_2000, 60),
    Group(("throughput",), throughput, 60),
    Group(("enqueue_single",), enqueue_single, 30),
    Group(("enqueue_32",), enqueue_32, 30),
    Group(("enqueue_batch",), enqueue_batch, 30),
)


def choose(only: Sequence[str]) -> frozenset[str]:
    """The lines that are asked for, all without a choice; Fail names an unknown one."""
    unknown = [name for name in only if name not in BY_NAME]
    if unknown:
        raise Fail(f"no line {unknown[0]!r}", "one of " + ", ".join(BY_NAME), Exit.USAGE)
    return frozenset(only or BY_NAME)


def measure(names: Collection[str], runtime: str, say: Say) -> list[Line]:
    """Measure these lines; one that fails becomes a line that says why. In the table's order."""
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    with clean_environment():
        try:
            found = run(_measure(names, runtime, say))
        except asyncio.CancelledError:
            # SIGTERM: everything was stopped and removed on the way out.
            raise SystemExit(128 + signal.SIGTERM) from None
    return [judged(name, found[name]) for name in BY_NAME if name in found]


@contextlib.contextmanager
def clean_environment() -> Generator[None]:
    """HEADWAY_* of the caller must not lead our clients to another stack."""
    kept = {k: v for k, v in os.environ.items() if k.startswith("HEADWAY_") and k not in _OURS}
    for name in kept:
        del os.environ[name]
    try:
        yield
    finally:
        for name in [n for n in os.environ if n.startswith("HEADWAY_") and n not in _OURS]:
            del os.environ[name]
        os.environ.update(kept)


async def _measure(names: Collection[str], runtime: str, say: Say) -> dict[str, Measured]:
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    loop.add_signal_handler(signal.SIGTERM, me.cancel)
    try:
        chosen = await asyncio.to_thread(pick_runtime, runtime)
        say(f"runtime {chosen}")
        ends = time.monotonic() + WHOLE
        found: dict[str, Measured] = {}
        if set(names) - {FIRST}:
            found |= await _on_stack(names, chosen, say, ends)
        if FIRST in names:
            found |= await guarded((FIRST,), first_result(chosen, say), 90, ends)
        return found
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _on_stack(
    names: Collection[str], runtime: str, say: Say, ends: float
) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    with scratch_folder() as folder:
        stack = Stack(folder, runtime, say)
        try:
            client = await stack.start()
            async with (
                RawPostgres.open(stack.dsn) as db,
                RawJetStream.open(stack.nats_client) as jetstream,
            ):
                rig = Rig(stack, client, db, jetstream, say)
                if REST in names:
                    found |= await guarded((REST,), idle_pss(rig), 30, ends)
                if set(names) - {FIRST, REST}:
                    await stack.deploy()
                for group in GROUPS:
                    if wanted := [n for n in group.names if n in names]:
                        measured = await guarded(
                            group.names, group.measure(rig), group.seconds, ends
                        )
                        found |= {n: measured[n] for n in wanted}
        finally:
            await stack.stop()
    return found


async def guarded(
    names: Sequence[str], work: Awaitable[dict[str, Measured]], seconds: float, ends: float
) -> dict[str, Measured]:
    """A line that fails or hangs is an answer too, and must not take the others with it."""
    left = min(seconds, ends - time.monotonic())
    try:
        async with asyncio.timeout(max(0.0, left)):
            return await work
    except TimeoutError:
        why = f"gave up after {left:.0f} s" if left > 0 else "no time left"
    except Exception as e:
        if os.environ.get("HEADWAY_DEBUG"):
            raise
        why = _first_cause(e)
    return {name: Measured(error=why) for name in names}


def _first_cause(error: BaseException) -> str:
    """The error in one line; of a task group's error, the first one inside."""
    if isinstance(error, BaseExceptionGroup):
        return _first_cause(error.exceptions[0])  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] whichever
    return f"{type(error).__name__}: {error}"
