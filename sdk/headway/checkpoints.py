"""checkpoint() and resume(): save the task's state; get back the last one that was acknowledged.

An attempt always starts at the function's first line; `resume` gives the state back. Code before
the point of return that is not inside a keyed verb runs again.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from headway import codec, faults
from headway.context import check_text, current
from headway.errors import BadTask, NotEncodable, Refused, StateMismatch
from headway.spans import span
from headway.wire import CHECKPOINT_LIMIT
from headway.wire.frames import Checkpoint

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from headway.context import Context
    from headway.wire.frames import Ack

T = TypeVar("T")
D = TypeVar("D")

_BUILTINS = (dict, list, tuple, set, frozenset, str, int, float, bool, bytes, type(None))


async def checkpoint(name: str, state: Any, *, keep: bool = False) -> None:
    """Save the state under a name; returns when it is durable.

    The state is encoded at once: changing the object afterwards changes nothing that is saved.
    If the process dies before this returns, the next attempt has either this checkpoint or the one
    before. `keep=True` saves it from pruning (the first and the last 20 are kept anyway).
    If the store was set back to an older copy while this attempt ran, the state is saved after the
    last checkpoint that the store still has.

    Raises TooLarge (64 MiB) and NotEncodable, which end the run if you let them pass. Cancelling
    stops the waiting, not the save.
    """
    ctx = current("checkpoint")
    check_text(name, "checkpoint name")
    body = codec.encode(state, f"checkpoint {name!r}", CHECKPOINT_LIMIT)
    schema = _schema(ctx, state)
    await ctx.enter()
    try:
        async with ctx.saving:
            await ctx.settle()
            frame = Checkpoint(
                slot=ctx.slot,
                seq=0,
                number=0,
                name=name,
                sha256=sha256(body).hexdigest(),
                size=len(body),
                schema=schema,
                keep=keep,
            )
            with span("checkpoint", name=name, size=len(body)):
                if await _send(ctx, frame, body):
                    await _send(ctx, frame, body)
        # Once it is saved: what was paid for is not lost.
        ctx.check_budget()
    finally:
        ctx.leave()


@overload
async def resume(default: T, *, migrate: Callable[[Any], T] | None = None) -> T: ...
@overload
async def resume(default: D, type: type[T], migrate: Callable[[Any], T] | None = None) -> T | D: ...
@overload
async def resume(default: Any, type: Any, migrate: Callable[[Any], Any] | None = None) -> Any: ...
async def resume(
    default: Any, type: Any = None, migrate: Callable[[Any], Any] | None = None
) -> Any:
    """The state of the last acknowledged checkpoint, or `default` in a run without one.

    The state is decoded as `type`, by default the type of `default` (a Struct, dataclass or
    pydantic model). Builtins need a type: `resume([], type=list[Msg])`.

    If the state was saved under another schema (the class was edited since), it must fit strictly:
    an unknown field is refused, so that a renamed field never silently becomes its default. If it
    does not fit, `migrate(old)` gets the old state as plain JSON values and returns the new one;
    without it StateMismatch is raised, and the run waits for a person with its state untouched.
    """
    ctx = current("resume")
    kind: Any = type
    if kind is None:
        if isinstance(default, _BUILTINS):
            raise BadTask(
                f"resume({default!r}): say what the state is made of, such as"
                " resume([], type=list[str])"
            )
        kind = default.__class__
    else:
        ctx.state_type = kind
    await ctx.enter()
    try:
        if ctx.info.resumed_from == 0:
            return default
        if ctx.base < ctx.info.resumed_from:
            ctx.base, ctx.ordinal = ctx.info.resumed_from, 0
        return _restored(ctx.state, ctx.schema, kind, migrate)
    finally:
        ctx.leave()


async def _send(ctx: Context, frame: Checkpoint, body: bytes) -> bool:
    """Save it under the next number; True = the store has lost the last ones: once more."""
    number = ctx.number + 1
    frame = msgspec.structs.replace(frame, seq=ctx.calls.next_seq(), number=number)
    future = ctx.send(frame, body)

    def acked(done: asyncio.Future[Ack]) -> None:
        # In a callback, since the verb may be cancelled before the answer comes.
        if done.cancelled():
            return
        ack = done.result()
        if ack.outcome == "ok":
            ctx.number = ctx.base = number
            ctx.ordinal = 0
        elif ack.outcome == "gap":
            ctx.set_back(ack.number)

    future.add_done_callback(acked)
    if faults.armed:
        await faults.point("sdk.checkpoint.sent")
    try:
        await ctx.wait(future, f"checkpoint {frame.name!r}")
        if faults.armed:
            await faults.point("sdk.checkpoint.saved")
    except Refused as e:
        if e.code == "gap" and ctx.number < number - 1:
            return True
        raise
    return False


def _schema(ctx: Context, state: Any) -> str:
    """The hash of the state's type; empty = unknown, so it is decoded strictly later."""
    kind: Any = ctx.state_type if isinstance(state, _BUILTINS) else state.__class__
    if kind is None:
        return ""
    try:
        return codec.schema_hash(kind)
    except NotEncodable:
        return ""


def _restored(body: bytes, schema: str, kind: Any, migrate: Callable[[Any], Any] | None) -> Any:
    try:
        if schema and schema == codec.schema_hash(kind):
            return codec.decode(kind, body)
        return codec.decode_strictly(kind, body)
    except codec.Misfit as e:
        if migrate is not None:
            return migrate(codec.opened(body))
        raise StateMismatch(f"the saved state is no {_name(kind)}: {e}. {_HINT}") from None


_HINT = "Give resume(..., migrate=fn) or roll the code back, then resume the run"


def _name(kind: Any) -> str:
    return getattr(kind, "__qualname__", None) or str(kind)
