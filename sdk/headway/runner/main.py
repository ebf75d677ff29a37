"""Connect, take the environment, import the user's modules, execute runs, report, exit code.

Exit codes: 0 done or suspended, 1 failed, 75 no agent came back, 87 a newer attempt exists, 143
stopped. They are only a check: the frames decide.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headway import faults, journal, spans
from headway.channel import parse_address
from headway.context import AttemptInfo, Context, current_or_none
from headway.failures import error_info
from headway.runner.attempt import Attempt, refusal
from headway.runner.calls import AgentCalls
from headway.runner.output import Output
from headway.runner.watch import Watch
from headway.tasks import registry
from headway.wire.frames import (
    EXIT_ORPHAN,
    EXIT_STALE,
    Bye,
    Cancel,
    Env,
    LoadFailed,
    Log,
    Marks,
    Ping,
    Pong,
    Ready,
    Run,
    RunStarted,
    Spans,
)

if TYPE_CHECKING:
    import ssl

    from headway.wire.events import Span
    from headway.wire.rpc import MarkRecord

EXIT_STOPPED = 143
EXIT_BROKEN = 70
"""A fault of the runner itself."""
TOKEN_LIMIT = 256
LOG_BACKLOG = 1024 * 1024
"""Unsent bytes over which log frames are dropped (and counted)."""


class Slot:
    """A run that this process has been given."""

    def __init__(self, run: Run, payload: bytes, state: bytes) -> None:
        self.run, self.payload, self.state = run, payload, state
        self.marks: list[MarkRecord] = list(run.marks)
        self.attempt: Attempt | None = None
        self.stopping: tuple[str, float] | None = None


class Runner:
    """One process of a runner, for one run or for many."""

    def __init__(self, address: str, token: str, tls: ssl.SSLContext | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.exit: asyncio.Future[int] = self.loop.create_future()
        self.env: asyncio.Future[Env] = self.loop.create_future()
        self.slots: dict[int, Slot] = {}
        self.shared = False
        self.leaving = False
        self.output: Output | None = None
        self.spans: Any = None
        """The exporter of the task's OpenTelemetry spans, if it makes any."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self.calls = AgentCalls(
            address,
            token,
            tls,
            on_frame=self._frame,
            on_stale=self._stale,
            on_orphan=lambda: self._leave(EXIT_ORPHAN),
            slots=lambda: [(n, s.run.run, s.run.epoch) for n, s in self.slots.items()],
        )
        self.watch = Watch(self.loop, lambda: self.calls.conn, die=True)

    def _leave(self, code: int) -> None:
        if not self.exit.done():
            self.exit.set_result(code)

    async def life(self) -> int:
        """From the first connection to the exit code."""
        self.loop.set_task_factory(_user_tasks)
        self.loop.add_signal_handler(signal.SIGTERM, self._terminated)
        self.calls.connect()
        await asyncio.wait((self.env, self.exit), return_when=asyncio.FIRST_COMPLETED)
        if self.exit.done():
            return self.exit.result()
        if not self._load(self.env.result()):
            await self.calls.drained()
            return 1
        code = await self.exit
        await self.calls.drained()
        return code

    def _load(self, env: Env) -> bool:
        began = time.monotonic()
        self.shared, self.watch.die = env.shared, not env.shared
        self.calls.orphan_after = self.watch.orphan_after = env.orphan_after
        os.environ.update(env.vars)
        if rules := env.vars.get("HEADWAY_FAULTS"):  # of the task's own: nothing else is inherited
            faults.arm(rules)
        if env.source:
            sys.path.insert(0, env.source)
        self.output = Output(self._log, env.log_rate, env.log_burst, shared=env.shared)
        self.watch.stderr = self.output.start()
        if env.shared:
            from concurrent.futures import ThreadPoolExecutor

            self.loop.set_default_executor(ThreadPoolExecutor(max(4, env.slots)))
        self.watch.busy()
        try:
            journal.open_journal(os.environ.get(journal.VARIABLE, ""))
            for module in env.modules:
                importlib.import_module(module)
            self.spans = spans.install(self._spans, os.environ.get(spans.SWITCH, ""))
        except BaseException as e:  # SystemExit at import is the user's mistake too
            info = error_info(e)
            from headway.runner.loading import reason  # not needed to start well

            if why := reason(e, env.modules, env.source):
                info = replace(info, message=f"{info.message}; {why}")
            if self.calls.conn is None:  # nobody hears it; else the agent redacts what it tells
                os.write(self.watch.stderr, info.traceback.encode())
            self.calls.send(LoadFailed(error=info))
            return False
        finally:
            self.watch.idle()
        gc.collect()
        gc.freeze()
        self.calls.ready = Ready(
            tasks=tuple(sorted(registry())),
            load_ms=round((time.monotonic() - began) * 1000, 1),
        )
        self.calls.send(self.calls.ready)
        return True

    def _log(self, frame: Log) -> bool:
        """From the output thread."""
        conn = self.calls.conn
        if conn is None or conn.closed or conn.unsent > LOG_BACKLOG:
            return False
        conn.send_from_thread(frame)
        return True

    def _spans(self, slot: int, first: int, found: list[Span]) -> bool:
        conn = self.calls.conn
        if conn is None or conn.closed or conn.unsent > LOG_BACKLOG:
            return False
        conn.send(Spans(slot, first, found))
        return True

    # --- frames

    def _frame(self, frame: Any) -> None:
        match frame:
            case Run():
                self._given(frame)
            case Marks():
                slot = self.slots.get(frame.slot)
                if slot is not None and slot.attempt is None:
                    slot.marks += frame.marks
                    if not frame.more:
                        self._begin(slot)
            case Cancel():
                self._stop(frame.slot, frame.why, frame.grace)
            case Ping():
                self.calls.send(Pong())
            case Env():
                if not self.env.done():  # a redial brings it again
                    self.env.set_result(frame)
            case Bye():
                self.leaving = True
                if not self.slots:
                    self._leave(0)
            case _:
                pass

    def _given(self, run: Run) -> None:
        if run.slot in self.slots:
            return  # a repeat after a redial
        if faults.armed:
            faults.here("runner.run.received")
        payload = self.calls.body(run.payload_blob) if run.payload_blob else bytes(run.payload)
        state = self.calls.body(run.state_blob) if run.state_blob else bytes(run.state)
        slot = self.slots[run.slot] = Slot(run, payload, state)
        if not run.marks_more:
            self._begin(slot)

    def _begin(self, slot: Slot) -> None:
        task = self.loop.create_task(self._execute(slot))
        self._tasks.add(task)
        task.add_done_callback(self._executed)

    def _executed(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            os.write(self.watch.stderr, error_info(error).traceback.encode())
            self._leave(EXIT_BROKEN)

    async def _execute(self, slot: Slot) -> None:
        run = slot.run
        code = 0
        self.watch.busy()
        if self.output is not None and not self.shared:
            self.output.bind(run.slot)
        task = registry().get(run.task)
        tell = self.calls.send if self.shared else self.calls.send_now
        tell(RunStarted(slot=run.slot))
        if task is None:
            known = ", ".join(sorted(registry())) or "none"
            ending: Any = (
                refusal(
                    run.slot,
                    self.calls.next_seq(),
                    "BadTask",
                    f"no task {run.task!r} in this version; its modules define: {known}",
                ),
                b"",
            )
        else:
            slot.attempt = Attempt(_context(slot, self.calls), task, run.grace)
            if slot.stopping is not None:
                slot.attempt.stop(slot.stopping[0])
            ending = await slot.attempt.execute(slot.payload)
            if slot.attempt.ctx.stopping == "stale":
                code = EXIT_STALE
                if self.shared:  # the process lives on: only this frame says that the task ended
                    ending = slot.attempt.stopped()
        if self.spans is not None:
            self.spans.end(run.slot)
        if self.output is not None:
            if self.shared:
                self.output.end(run.slot)
            else:
                await self.output.flush(self.loop)
        if ending is not None:
            if faults.armed:
                await faults.point("runner.task.returned")
            ack = await self.calls.save(ending[0], ending[1])
            if faults.armed:
                await faults.point("runner.end.answered")
            failed = type(ending[0]).__name__ == "Fail"
            code = EXIT_STALE if ack.outcome == "stale_epoch" else int(failed)
        del self.slots[run.slot]
        self.calls.drop(run.slot)
        if not self.slots:
            self.watch.idle()
        if not self.shared or (self.leaving and not self.slots):
            self._leave(code if not self.shared else 0)

    # --- stops

    def _stop(self, number: int, why: str, grace: float) -> None:
        slot = self.slots.get(number)
        if slot is None:
            return
        slot.stopping = (why, grace)
        self.watch.stopping(grace)
        if slot.attempt is not None:
            if why == "stale":
                slot.attempt.stale()
            else:
                slot.attempt.stop(why)

    def _stale(self, number: int) -> None:
        """The store refused a save of an older epoch."""
        if not self.shared:
            self._leave(EXIT_STALE)
            return
        slot = self.slots.get(number)
        if slot is not None and slot.attempt is not None:
            slot.attempt.stale()

    def _terminated(self) -> None:
        """SIGTERM: stop what runs, then go; the agent kills what does not."""
        if not self.slots:
            self._leave(EXIT_STOPPED)
            return
        self.leaving = True
        for number in list(self.slots):
            self._stop(number, "drain", self.slots[number].run.grace)


def _context(slot: Slot, calls: AgentCalls) -> Context:
    run = slot.run
    info = AttemptInfo(
        run=run.run,
        task=run.task,
        epoch=run.epoch,
        attempt=run.attempt,
        max_attempts=run.max_attempts,
        resumed_from=run.checkpoint,
        queue=run.queue,
        namespace=run.ns,
        tags=run.tags,
        root=run.root or run.run,
        parent=run.parent,
        deadline_at=run.deadline_at,
        trace=run.trace,
    )
    return Context(
        info,
        calls,
        slot=run.slot,
        marks=slot.marks,
        state=slot.state,
        schema=run.schema,
        suspend_after=run.suspend_after,
        unconfirmed=run.unconfirmed,
        budget=run.budget,
    )


def _user_tasks(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    """Task factory: what user code starts beside itself is known to its attempt."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **kwargs)
    context = kwargs.get("context")
    ctx = current_or_none() if context is None else context.run(current_or_none)
    if ctx is not None:
        ctx.tasks.add(task)
        task.add_done_callback(ctx.tasks.discard)
    return task


def _tls(pem: str) -> ssl.SSLContext | None:
    """Trust exactly the agent's certificate (PEM); None without one."""
    if not pem:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is pinned
    context.load_verify_locations(cadata=pem)
    return context


def _token_from(fd: int) -> str:
    """The first line of a descriptor, which then leads nowhere: user code finds nothing there."""
    line = b""
    while len(line) < TOKEN_LIMIT and (byte := os.read(fd, 1)) not in (b"", b"\n"):
        line += byte
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, fd)
    os.close(null)
    return line.decode("ascii", "replace")


async def _life() -> int:
    address = os.environ.pop("HEADWAY_CHANNEL", "")
    token = os.environ.pop("HEADWAY_CHANNEL_TOKEN", "")
    if fd := os.environ.pop("HEADWAY_CHANNEL_TOKEN_FD", ""):
        token = _token_from(int(fd))
        if not token:
            print("headway.runner: no token came; its agent has ended", file=sys.stderr)  # noqa: T201
            return 2
    pem = os.environ.pop("HEADWAY_CHANNEL_CERT", "")
    if not address:
        print("headway.runner: HEADWAY_CHANNEL is not set; an agent starts this", file=sys.stderr)  # noqa: T201
        return 2
    parse_address(address)
    return await Runner(address, token, _tls(pem)).life()


def main() -> None:
    """The process: does not return. Ends without waiting for threads that user code left."""
    stderr = os.dup(2)  # fd 2 itself becomes the run's output
    try:
        code = asyncio.new_event_loop().run_until_complete(_life())
    except BaseException as e:
        os.write(stderr, "".join(traceback.format_exception(e)).encode())
        code = EXIT_BROKEN
    os._exit(code)
