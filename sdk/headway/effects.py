"""step() and once(): recorded results, and marks around a side effect.

`step`: the result is recorded; an interrupted step runs again (at least once). `once` never runs a
block again after its completion was acknowledged. If a crash falls between the effect and that
acknowledgement, nobody can know from stored data whether it happened; you choose what happens then.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import typing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, Unpack, overload

import msgspec

from headway import codec, faults
from headway.context import Context, Inside, current
from headway.errors import (
    HeadwayError,
    NotEncodable,
    NotExecuted,
    OnceAmbiguous,
    StateMismatch,
    TooLarge,
)
from headway.failures import error_info
from headway.wire import STEP_LIMIT, ErrorInfo
from headway.wire.frames import Mark, MarkKind, MarkStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway.wire.rpc import MarkRecord

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
OnAmbiguous = Literal["raise", "rerun", "skip"]


class Done(msgspec.Struct, frozen=True):
    """A check's verdict: the effect happened; `value` becomes the block's result."""

    value: Any = None


class NotDone(msgspec.Struct, frozen=True):
    """A check's verdict: the effect certainly did not happen; the block runs."""


class Unknown(msgspec.Struct, frozen=True):
    """A check's verdict: nobody can tell; a person decides (REVIEW)."""


@overload
async def step(key: str, fn: Callable[[Unpack[Ts]], Awaitable[T]], /, *args: *Ts) -> T: ...
@overload
async def step(key: str, fn: Callable[[Unpack[Ts]], T], /, *args: *Ts) -> T: ...
async def step(key: str, fn: Callable[..., Any], /, *args: Any) -> Any:
    """Run `fn(*args)` and record its result under the key; a recorded result is given back at once.

    At least once: a step that a crash interrupted runs again, a recorded result never changes. A
    plain function runs in a thread, and its end is awaited even when the task is cancelled. The
    recorded value is decoded by fn's return annotation; without one you get plain JSON values, the
    first time too. If fn raises, nothing is recorded and the exception passes.

    Raises DuplicateKey, KeyMismatch, NestedVerb, TooLarge (16 MiB) and NotEncodable.
    """
    ctx = current("step")
    name = _function_name(fn)
    key, found = ctx.claim(key, "step", name)
    await ctx.enter()
    try:
        if found is not None and found.status == "done":
            return await _recorded(ctx, found, fn, f"step {key!r}")
        ctx.check_budget()
        started = ctx.calls.time()
        with Inside(f"step({key!r})", ""):
            value, cancelled = await invoke(fn, *args)
        if faults.armed:
            await faults.point("sdk.step.ran")
        body, value = _result(fn, value, f"the result of step {key!r}")
        frame = _mark(ctx, key, "step", name, "done", size=len(body))
        frame.seconds = round(ctx.calls.time() - started, 6)
        future = ctx.send(frame, body)
        if cancelled is not None:
            ctx.left.add(future)
            raise cancelled
        await ctx.wait(future, f"step {key!r}")
        return value
    finally:
        ctx.leave()


@overload
async def once(
    key: str,
    fn: Callable[[Unpack[Ts]], Awaitable[T]],
    /,
    *args: *Ts,
    on_ambiguous: OnAmbiguous = "raise",
    check: Callable[[str], Any] | None = None,
) -> T: ...
@overload
async def once(
    key: str,
    fn: Callable[[Unpack[Ts]], T],
    /,
    *args: *Ts,
    on_ambiguous: OnAmbiguous = "raise",
    check: Callable[[str], Any] | None = None,
) -> T: ...
async def once(
    key: str,
    fn: Callable[..., Any],
    /,
    *args: Any,
    on_ambiguous: OnAmbiguous = "raise",
    check: Callable[[str], Any] | None = None,
) -> Any:
    """Run `fn(*args)` so that it never runs again after its completion was acknowledged.

    Interrupted in between (crash, kill, cancel), it is *ambiguous*: it may or may not have
    happened. Effects that can take an idempotency key should pass `token()` and use "rerun"; those
    that can be asked should give `check`:

    - `check(token)` returns `Done(value)`, `NotDone()` or `Unknown()` (a person decides);
    - "rerun": run again (at least once; right for effects that take the token);
    - "skip": count it as done; the result is None;
    - "raise" (the default, at most once): OnceAmbiguous; the run waits for a person.

    While an older attempt may still run (its host was lost), none of them decides: the run waits in
    REVIEW until that attempt is confirmed dead, and then goes on by itself; or a person overrides.

    A block whose fn raised runs again in the next attempt only under "rerun" or `check`, or if it
    raised NotExecuted (the effect certainly did not happen); under "raise" a person decides.
    """
    if on_ambiguous not in ("raise", "rerun", "skip"):
        raise ValueError(f"on_ambiguous={on_ambiguous!r}: 'raise', 'rerun' or 'skip'")
    ctx = current("once")
    name = _function_name(fn)
    key, found = ctx.claim(key, "once", name)
    await ctx.enter()
    try:
        token = ctx.token(key)
        if found is not None:
            if found.status == "done" or found.resolved == "done":
                return await _recorded(ctx, found, fn, f"once {key!r}")
            if not _fresh(ctx, found):
                if ctx.unconfirmed and (check is not None or on_ambiguous != "raise"):
                    # An older attempt may be inside this block now: no policy may decide before its
                    # end is certain, or the effect could happen after its done mark.
                    ctx.over = OnceAmbiguous(key, token, waits=True)
                    raise ctx.over
                verdict = await _verdict(key, token, on_ambiguous, check)
                if isinstance(verdict, Unknown):
                    ctx.over = OnceAmbiguous(key, token)
                    raise ctx.over
                if isinstance(verdict, Done):
                    body = codec.encode(verdict.value, f"the result of once {key!r}", STEP_LIMIT)
                    frame = _mark(ctx, key, "once", name, "done", token=token, size=len(body))
                    await ctx.wait(ctx.send(frame, body), f"once {key!r}")
                    return verdict.value
        return await _run_once(ctx, key, name, token, on_ambiguous, fn, args)
    finally:
        ctx.leave()


def _fresh(ctx: Context, found: MarkRecord) -> bool:
    """True if the block may run as if it had never been entered."""
    if found.resolved == "rerun":
        return True
    if found.status == "failed":
        return found.error is not None and found.error.type == NotExecuted.__name__
    # A started mark of our own epoch: its answer was lost, fn was not entered.
    return found.status == "started" and found.epoch == ctx.info.epoch


async def _verdict(
    key: str, token: str, on_ambiguous: OnAmbiguous, check: Callable[[str], Any] | None
) -> Done | NotDone | Unknown:
    if check is not None:
        with Inside(f"the check of once({key!r})", token):
            verdict, cancelled = await invoke(check, token)
        if cancelled is not None:
            raise cancelled
        if isinstance(verdict, (Done, NotDone, Unknown)):
            return verdict
        raise HeadwayError(
            f"the check of once({key!r}) returned {verdict!r}: return Done(value), NotDone() or"
            " Unknown()"
        )
    if on_ambiguous == "rerun":
        return NotDone()
    return Done() if on_ambiguous == "skip" else Unknown()


async def _run_once(
    ctx: Context,
    key: str,
    name: str,
    token: str,
    on_ambiguous: OnAmbiguous,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
) -> Any:
    what = f"once {key!r}"
    ctx.check_budget()
    await ctx.calls.thawed()
    started = ctx.send(_mark(ctx, key, "once", name, "started", token=token))
    if on_ambiguous != "rerun":
        await ctx.wait(started, what)  # durable before fn, or a crash in fn would go unseen
    if faults.armed:
        await faults.point("sdk.once.started")
    ctx.open_once[key] = token
    begun = ctx.calls.time()
    try:
        with Inside(f"once({key!r})", token):
            value, cancelled = await invoke(fn, *args)
    except Exception as e:
        frame = _mark(ctx, key, "once", name, "failed", token=token)
        frame.error = _failure(e)
        del ctx.open_once[key]
        await ctx.wait(ctx.send(frame), what)
        raise
    except BaseException:
        # Cancelled half-way: whether the effect happened is not known, in this epoch neither.
        ctx.send(_mark(ctx, key, "once", name, "interrupted", token=token))
        raise
    if faults.armed:
        await faults.point("sdk.once.ran")
    frame = _mark(ctx, key, "once", name, "done", token=token)
    frame.seconds = round(ctx.calls.time() - begun, 6)
    refusal: HeadwayError | None = None
    try:
        body, value = _result(fn, value, f"the result of once {key!r}")
    except (TooLarge, NotEncodable) as e:
        # The effect happened: that is recorded, without a value, before the run fails.
        body, refusal = b"null", e
    frame.size = len(body)
    del ctx.open_once[key]
    future = ctx.send(frame, body)
    if cancelled is not None:
        ctx.left.add(future)
        raise cancelled
    await ctx.wait(future, what)
    if faults.armed:
        await faults.point("sdk.once.done")
    if refusal is not None:
        raise refusal
    return value


def _failure(error: BaseException) -> ErrorInfo:
    info = error_info(error)
    if isinstance(error, NotExecuted):  # subclasses count too
        return ErrorInfo(NotExecuted.__name__, info.message, info.traceback)
    return info


def _mark(
    ctx: Context,
    key: str,
    kind: MarkKind,
    fn: str,
    status: MarkStatus,
    *,
    token: str = "",
    size: int = 0,
) -> Mark:
    return Mark(
        slot=ctx.slot,
        seq=ctx.calls.next_seq(),
        key=key,
        kind=kind,
        fn=fn,
        status=status,
        token=token,
        size=size,
        after=ctx.number,
    )


async def _recorded(ctx: Context, found: MarkRecord, fn: Callable[..., Any], what: str) -> Any:
    body = bytes(found.value)
    if found.ref is not None and not body:
        body = await ctx.calls.fetch(ctx.slot, found.key)
    if not body:
        return None
    kind = _return_type(fn)
    if body == b"null":  # skipped, or resolved without a value
        return None
    try:
        return codec.decode(Any if kind is _NOT_SAID else kind, body)
    except codec.Misfit as e:
        raise StateMismatch(f"the recorded result of {what} is no {kind}: {e}") from None


_NOT_SAID = object()


def _result(fn: Callable[..., Any], value: Any, what: str) -> tuple[bytes, Any]:
    """The value as bytes, and as it will come back from the record."""
    body = codec.encode(value, what, STEP_LIMIT)
    if value is None or isinstance(value, (str, bool, int, float)):
        return body, value
    if _return_type(fn) is _NOT_SAID:
        # Without an annotation the record comes back as JSON values: the same the first time.
        return body, codec.decode(Any, body)
    return body, value


def _return_type(fn: Callable[..., Any]) -> Any:
    try:
        return _cached_return_type(fn)
    except TypeError:  # not hashable
        return _cached_return_type.__wrapped__(fn)


@functools.lru_cache(maxsize=1024)
def _cached_return_type(fn: Callable[..., Any]) -> Any:
    target: Any = fn
    while isinstance(target, functools.partial):
        target = target.func  # pyright: ignore[reportUnknownMemberType]  # partial[Unknown]
    if not inspect.isroutine(target):
        target = getattr(target, "__call__", target)  # noqa: B004  # its annotations are wanted
    try:
        return typing.get_type_hints(target, include_extras=True).get("return", _NOT_SAID)
    except (NameError, TypeError, AttributeError):
        return _NOT_SAID


def _function_name(fn: Callable[..., Any]) -> str:
    target: Any = fn
    while isinstance(target, functools.partial):
        target = target.func  # pyright: ignore[reportUnknownMemberType]  # partial[Unknown]
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    # A function defined inside the task: its own name is what a reader knows.
    return name.rsplit("<locals>.", 1)[-1][:200]


def _is_async(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # partial[Unknown]
    call: Any = getattr(fn, "__call__", None)  # noqa: B004  # an object whose __call__ is async
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call)


async def invoke(
    fn: Callable[..., Any], /, *args: Any
) -> tuple[Any, asyncio.CancelledError | None]:
    """Call it: a coroutine function on the loop, a plain one in a thread.

    A thread cannot be stopped, so its end is awaited even when the caller is cancelled; the
    cancellation comes back beside the value, for the caller to raise once the value is recorded.
    """
    if _is_async(fn):
        return await fn(*args), None
    thread = in_thread(fn, *args)
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait((thread,))
        except asyncio.CancelledError as e:
            cancelled = e
    value = thread.result()
    return (await value if inspect.isawaitable(value) else value), cancelled


def in_thread(fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
    """Call it in a thread, with this context. A bare future: nobody cancels it by accident."""
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(None, functools.partial(copy_context().run, fn, *args))
