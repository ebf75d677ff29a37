"""Try a task in memory: no server, no container; sleeps jump.

`run` executes a task to its end, attempt after attempt, as the engine would. The real verbs run,
over a store in a dict. `crash_after_every_checkpoint` runs it once cleanly, then once per
checkpoint with a crash right after that checkpoint was acknowledged, and compares.

Children that the task starts run in memory too, at once (a delay is not waited for) and each with a
clock of its own; their tasks must be defined in this process. A run is over when its children are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import Context as Variables
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from headway.children import ChildRecord
from headway.codec import payload_hash
from headway.context import AttemptInfo, Context
from headway.errors import HeadwayError, OnceAmbiguous, OverBudget, RunFailed
from headway.ids import child_root, new_run_id
from headway.runner.attempt import Attempt
from headway.tasks import registry
from headway.wire import ErrorInfo, decode, encode
from headway.wire.budget import Budget
from headway.wire.enqueue import ITEM
from headway.wire.frames import Ack, Await, Checkpoint, Enqueue, Fail, Finish, Mark, Usage, Wait
from headway.wire.rpc import MarkRecord

if TYPE_CHECKING:
    from headway.tasks import Task
    from headway.wire.saves import ModelUsage

P = ParamSpec("P")
R = TypeVar("R")

MAX_ATTEMPTS = 1000
SETTLE = 10
"""Turns of the loop that other code gets before the fake clock jumps."""


class Saved(msgspec.Struct, frozen=True):
    """A checkpoint as it was acknowledged."""

    number: int
    name: str
    state: bytes
    schema: str = ""


class MemoryRun:
    """One run's record: what the store of a real deployment would hold."""

    def __init__(
        self, start: datetime | None = None, *, id: str = "", root: str = "", parent: str = ""
    ) -> None:
        self.id = id or new_run_id()
        self.root, self.parent = root or self.id, parent
        self.children: dict[str, asyncio.Task[bytes]] = {}
        """By key; each gives its result as JSON, or raises what `run` would."""
        self.checkpoints: list[Saved] = []
        self.marks: dict[str, MarkRecord] = {}
        self.entered: Counter[str] = Counter()
        """How often each once block was entered."""
        self.used: dict[int, list[ModelUsage]] = {}
        """What each attempt has told of its usage last, by number."""
        self.attempts = 0
        self.clock = start or datetime(2030, 1, 1, tzinfo=UTC)
        self.crash_at = 0
        """Crash right after the checkpoint with this number was acknowledged; 0 = never."""


class MemoryCalls:
    """What an attempt needs, over a `MemoryRun`; implements `headway.context.Calls`."""

    def __init__(self, run: MemoryRun, epoch: int) -> None:
        self.run, self._epoch, self._seq = run, epoch, 0
        self._loop = asyncio.get_running_loop()
        self._pauses: list[datetime] = []
        self.dead = False
        """The process has crashed: nothing that it sends arrives."""

    def next_seq(self) -> int:
        """The next sequence number."""
        self._seq += 1
        return self._seq

    def save(
        self,
        frame: Checkpoint | Mark | Wait | Enqueue | Await | Usage | Finish | Fail,
        body: bytes = b"",
    ) -> asyncio.Future[Ack]:
        """Record it; the answer comes in the next tick of the loop, as from a store.

        After the crash nothing is recorded, and every answer is `stale_epoch`: it stops the code.
        """
        future: asyncio.Future[Ack] = self._loop.create_future()
        if not self.dead and isinstance(frame, Await):
            child = self.run.children[frame.key]
            child.add_done_callback(lambda done: _end(future, frame.seq, done))
            return future
        if not self.dead and isinstance(frame, Enqueue):
            self._loop.call_soon(_resolve, future, self._enqueue(frame, body))
            return future
        outcome = "stale_epoch" if self.dead else self._store(frame, body)
        if isinstance(frame, Checkpoint) and frame.number == self.run.crash_at and not self.dead:
            self.dead, outcome = True, "stale_epoch"
        ack = Ack(slot=1, seq=frame.seq, outcome=outcome)
        if outcome == "gap":
            ack.number = len(self.run.checkpoints)
        self._loop.call_soon(_resolve, future, ack)
        return future

    def _enqueue(self, frame: Enqueue, body: bytes) -> Ack:
        """Start the child, unless an earlier attempt did."""
        run = self.run
        item = decode(ITEM, bytes(frame.item))
        ack = Ack(slot=1, seq=frame.seq, run=item.run)
        if frame.key in run.children:
            return ack
        task = registry().get(item.task)
        if task is None:
            known = ", ".join(sorted(registry()))
            ack.outcome, ack.code = "rejected", "unknown_task"
            ack.message = f"no task {item.task!r} is defined in this process (known: {known})"
            return ack
        run.marks[frame.key] = MarkRecord(
            key=frame.key,
            kind="enqueue",
            fn=item.task,
            epoch=self._epoch,
            value=msgspec.Raw(encode(ChildRecord(item.run, payload_hash(body)))),
        )
        child = MemoryRun(
            run.clock, id=item.run, root=child_root(run.root, frame.key), parent=run.id
        )
        # In variables of its own: it is another run, not code of this one.
        run.children[frame.key] = self._loop.create_task(
            _child(task, child, body), context=Variables()
        )
        return ack

    def _store(self, frame: Any, body: bytes) -> str:
        run = self.run
        if isinstance(frame, Checkpoint):
            if frame.number != len(run.checkpoints) + 1:
                return "gap"
            run.checkpoints.append(Saved(frame.number, frame.name, body, frame.schema))
        elif isinstance(frame, Mark):
            if frame.kind == "once" and frame.status == "started":
                run.entered[frame.key] += 1
            known = run.marks.get(frame.key)
            if known is None or known.status != "done":
                run.marks[frame.key] = MarkRecord(
                    key=frame.key,
                    kind=frame.kind,
                    fn=frame.fn,
                    status=frame.status,
                    epoch=self._epoch,
                    value=msgspec.Raw(body),
                    error=frame.error,
                    due_at=self._due(frame.seconds) if frame.status == "open" else None,
                )
        elif isinstance(frame, Usage):
            run.used[self._epoch] = list(frame.used)
        elif isinstance(frame, Wait):
            run.marks[frame.key] = MarkRecord(
                key=frame.key,
                kind=frame.kind,
                status="open",
                epoch=self._epoch,
                due_at=self._due(frame.seconds or 0.0),
            )
        return "ok"

    def _due(self, seconds: float) -> datetime:
        return self.run.clock + timedelta(seconds=seconds)

    async def fetch(self, slot: int, key: str) -> bytes:
        """Nothing lies elsewhere here."""
        return bytes(self.run.marks[key].value)

    async def thawed(self) -> None:
        """There is no lease to be overdue."""

    def now(self) -> datetime:
        """The fake clock."""
        return self.run.clock

    def time(self) -> float:
        """The fake clock, as seconds."""
        return self.run.clock.timestamp()

    async def pause(self, seconds: float) -> None:
        """The fake clock jumps to the earliest of the pauses, when nothing else moves."""
        due = self._due(seconds)
        self._pauses.append(due)
        try:
            for _ in range(SETTLE):
                await asyncio.sleep(0)
            while self.run.clock < due:
                if due == min(self._pauses):
                    self.run.clock = due
                else:
                    await asyncio.sleep(0)
        finally:
            self._pauses.remove(due)


async def _one_attempt(
    task: Task[..., Any], run: MemoryRun, payload: bytes
) -> tuple[Finish | Fail, bytes, Any] | None:
    """Until it ends (the frame it would send), suspends or crashes (None)."""
    run.attempts += 1
    last = run.checkpoints[-1] if run.checkpoints else None
    info = AttemptInfo(
        run=run.id,
        task=task.id,
        epoch=run.attempts,
        attempt=run.attempts,
        max_attempts=task.retry.policy.max_attempts,
        resumed_from=last.number if last else 0,
        root=run.root,
        parent=run.parent,
    )
    calls = MemoryCalls(run, run.attempts)
    ctx = Context(
        info,
        calls,
        marks=run.marks.values(),
        state=last.state if last else b"",
        schema=last.schema if last else "",
        suspend_after=task.spec().suspend_after,
        budget=_budget(task, run),
    )
    ending = await Attempt(ctx, task, grace=1.0).execute(payload)
    if calls.dead:
        run.crash_at = 0
        return None
    return ending


def _budget(task: Task[..., Any], run: MemoryRun) -> Budget | None:
    """What is left to the attempt that begins, as an engine would say it."""
    spec = task.spec()
    if not spec.budget_usd and not spec.budget_tokens:
        return None
    used = [u for told in run.used.values() for u in told]
    return Budget(
        spec.budget_usd, spec.budget_tokens, sum(u.cost_usd for u in used),
        sum(u.tokens_in + u.tokens_out for u in used),
    )  # fmt: skip


def _end(future: asyncio.Future[Ack], seq: int, child: asyncio.Task[bytes]) -> None:
    """A child has ended: tell the parent who waits."""
    if future.done():
        return
    ack = Ack(slot=1, seq=seq, status="succeeded")
    error = asyncio.CancelledError() if child.cancelled() else child.exception()
    if error is None:
        ack.value = msgspec.Raw(child.result())
    elif isinstance(error, RunFailed):
        ack.status = error.status
        ack.error = ErrorInfo(error.error_type, error.error_message, error.traceback)
    else:  # such as OnceAmbiguous: a person would have to decide, so the test ends with it
        future.set_exception(error)
        return
    future.set_result(ack)


def _resolve(future: asyncio.Future[Ack], ack: Ack) -> None:
    if not future.done():
        future.set_result(ack)


async def _child(task: Task[..., Any], run: MemoryRun, payload: bytes) -> bytes:
    return (await _with_children(task, run, payload))[1]


async def _with_children(task: Task[..., Any], run: MemoryRun, payload: bytes) -> tuple[Any, bytes]:
    """Until it and its children have ended: its result, and that as JSON."""
    try:
        ended = await _to_the_end(task, run, payload)
        if run.children:
            await asyncio.wait(run.children.values())
        return ended
    finally:
        for child in run.children.values():
            child.cancel()
        await asyncio.gather(*run.children.values(), return_exceptions=True)


async def _to_the_end(task: Task[..., Any], run: MemoryRun, payload: bytes) -> tuple[Any, bytes]:
    failures = 0
    while run.attempts < MAX_ATTEMPTS:
        crashing = run.crash_at
        ending = await _one_attempt(task, run, payload)
        if ending is None:
            if crashing == run.crash_at:  # suspended: time passes until the first wait is due
                dues = [m.due_at for m in run.marks.values() if m.status == "open" and m.due_at]
                run.clock = min((d for d in dues if d > run.clock), default=run.clock)
            continue
        frame, body, value = ending
        if isinstance(frame, Finish):
            return value, body
        if frame.cause == "ambiguous":
            raise OnceAmbiguous(frame.key, frame.token)
        if frame.cause == "budget":
            raise OverBudget(frame.error.message)
        failures += 1
        if not frame.retry or failures >= task.retry.policy.max_attempts:
            raise RunFailed(
                run.id, "failed", frame.error.type, frame.error.message, frame.error.traceback
            )
    raise HeadwayError(f"task {task.id!r} did not end within {MAX_ATTEMPTS} attempts")


async def run(task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run the task in memory to its end and give its result.

    Retries happen at once, sleeps jump, long waits suspend and resume as they would. Raises
    RunFailed when its attempts are used up, OnceAmbiguous and OverBudget where a person would have
    to decide, BadPayload for a call that does not fit.
    """
    payload = task.signature.payload(args, kwargs)
    return (await _with_children(task, MemoryRun(), payload))[0]


class CrashReport(msgspec.Struct, frozen=True):
    """What `crash_after_every_checkpoint` did."""

    result: Any
    checkpoints: tuple[str, ...]
    """Names, in order; there was one crash after each."""
    once: dict[str, int]
    """How often each once block was entered in one run."""


async def crash_after_every_checkpoint(
    task: Task[P, R], *args: P.args, **kwargs: P.kwargs
) -> CrashReport:
    """Run once cleanly, then crash after each checkpoint, resume, and compare.

    Raises AssertionError if a run that was crashed gives another result or another final state, or
    enters a once block more often than the clean run, or starts other children.
    """
    payload = task.signature.payload(args, kwargs)
    clean = MemoryRun()
    result = (await _with_children(task, clean, payload))[0]
    for point in list(clean.checkpoints):
        crashed = MemoryRun()
        crashed.crash_at = point.number
        where = f"after checkpoint {point.number} ({point.name!r})"
        try:
            again = (await _with_children(task, crashed, payload))[0]
        except (OnceAmbiguous, HeadwayError) as e:
            raise AssertionError(f"crashed {where}, the task failed: {e}") from e
        if again != result:
            raise AssertionError(
                f"crashed {where}, the result is {again!r}, and {result!r} without a crash: is"
                " something kept outside of the state that checkpoint() saves?"
            )
        if not crashed.checkpoints:
            raise AssertionError(f"the run that should crash {where} never saved it")
        if crashed.checkpoints[-1].state != clean.checkpoints[-1].state:
            raise AssertionError(f"crashed {where}, the last checkpoint holds another state")
        for key, count in crashed.entered.items():
            if count > clean.entered[key]:
                raise AssertionError(
                    f"crashed {where}, once({key!r}) ran {count} times, and"
                    f" {clean.entered[key]} without a crash"
                )
        if crashed.children.keys() != clean.children.keys():
            raise AssertionError(
                f"crashed {where}, it started the children {sorted(crashed.children)}, and"
                f" {sorted(clean.children)} without a crash: give each call a key that stays,"
                ' options(step="...")'
            )
    return CrashReport(result, tuple(c.name for c in clean.checkpoints), dict(clean.entered))
