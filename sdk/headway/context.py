"""What a running task knows of itself, and the one way in which its verbs reach the store.

A `Context` is one attempt. Verbs find it through a context variable, so it travels into tasks and
threads that the user starts. A verb's request is a future that the runner owns (`Calls.save`):
cancelling the verb stops the waiting, never the save, and the next verb first waits for it.
"""

from __future__ import annotations

import asyncio
import uuid
from contextvars import ContextVar
from datetime import datetime  # a Struct's field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from headway import journal, spans
from headway.budgets import over
from headway.errors import (
    BadName,
    DuplicateKey,
    KeyMismatch,
    NestedVerb,
    NotInRun,
    OverBudget,
    Refused,
    StaleAttempt,
    refusal_of,
)
from headway.wire import KEY_LIMIT, clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from headway.spending import Spending
    from headway.wire.budget import Budget
    from headway.wire.frames import (
        Ack,
        Await,
        Checkpoint,
        Enqueue,
        Fail,
        Finish,
        Mark,
        Usage,
        Wait,
    )
    from headway.wire.rpc import MarkRecord

TOKEN_NAMESPACE = uuid.UUID("6ba0d2a4-6a53-5b0e-9c1f-5f6c8d1b7e21")
"""Fixed for ever: tokens of once blocks are uuid5(TOKEN_NAMESPACE, root + NUL + key)."""


class AttemptInfo(msgspec.Struct, frozen=True):
    """The attempt that is running, as `attempt()` gives it."""

    run: str
    """The run's id (ULID)."""
    task: str
    epoch: int
    """The fencing number of this attempt; it only grows."""
    attempt: int
    """Counts attempts that used a retry, from 1."""
    max_attempts: int
    resumed_from: int
    """Number of the checkpoint that `resume` gives back; 0 = none."""
    queue: str = ""
    namespace: str = ""
    tags: tuple[str, ...] = ()
    root: str = ""
    parent: str = ""
    deadline_at: datetime | None = None
    trace: str = ""
    """W3C traceparent that came with the enqueue; empty = none did."""


class Calls(Protocol):
    """What an attempt needs from outside: the agent in a runner, a dict in `headway.testing`."""

    def next_seq(self) -> int:
        """The next sequence number; it only grows."""
        ...

    def save(
        self,
        frame: Checkpoint | Mark | Wait | Enqueue | Await | Usage | Finish | Fail,
        body: bytes = b"",
    ) -> asyncio.Future[Ack]:
        """Send what must be durable; the future ends with the store's word and never fails.

        Of an `await` it may take as long as a run takes; it is dropped at the attempt's end.
        """
        ...

    async def fetch(self, slot: int, key: str) -> bytes:
        """The recorded value of a mark that did not fit into the `run` frame."""
        ...

    async def thawed(self) -> None:
        """Return when the lease is in order: a once block is not entered while it is overdue."""
        ...

    def now(self) -> datetime:
        """The time of day, UTC."""
        ...

    def time(self) -> float:
        """Monotonic seconds."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Context:
    """One attempt inside its process."""

    def __init__(
        self,
        info: AttemptInfo,
        calls: Calls,
        *,
        slot: int = 1,
        marks: Iterable[MarkRecord] = (),
        state: bytes = b"",
        schema: str = "",
        suspend_after: float = 60.0,
        unconfirmed: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self.info, self.calls, self.slot = info, calls, slot
        self.unconfirmed = unconfirmed
        """An older attempt may still run: no ambiguous once block is decided here."""
        self.budget = budget
        """What the run may use of language models, and what earlier attempts used; None = any."""
        self.loop = asyncio.get_running_loop()
        self.marks = {m.key: m for m in marks}
        self.state, self.schema = state, schema
        self.suspend_after = suspend_after
        self.number = info.resumed_from
        """Number of the last acknowledged checkpoint."""
        self.base = 0
        """The checkpoint that default keys count from: the last one this code saved or resumed."""
        self.ordinal = 0
        self.state_type: Any = None
        """The type given to `resume`, for states made of builtins."""
        self.used: set[str] = set()
        self.busy = 0
        """Verbs in progress, parked sleeps not counted."""
        self.parked: dict[str, float] = {}
        """Sleeps in progress: key to due time (monotonic)."""
        self.moved: asyncio.Event | None = None
        """Set whenever `busy` or `parked` changes, while a long sleep watches them."""
        self.saving: asyncio.Lock = asyncio.Lock()
        """At most one unacknowledged checkpoint per attempt."""
        self.unacked: set[asyncio.Future[Ack]] = set()
        self.left: set[asyncio.Future[Ack]] = set()
        """Requests whose verb was cancelled while it waited."""
        self.open_once: dict[str, str] = {}
        """Once blocks of this attempt that were entered and have no done or failed mark: tokens."""
        self.over: BaseException | None = None
        """Set once the attempt must end (suspended, stale, ambiguous): no verb works any more."""
        self.stopping = ""
        """Why a `cancel` frame came; empty = none did."""
        self.told = False
        """A plain `def` task was told once, by CancelledError from a verb; its cleanup may save."""
        self.spending: Spending | None = None
        """What it has used of language models; None = nothing was told."""
        self.tasks: set[asyncio.Task[Any]] = set()
        """What user code started beside itself and is not done."""

    def token(self, key: str) -> str:
        """The stable token of a once block: the same over attempts, engines and forks."""
        root = self.info.root or self.info.run
        return str(uuid.uuid5(TOKEN_NAMESPACE, f"{root}\x00{key}"))

    def overspent(self) -> str:
        """What all attempts together have used beyond the budget, in words; empty = nothing."""
        budget = self.budget
        if budget is None:
            return ""
        usd, tokens = (0.0, 0) if self.spending is None else self.spending.sums()
        return over(budget, budget.spent_usd + usd, budget.spent_tokens + tokens)

    def check_budget(self) -> None:
        """Raises OverBudget, for good, if more was used than the run may use."""
        if why := self.overspent():
            self.over = OverBudget(f"used {why}")
            raise self.over

    # --- keys

    def claim(self, key: str | None, kind: str, fn: str) -> tuple[str, MarkRecord | None]:
        """The key to use and what is recorded under it.

        Raises BadName, DuplicateKey or KeyMismatch.
        """
        if key is None:
            self.ordinal += 1
            key = f"@{self.base}.{self.ordinal}"
        else:
            check_text(key, f"{kind} key")
        if key in self.used:
            raise DuplicateKey(f"{kind}({key!r}): {DuplicateKey.__doc__}")
        self.used.add(key)
        found = self.marks.get(key)
        if found is not None and (found.kind, found.fn) != (kind, fn):
            raise KeyMismatch(
                f"{key!r} is recorded as {named(found.kind, found.fn)}, and this is"
                f" {named(kind, fn)}: give the new call its own key"
            )
        return key, found

    def set_back(self, last: int) -> None:
        """The store has no checkpoint after `last` any more, nor what was recorded after it.

        It was replaced by an older copy while this attempt ran. Keys that are counted from the lost
        checkpoints are free again.
        """
        if not self.info.resumed_from <= last < self.number:
            return
        lost = {f"@{number}." for number in range(last + 1, self.number + 1)}
        self.used = {k for k in self.used if k[: k.find(".") + 1] not in lost}
        self.number = last

    # --- verbs

    async def enter(self) -> None:
        """Start of every verb: what an earlier, cancelled verb sent is settled first."""
        self.busy += 1
        try:
            if self.over is not None:
                raise self.over
            if self.left:
                await self.settle()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """End of every verb."""
        self.busy -= 1
        self.stir()

    def stir(self) -> None:
        """Tell a watching long sleep that something changed."""
        if self.moved is not None:
            self.moved.set()

    async def settle(self) -> None:
        """Wait for requests whose verb was cancelled."""
        while self.left:
            await asyncio.wait(self.left)
            self.left = {f for f in self.left if not f.done()}

    def send(
        self, frame: Checkpoint | Mark | Wait | Enqueue, body: bytes = b""
    ) -> asyncio.Future[Ack]:
        """Send and go on; `flush` waits for it before the attempt's end."""
        if self.spending is not None and self.spending.new:
            self.tell_usage()
        future = self.calls.save(frame, body)
        if journal.armed:
            future.add_done_callback(
                partial(journal.saved, self.info.run, self.info.epoch, frame, body)
            )
        self.unacked.add(future)
        future.add_done_callback(self.unacked.discard)
        return future

    def tell_usage(self) -> None:
        """Send what was used so far, if there is something new."""
        if self.spending is None or not self.spending.new:
            return
        from headway.wire.frames import Usage

        frame = Usage(self.slot, self.calls.next_seq(), self.spending.told())
        future = self.calls.save(frame)
        self.unacked.add(future)
        future.add_done_callback(self.unacked.discard)

    async def wait(self, future: asyncio.Future[Ack], what: str) -> Ack:
        """Wait for the store's word on a request; raises unless it is ok."""
        try:
            ack = await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                self.left.add(future)
            raise
        return self.word(ack, what)

    def word(self, ack: Ack, what: str) -> Ack:
        """An answer, if it is ok; raises otherwise."""
        if ack.outcome == "ok":
            return ack
        if ack.outcome == "stale_epoch":
            self.over = StaleAttempt()
            raise self.over
        if ack.outcome == "cancelling":
            raise asyncio.CancelledError(f"{what}: the run is being cancelled")
        if ack.code:
            raise refusal_of(ack.code, ack.message)
        raise Refused(f"{what} was not saved: {ack.outcome} {ack.message}".rstrip(), ack.outcome)

    async def flush(self) -> None:
        """Wait until everything that was sent has its answer."""
        while self.unacked:
            await asyncio.wait(set(self.unacked))


_current: ContextVar[Context | None] = ContextVar("headway_context", default=None)
_inside: ContextVar[tuple[str, str] | None] = ContextVar("headway_inside", default=None)
"""Set while the function of a step or once runs: (verb and key, once token)."""


def enter_context(ctx: Context) -> None:
    """Make this the context of the current task; for the runner."""
    _current.set(ctx)


def current_or_none() -> Context | None:
    """The attempt that this code belongs to, if any."""
    return _current.get()


def inside() -> bool:
    """True in the function of a step or once."""
    return _inside.get() is not None


def current(verb: str) -> Context:
    """The attempt that this code belongs to; raises NotInRun or NestedVerb."""
    ctx = _current.get()
    if ctx is None:
        raise NotInRun(f"{verb}(): {NotInRun.__doc__}")
    inside = _inside.get()
    if inside is not None:
        raise NestedVerb(f"{verb}() inside {inside[0]}: {NestedVerb.__doc__}")
    return ctx


class Inside:
    """Marks code as the function of a step or once while the `with` block runs."""

    __slots__ = ("_reset", "_span", "_value")

    def __init__(self, what: str, token: str) -> None:
        self._value = (what, token)

    def __enter__(self) -> None:
        self._span = None if spans.tracer is None else spans.span(self._value[0])
        if self._span is not None:
            self._span.__enter__()
        self._reset = _inside.set(self._value)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        _inside.reset(self._reset)
        if self._span is not None:
            self._span.__exit__(kind, error, where)


def attempt() -> AttemptInfo:
    """What is known of the attempt that runs this code; raises NotInRun outside of one."""
    ctx = _current.get()
    if ctx is None:
        raise NotInRun(f"attempt(): {NotInRun.__doc__}")
    return ctx.info


def token() -> str:
    """The token of the once block that runs this code: hand it to the outside world.

    It is the same whenever this block of this run is tried again, whatever happened in between
    (UUIDv5 of the root run's id and the key), so a service that takes an idempotency key does the
    work once. Raises NotInRun outside of a once block.
    """
    inside = _inside.get()
    if inside is None or not inside[1]:
        raise NotInRun("token() works inside the function of once() only")
    return inside[1]


def check_text(text: str, what: str) -> None:
    """Raise BadName unless the text can be a key or a name: 1 to 256 characters, no NUL."""
    if not 0 < len(text) <= KEY_LIMIT or not clean_text(text):
        error = BadName(what, text)
        error.args = (f"bad {what} {text[:80]!r}: 1 to {KEY_LIMIT} characters, no NUL",)
        raise error


def named(kind: str, fn: str) -> str:
    """`step of ask_llm`, for messages."""
    return f"{kind} of {fn}" if fn else kind
