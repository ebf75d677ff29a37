"""sleep(): a durable wait; a long one holds no container."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headway.context import Context, current
from headway.errors import StaleAttempt, Suspended
from headway.retry import Duration, seconds
from headway.wire.frames import Mark, MarkStatus, Wait

if TYPE_CHECKING:
    from headway.wire.rpc import MarkRecord


async def sleep(duration: Duration, key: str | None = None) -> None:
    """Wait for `"10m"`, `"1h30m"` or a number of seconds, over crashes and restarts.

    The due time is recorded: an attempt that starts over waits for the rest only. A wait longer
    than the task's `suspend_after` (60 s) gives the container back, never while another verb of
    this attempt is in progress; the attempt ends there by `Suspended` (a BaseException: let it
    pass), and the next one comes back to this line through the function's first line.

    Without a key, the key is the last checkpoint's number and the ordinal since it.
    """
    length = seconds(duration, "sleep")
    ctx = current("sleep")
    key, found = ctx.claim(key, "sleep", "")
    await ctx.enter()
    try:
        if found is not None and found.status == "done":
            return
        left = length if found is None else _left(ctx, found, length)
        if left > 0:
            await _wait(ctx, key, left, recorded=found is not None)
        # Not awaited: should it get lost, the due time in the past says the same.
        ctx.send(_mark(ctx, key, "done"))
    finally:
        ctx.leave()


def _left(ctx: Context, found: MarkRecord, length: float) -> float:
    if found.due_at is None:
        return length
    return (found.due_at - ctx.calls.now()).total_seconds()


def _mark(ctx: Context, key: str, status: MarkStatus, length: float = 0.0) -> Mark:
    return Mark(
        slot=ctx.slot,
        seq=ctx.calls.next_seq(),
        key=key,
        kind="sleep",
        fn="",
        status=status,
        seconds=length,
        after=ctx.number,
    )


async def _wait(ctx: Context, key: str, left: float, *, recorded: bool) -> None:
    due = ctx.calls.time() + left
    if not recorded:
        # First of all, so that no crash and no other sleep's suspension restarts this one.
        await ctx.wait(ctx.send(_mark(ctx, key, "open", left)), f"sleep {key!r}")
    ctx.parked[key] = due
    ctx.busy -= 1
    ctx.stir()
    try:
        while (rest := due - ctx.calls.time()) > 0:
            if rest <= ctx.suspend_after:
                await ctx.calls.pause(rest)
            elif ctx.busy == 0 and ctx.parked[key] == min(ctx.parked.values()):
                await _suspend(ctx, key, rest)
            else:
                await _until_quiet(ctx, rest)
    finally:
        ctx.busy += 1
        del ctx.parked[key]
        ctx.stir()


async def _suspend(ctx: Context, key: str, rest: float) -> None:
    frame = Wait(
        slot=ctx.slot,
        seq=ctx.calls.next_seq(),
        key=key,
        kind="sleep",
        seconds=rest,
        after=ctx.number,
    )
    ctx.over = Suspended()  # from here on no other verb may start
    try:
        await ctx.wait(ctx.send(frame), f"sleep {key!r}")
    except (asyncio.CancelledError, StaleAttempt):
        raise
    except Exception:
        ctx.over = None  # refused: the attempt goes on
        raise
    raise ctx.over


async def _until_quiet(ctx: Context, rest: float) -> None:
    """Until other verbs have moved, or the wait is over."""
    if ctx.moved is None:
        ctx.moved = asyncio.Event()
    ctx.moved.clear()
    pause = asyncio.ensure_future(ctx.calls.pause(rest))
    moved = asyncio.ensure_future(ctx.moved.wait())
    try:
        await asyncio.wait((pause, moved), return_when=asyncio.FIRST_COMPLETED)
    finally:
        pause.cancel()
        moved.cancel()
