"""The same verbs for plain `def` tasks, and for scripts: they block.

In a task they run on the runner's loop while the task's thread waits. In a script, `enqueue`,
`call` and `result` use one loop in a background thread, kept for the life of the process.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload

from headway import checkpoints, effects, waits
from headway.context import current, current_or_none
from headway.errors import SyncInLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from headway.client import RunHandle
    from headway.effects import OnAmbiguous
    from headway.retry import Duration
    from headway.tasks import Bound, Task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")
Ts = TypeVarTuple("Ts")


def checkpoint(name: str, state: Any, *, keep: bool = False) -> None:
    """`headway.checkpoint`, blocking."""
    _in_run("checkpoint", checkpoints.checkpoint(name, state, keep=keep))


@overload
def resume(default: T, *, migrate: Callable[[Any], T] | None = None) -> T: ...
@overload
def resume(default: D, type: type[T], migrate: Callable[[Any], T] | None = None) -> T | D: ...
@overload
def resume(default: Any, type: Any, migrate: Callable[[Any], Any] | None = None) -> Any: ...
def resume(default: Any, type: Any = None, migrate: Callable[[Any], Any] | None = None) -> Any:
    """`headway.resume`, blocking."""
    return _in_run("resume", checkpoints.resume(default, type, migrate))


@overload
def step(key: str, fn: Callable[[Unpack[Ts]], Awaitable[T]], /, *args: *Ts) -> T: ...
@overload
def step(key: str, fn: Callable[[Unpack[Ts]], T], /, *args: *Ts) -> T: ...
def step(key: str, fn: Callable[..., Any], /, *args: Any) -> Any:
    """`headway.step`, blocking; fn may be plain or async."""
    return _in_run("step", effects.step(key, fn, *args))


@overload
def once(
    key: str,
    fn: Callable[[Unpack[Ts]], Awaitable[T]],
    /,
    *args: *Ts,
    on_ambiguous: OnAmbiguous = "raise",
    check: Callable[[str], Any] | None = None,
) -> T: ...
@overload
def once(
    key: str,
    fn: Callable[[Unpack[Ts]], T],
    /,
    *args: *Ts,
    on_ambiguous: OnAmbiguous = "raise",
    check: Callable[[str], Any] | None = None,
) -> T: ...
def once(
    key: str,
    fn: Callable[..., Any],
    /,
    *args: Any,
    on_ambiguous: OnAmbiguous = "raise",
    check: Callable[[str], Any] | None = None,
) -> Any:
    """`headway.once`, blocking; fn may be plain or async."""
    return _in_run("once", effects.once(key, fn, *args, on_ambiguous=on_ambiguous, check=check))


def sleep(duration: Duration, key: str | None = None) -> None:
    """`headway.sleep`, blocking."""
    _in_run("sleep", waits.sleep(duration, key))


def enqueue(task: Task[P, R] | Bound[P, R], *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
    """`task.enqueue(...)`, blocking."""
    return _in_background("enqueue", task.enqueue(*args, **kwargs))


def call(task: Task[P, R] | Bound[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`task.call(...)`, blocking."""
    return _in_background("call", task.call(*args, **kwargs))


def result(run: RunHandle[R], timeout: float | None = None) -> R:
    """`run.result()`, blocking."""
    return _in_background("result", run.result(timeout))


def _refuse_loop(verb: str, coro: Coroutine[Any, Any, Any]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    coro.close()
    raise SyncInLoop(f"headway.sync.{verb}(): {SyncInLoop.__doc__}")


def _in_run(verb: str, coro: Coroutine[Any, Any, T]) -> T:
    _refuse_loop(verb, coro)
    try:
        ctx = current(verb)
    except BaseException:
        coro.close()
        raise
    if ctx.stopping and not ctx.told:
        # A thread cannot be interrupted: it stops at its next verb.
        coro.close()
        ctx.told = True
        raise asyncio.CancelledError(f"{verb}: the run is being stopped ({ctx.stopping})")
    return _blocking(ctx.loop, coro)


def _blocking(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T]) -> T:
    """Run it as a task of that loop, in this thread's context; its exception is raised here."""
    over = threading.Event()
    context = copy_context()
    tasks: list[asyncio.Task[T]] = []

    def begin() -> None:
        tasks.append(loop.create_task(coro, context=context))
        tasks[0].add_done_callback(lambda _: over.set())

    loop.call_soon_threadsafe(begin)
    over.wait()
    return tasks[0].result()


_threads: dict[int, asyncio.AbstractEventLoop] = {}
_starting = threading.Lock()


def _in_background(verb: str, coro: Coroutine[Any, Any, T]) -> T:
    _refuse_loop(verb, coro)
    if current_or_none() is not None:
        return _in_run(verb, coro)
    with _starting:
        loop = _threads.get(os.getpid())  # a forked child has no thread
        if loop is None:
            loop = _threads[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="headway-sync", daemon=True).start()
    return _blocking(loop, coro)
