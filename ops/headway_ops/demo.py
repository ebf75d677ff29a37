"""`headway demo`: research runs on a stack of their own; one is killed half-way and goes on.

Nothing is staged: the runs are ordinary runs, the kill is a SIGKILL from outside, and what the end
claims is read back from the stored events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw
from rich.text import Text

from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.looks import look
from headway.safe import safe_line, safe_text
from headway.wire.enqueue import EnqueueItem
from headway_ops import render, say, story
from headway_ops.check import Report, examine, version_of
from headway_ops.checking import print_report
from headway_ops.local.stack import Plan, Stack
from headway_ops.local.state import StateDir
from headway_ops.local.up import pick_runtime
from headway_ops.say import Exit, Fail
from headway_ops.shipped import shipped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.client import RunHandle
    from headway.wire.events import Event

EXAMPLE = shipped("examples/research")
TASK = "research"
TURNS = 8
PACE = 0.5
"""Seconds that a turn rests, so that there is something to watch."""
PACE_SEEN = 1.0
"""The same when somebody watches in the console."""
KILL_AT = 3
"""The checkpoint after which a run's container is killed: of the run that is there first."""
LIMIT = 150.0
"""Seconds for all runs together."""
SHOWN = frozenset(
    {"starting", "started", "checkpoint", "once", "retrying", "lost", "review", "succeeded",
     "failed", "timed_out", "warning"}
)  # fmt: skip


class Proof(NamedTuple):
    """What the stored events of the killed run say."""

    containers: list[str]
    resumed_from: list[int]
    last_before: int
    """Number of the last checkpoint of the first attempt."""
    delivered: int
    """How often `once` was acknowledged done."""

    @property
    def holds(self) -> bool:
        """Another container went on from a checkpoint after the first, and delivered once."""
        return (
            len(set(self.containers)) > 1
            and any(number > 1 for number in self.resumed_from)
            and self.delivered == 1
        )


def proof_of(events: list[Event]) -> Proof:
    """Read it from a timeline.

    Where an attempt began shows in the number of its first checkpoint: they count on. (A `started`
    that was overtaken by the attempt's first save says neither container nor beginning.)
    """
    started = [e for e in events if e.kind == "started"]
    saved: dict[int, list[int]] = {}
    for event in events:
        if event.kind == "checkpoint":
            saved.setdefault(event.epoch, []).append(int(event.data.get("number", 0)))
    first = started[0].epoch if started else 0
    return Proof(
        [str(e.data.get("container") or f"epoch {e.epoch}") for e in started],
        [numbers[0] - 1 for epoch, numbers in saved.items() if epoch > first],
        max(saved.get(first, []), default=0),
        sum(1 for e in events if e.kind == "once" and e.data.get("status") == "done"),
    )


def run(
    *, runtime: str, questions: int, reports: str, tui: bool = False, edge: bool = False
) -> None:
    """Run the demo; exit 1 if what it shows did not happen.

    `tui`: the console is open on it meanwhile; what the demo has to say waits until it is closed.
    `edge`: on NATS alone.
    """
    if tui and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Fail("the console needs a terminal",
                   "headway demo without --tui tells the same in lines", Exit.USAGE)  # fmt: skip
    if not EXAMPLE.is_dir():
        raise Fail("the demo's task is not installed", "run ops/demo in a source checkout",
                   Exit.USAGE)  # fmt: skip
    asked = (EXAMPLE / "questions.txt").read_text("utf-8").splitlines()[:questions]
    plan = Plan(runtime=pick_runtime(runtime, edge=edge), slots=4, edge=edge)
    if not asyncio.run(_Demo(plan, asked, reports, tui).run()):
        raise SystemExit(int(Exit.FAILED))


def _own_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="headway-demo-"))
    # Root's Postgres runs as another user, who must be able to pass through.
    folder.chmod(0o711)
    return folder


class _Demo:
    """One demo."""

    def __init__(self, plan: Plan, questions: list[str], reports: str, tui: bool) -> None:
        self._plan, self._questions, self._tui = plan, questions, tui
        self._held: list[Text] | None = None
        """What is to be told once the console is closed; None = the terminal is ours."""
        self._reports = Path(reports) if reports else None
        self._begun = time.monotonic()
        self._victim = -1
        """Which run's container was killed."""

    async def run(self) -> bool:
        """Everything; True if the kill was survived and all runs succeeded."""
        if self._plan.runtime == "process":
            say.tell("no Docker engine is used: tasks run as processes, and one is killed (-9)")
        folder = _own_folder()
        state = StateDir(folder, self._plan.mode)
        stack = None
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        try:
            state.open()
            stack = Stack(state, self._plan, say.tell)
            work = asyncio.create_task(self._show(stack))
            end = asyncio.create_task(stopped.wait())
            await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
            end.cancel()
            if stopped.is_set():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await work
                say.tell("stopped")
                return False
            return await work
        finally:
            if stack is not None:
                await stack.stop()
            state.close()
            shutil.rmtree(folder, ignore_errors=True)

    async def _show(self, stack: Stack) -> bool:
        servers = "nats-server" if self._plan.edge else "nats-server, Postgres"
        self._step(f"starting {servers}, engine and agent")
        looked = asyncio.create_task(examine([str(EXAMPLE / "agent.py")]))

        async def queues() -> set[str]:
            return {task.queue for task in (await looked).tasks}

        await stack.start(asyncio.ensure_future(queues()))
        report: Report = await looked
        if not report.ok:
            print_report(report)
            return False
        await stack.ready()
        await stack.register(report, version_of(report, "dev"))
        self._step(f"ready; asking {len(self._questions)} questions", timed=True)
        async with self._console(stack):
            handles = await stack.client.submit([self._item(q) for q in self._questions], Any)
            try:
                async with asyncio.timeout(LIMIT):
                    timelines = await asyncio.gather(
                        *(self._follow(i, handle) for i, handle in enumerate(handles))
                    )
                    results = [await handle.result() for handle in handles]
            except TimeoutError:
                raise Fail(f"the runs have not ended within {LIMIT:g} s",
                           f"look into {stack.state.path / 'logs'}") from None  # fmt: skip
        return self._tell(handles, timelines, results)

    @contextlib.asynccontextmanager
    async def _console(self, stack: Stack) -> AsyncGenerator[None]:
        """The console has the terminal until somebody closes it; an error inside closes it."""
        if not self._tui:
            yield
            return
        self._held = []
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headway_ops", "tui", env=os.environ | stack.environment
        )
        closed = asyncio.create_task(self._closed(process))
        try:
            yield
            await closed
        finally:
            if process.returncode is None:
                process.terminate()
            await closed

    async def _closed(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        held, self._held = self._held or [], None
        for text in held:
            say.show(text)

    def _show_line(self, text: Text) -> None:
        if self._held is None:
            say.show(text)
        else:
            self._held.append(text)

    def _item(self, question: str) -> EnqueueItem:
        payload = {"question": question, "turns": TURNS, "pace": PACE_SEEN if self._tui else PACE}
        return EnqueueItem(
            run=new_run_id(), task=TASK, payload=Raw(msgspec.json.encode(payload)), tags=("demo",)
        )

    async def _follow(self, index: int, handle: RunHandle[Any]) -> list[Event]:
        """Print a run's moves as they come; kill its container half-way if no other's was."""
        events: list[Event] = []
        container = ""
        async for event in handle.events():
            events.append(event)
            if event.kind == "started":
                container = str(event.data.get("container", ""))
            if event.kind in SHOWN:
                text = Text(f"run {index + 1}  ", style="bold", no_wrap=True, overflow="ellipsis")
                self._show_line(text.append_text(story.event_text(event, events[0].at)))
            if (
                self._victim < 0 and container and event.kind == "checkpoint"
                and int(event.data.get("number", 0)) >= KILL_AT
            ):  # fmt: skip
                self._victim = index
                await self._kill(container)
        return events

    async def _kill(self, container: str) -> None:
        """SIGKILL from outside: what an out-of-memory killer or a power cut does."""
        name = f"run {self._victim + 1}  "
        if self._plan.runtime == "docker":
            self._show_line(Text(f"{name}docker kill {safe_line(container, 20)}", style="bold red"))
            from headway_ops.deploying import docker_client

            await asyncio.to_thread(lambda: docker_client().kill(container))
        else:
            self._show_line(Text(f"{name}kill -9 {safe_line(container, 20)}", style="bold red"))
            os.kill(int(container), signal.SIGKILL)

    def _tell(
        self, handles: list[RunHandle[Any]], timelines: list[list[Event]], results: list[Any]
    ) -> bool:
        for index, (question, value) in enumerate(zip(self._questions, results, strict=True)):
            text = str(value.get("text", "")) if isinstance(value, dict) else str(value)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] JSON of the task
            self._report(index, question, text)
        if self._victim < 0:
            say.tell("headway: all runs ended before one could be killed")
            return False
        timeline = timelines[self._victim]
        proof = proof_of(timeline)
        self._step(f"run {self._victim + 1}, whose container was killed")
        for line in story.timeline(timeline):
            say.show(line)
        say.show(Text())
        checks = [
            ("ran in", " then ".join(proof.containers), len(set(proof.containers)) > 1),
            ("went on from", ", ".join(f"checkpoint #{n}" for n in proof.resumed_from)
             + f" (last saved before: #{proof.last_before})",
             any(n > 1 for n in proof.resumed_from)),
            ("delivered", f"{proof.delivered} x", proof.delivered == 1),
        ]  # fmt: skip
        for name, what, good in checks:
            shape = look("succeeded" if good else "failed")
            glyph = shape.glyph if render.unicode_output() else shape.ascii
            say.show(
                Text(f"{glyph} ", render.style_of(shape)).append(
                    f"{name} {safe_line(what, 200)}", "none"
                )
            )
        self._step(f"{len(handles)} runs succeeded", timed=True)
        if not proof.holds:
            say.tell("headway: the kill was not survived as promised; the timeline is above")
        return proof.holds

    def _report(self, index: int, question: str, text: str) -> None:
        self._step(f"report {index + 1}: {question}")
        lines = safe_text(text).splitlines()
        shown = lines if index == 0 else lines[:12]
        for line in shown:
            say.show(Text(line))
        if len(shown) < len(lines):
            say.show(Text(f"... {len(lines) - len(shown)} more lines", style="dim"))
        if self._reports is not None:
            try:
                self._reports.mkdir(parents=True, exist_ok=True)
                (self._reports / f"report-{index + 1}.md").write_text(text, "utf-8")
            except OSError as e:
                raise HeadwayError(f"cannot write to {self._reports}: {e.strerror}") from None

    def _step(self, what: str, *, timed: bool = False) -> None:
        took = f"  ({time.monotonic() - self._begun:.1f} s)" if timed else ""
        say.show(Text(f"\n== {safe_line(what, 200)}{took}", style="bold"))
