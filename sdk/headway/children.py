"""Runs that a task starts: `other.enqueue(...)` and `other.call(...)` inside a task.

Both are keyed verbs. The key gives the child's id, so however often the parent starts over, one
call is one child, and its result is the answer for ever; also when it failed: a parent that is
tried again gets the same RunFailed (catch it, or call again under another key).

The key is `options(step="...")`, or by default the last checkpoint's number and the ordinal since
it, as for `sleep`. A default key is only a place in the code: if another call comes to that place
(calls of concurrent code in another order, an argument that is new in each attempt), KeyMismatch is
raised rather than a wrong result given; under a `step` key the recorded child counts, whatever the
arguments. Give one to what is awaited after a later checkpoint, too.

While it waits for a child, the parent keeps its container and its timeout runs (giving it back
meanwhile comes with a later release): nested calls need as many free slots as they are deep.
Cancelling the parent does not cancel its children.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

import msgspec

from headway import codec
from headway.context import current
from headway.errors import HeadwayError, KeyMismatch, RunFailed
from headway.ids import child_run_id
from headway.spans import span
from headway.states import RunState
from headway.wire import NOTHING, encode
from headway.wire.frames import Await, Enqueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.context import Context
    from headway.wire.enqueue import EnqueueItem
    from headway.wire.frames import Ack
    from headway.wire.rpc import MarkRecord

T = TypeVar("T")


class ChildRecord(msgspec.Struct, frozen=True):
    """The value of a mark of kind `enqueue`."""

    run: str
    payload: str
    """Hash of the canonical payload."""


class ChildHandle(Generic[T]):
    """A child run inside its parent: `id` and `result()`; the rest of RunHandle works outside."""

    def __init__(self, ctx: Context, key: str, ids: tuple[str, str], result_type: Any) -> None:
        self._ctx, self._key, self._result_type = ctx, key, result_type
        self._own, self.id = ids
        self._end: asyncio.Future[Ack] | None = None

    @property
    def enqueued_id(self) -> str:
        """The id that its key gave; another one than `id` only for a duplicate."""
        return self._own

    @property
    def duplicate(self) -> bool:
        """True if its idempotency key belonged to another run: this handle is that run's."""
        return self.id != self._own

    @property
    def recorded(self) -> str:
        """`recorded`: a child is in the store before its parent goes on."""
        return "recorded"

    async def result(self, timeout: float | None = None) -> T:  # noqa: ASYNC109 - as RunHandle
        """The result, as soon as the child has ended; the parent keeps its container meanwhile.

        Raises RunFailed if it ended without one (for the parent's retry policy an exception like
        any other), TimeoutError after `timeout` seconds.
        """
        ctx, what = self._ctx, f"the result of child {self.id}"
        await ctx.enter()
        try:
            end = self._end
            if end is None:
                frame = Await(slot=ctx.slot, seq=ctx.calls.next_seq(), key=self._key)
                # Not ctx.send: neither the next verb nor the attempt's end waits for a child.
                end = self._end = ctx.calls.save(frame)
            with span("await child", child=self.id):
                await asyncio.wait((end,), timeout=timeout)
            if not end.done():
                raise TimeoutError(f"run {self.id} has not ended within {timeout:g} s")
            ack = ctx.word(end.result(), what)
        finally:
            ctx.leave()
        if ack.status != RunState.SUCCEEDED.status:
            e = ack.error
            if e is None:
                raise RunFailed(self.id, ack.status, "", "")
            raise RunFailed(self.id, ack.status, e.type, e.message, e.traceback)
        return cast("T", codec.decode(self._result_type, bytes(ack.value) or b"null"))

    async def _outside(self, *_: Any, **__: Any) -> NoReturn:
        raise HeadwayError(
            "inside a task a child's handle has `id` and `result()`; its status, logs, events,"
            " cancel and tag are for clients: Client.handle(run_id), or the command line"
        )

    status = detail = cancel = tag = events = logs = _outside

    def __repr__(self) -> str:
        return f"ChildHandle({self.id!r})"


async def start_children(
    items: Sequence[EnqueueItem], result_type: Any, step: str | None
) -> list[ChildHandle[Any]]:
    """Start a child for each item; several under one `step` get the keys `step[0]`, `step[1]` ...

    Raises DuplicateKey, KeyMismatch, NestedVerb, and what the engine refused a child with.
    """
    ctx = current("enqueue")
    ctx.check_budget()
    keys: list[str | None] = [step]
    if len(items) != 1:
        keys = [None if step is None else f"{step}[{i}]" for i in range(len(items))]
    # Claimed before anything is awaited, so that default keys count in the order of the calls.
    claims = [ctx.claim(key, "enqueue", item.task) for key, item in zip(keys, items, strict=True)]
    for item, (key, found) in zip(items, claims, strict=True):
        if step is None and found is not None:
            _same_call(key, found, item)
    # All at once: what is enqueued in one moment travels in one request.
    starts = [
        _start(ctx, item, key, result_type) for item, (key, _) in zip(items, claims, strict=True)
    ]
    handles = [await starts[0]] if len(starts) == 1 else await asyncio.gather(*starts)
    return list(handles)


async def _start(ctx: Context, item: EnqueueItem, key: str, result_type: Any) -> ChildHandle[Any]:
    own = child_run_id(ctx.info.root or ctx.info.run, ctx.info.run, key)
    await ctx.enter()
    try:
        frame = Enqueue(
            slot=ctx.slot,
            seq=ctx.calls.next_seq(),
            key=key,
            item=msgspec.Raw(encode(msgspec.structs.replace(item, run=own, payload=NOTHING))),
            after=ctx.number,
        )
        # Also if it is recorded: a crash may have come between the record and the child.
        with span(f"enqueue {item.task}", child=own):
            sent = ctx.send(frame, bytes(item.payload))
            ack = await ctx.wait(sent, f"enqueue of {item.task!r}")
    finally:
        ctx.leave()
    return ChildHandle(ctx, key, (own, ack.run or own), result_type)


def _same_call(key: str, found: MarkRecord, item: EnqueueItem) -> None:
    record = msgspec.json.decode(bytes(found.value), type=ChildRecord)
    if record.payload != codec.payload_hash(bytes(item.payload)):
        raise KeyMismatch(
            f"{key!r} is recorded as a call of {item.task!r} with other arguments (run"
            f" {record.run}): give calls whose order or arguments may change between attempts a"
            ' key of their own, options(step="...")'
        )
