"""Execute one run: call the function, wait for leftovers, say how it ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from headway import codec, spans
from headway.context import enter_context
from headway.effects import in_thread
from headway.errors import (
    BadPayload,
    NotEncodable,
    OnceAmbiguous,
    OverBudget,
    RetryAt,
    RetryIn,
    StaleAttempt,
    StateMismatch,
    StopRun,
    Suspended,
    TooLarge,
)
from headway.failures import error_info
from headway.wire import DURATION_LIMIT, RESULT_LIMIT, ErrorInfo
from headway.wire.frames import Cause, Fail, Finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.context import Context
    from headway.retry import Retry
    from headway.tasks import Task

Ending = tuple[Finish | Fail, bytes, Any]
"""The frame to send, its body, and for `done` the value itself."""


class Attempt:
    """One attempt in progress; `execute` runs in the task that the runner made for it."""

    def __init__(self, ctx: Context, task: Task[..., Any], grace: float = 10.0) -> None:
        self.ctx, self.task, self.grace = ctx, task, grace
        self._runs_user_code: asyncio.Task[Any] | None = None

    def stop(self, why: str) -> None:
        """CancelledError into user code; a plain `def` task stops at its next verb."""
        self.ctx.stopping = self.ctx.stopping or why
        if not self.task.is_async:
            for task in list(self.ctx.tasks):
                task.cancel(f"the run is being stopped ({why})")
        elif self._runs_user_code is not None:
            self._runs_user_code.cancel(f"the run is being stopped ({why})")

    def stale(self) -> None:
        """A newer attempt exists: no verb works any more, user code is stopped."""
        self.ctx.over = StaleAttempt()
        self.stop("stale")

    def stopped(self) -> Ending:
        """The frame that says no more than that user code has ended."""
        return self._fail("cancelled", StaleAttempt())

    async def execute(self, payload: bytes) -> Ending | None:
        """Run it to its end. None = nothing to report (suspended, or a newer attempt exists).

        Never raises what user code raised. Whatever the function left running is cancelled and
        awaited (at most `grace` seconds), and every save has its answer, before this returns.
        """
        enter_context(self.ctx)
        if spans.tracer is None:
            return await self._execute(payload)
        with spans.tracer.attempt(self.ctx.info) as told:
            ending = await self._execute(payload)
            if ending is not None and isinstance(ending[0], Fail):
                spans.tracer.failed(told, ending[0].error)
            return ending

    async def _execute(self, payload: bytes) -> Ending | None:
        ctx = self.ctx
        value: Any = None
        error: BaseException | None = None
        try:
            try:
                args, kwargs = self.task.signature.arguments(payload)
            except BadPayload as e:
                # The version that runs is not the one whose types the payload was made for.
                return self._fail("payload", e)
            if ctx.stopping:
                raise asyncio.CancelledError
            # Of a run that was over it when it was lost: nothing more is spent.
            ctx.check_budget()
            if self.task.is_async:
                self._runs_user_code = asyncio.current_task()
                value = await self.task.fn(*args, **kwargs)
            else:
                value = await _in_thread(lambda: self.task.fn(*args, **kwargs))
        except BaseException as e:  # SystemExit too: it must not end the loop
            error = e
        finally:
            self._runs_user_code = None
        if ctx.tasks:
            await self._end_leftovers()
        ctx.tell_usage()
        if ctx.unacked:
            await ctx.flush()
        return self._ending(value, error)

    async def _end_leftovers(self) -> None:
        left = set(self.ctx.tasks)
        for task in left:
            task.cancel("the task's function has ended")
        await asyncio.wait(left, timeout=self.grace)
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()  # looked at, or the loop would report it as lost

    def _ending(self, value: Any, error: BaseException | None) -> Ending | None:
        ctx = self.ctx
        over = ctx.over if ctx.over is not None else error
        if isinstance(over, (Suspended, StaleAttempt)):
            return None
        if isinstance(over, OverBudget):
            return self._fail("budget", over)
        if isinstance(over, OnceAmbiguous):
            ending = self._fail("ambiguous", over, key=over.key, token=over.token)
            if isinstance(ending[0], Fail):
                ending[0].waits = over.waits
            return ending
        if ctx.stopping == "timeout" and error is not None:
            retry = any(issubclass(TimeoutError, t) for t in self.task.retry.retry_on)
            return self._fail("timeout", TimeoutError("the attempt's time is over"), retry=retry)
        if ctx.stopping == "cancel" or (ctx.stopping and error is not None):
            cancelled = error or asyncio.CancelledError(f"stopped: {ctx.stopping}")
            return self._fail("cancelled", cancelled)
        if error is not None:
            return self._failed(error)
        for key, token in ctx.open_once.items():
            return self._fail("ambiguous", OnceAmbiguous(key, token), key=key, token=token)
        try:
            body = codec.encode(value, f"the result of task {self.task.id!r}", RESULT_LIMIT)
        except (TooLarge, NotEncodable) as e:
            return self._failed(e)
        frame = Finish(
            slot=ctx.slot,
            seq=ctx.calls.next_seq(),
            size=len(body),
            sha256=sha256(body).hexdigest(),
        )
        return frame, body, value

    def _failed(self, error: BaseException) -> Ending:
        if isinstance(error, StopRun):
            return self._fail("stop", error)
        if isinstance(error, StateMismatch):
            return self._fail("state", error)
        if isinstance(error, NotEncodable):
            return self._fail("encode", error)
        if isinstance(error, TooLarge):
            return self._fail("too_large", error)
        if isinstance(error, BadPayload):
            return self._fail("error", error)
        ending = self._fail("error", error, retry=may_retry(self.task.retry, error))
        frame = ending[0]
        if isinstance(frame, Fail):
            if isinstance(error, RetryIn):
                frame.retry_in = min(max(0.0, float(error.delay)), DURATION_LIMIT)
            elif isinstance(error, RetryAt):
                frame.retry_at = _within_reach(error.at)
        return ending

    def _fail(
        self,
        cause: Cause,
        error: BaseException,
        *,
        retry: bool = False,
        key: str = "",
        token: str = "",
    ) -> Ending:
        frame = Fail(
            slot=self.ctx.slot,
            seq=self.ctx.calls.next_seq(),
            cause=cause,
            error=error_info(error),
            retry=retry,
            key=key,
            token=token,
        )
        return frame, b"", None


def may_retry(retry: Retry, error: BaseException) -> bool:
    """The policy's verdict on an exception: `stop_on` wins, then `retry_on` if it is given."""
    if isinstance(error, retry.stop_on):
        return False
    if isinstance(error, (RetryIn, RetryAt)):
        return True
    return not retry.retry_on or isinstance(error, retry.retry_on)


def _within_reach(at: datetime) -> datetime:
    """A time that a task chose, at most a hundred years from now; one long past is now."""
    now = datetime.now(UTC)
    if at.year < 1970:
        return now
    if at.year > 5000:  # near the end of the calendar a change of zone fails
        return now + timedelta(seconds=DURATION_LIMIT)
    return min(at.astimezone(), now + timedelta(seconds=DURATION_LIMIT))


def refusal(slot: int, seq: int, kind: str, message: str) -> Fail:
    """The `fail` of a run that cannot be executed here at all."""
    return Fail(slot=slot, seq=seq, cause="error", error=ErrorInfo(kind, message), retry=False)


async def _in_thread(call: Callable[[], Any]) -> Any:
    """A thread cannot be stopped: its end is awaited whatever happens."""
    thread = in_thread(call)
    while not thread.done():
        try:
            await asyncio.wait((thread,))
        except asyncio.CancelledError:
            continue
    return thread.result()
