"""`headway up`: the whole of Headway on this machine, until Ctrl+C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from headway import discovery, subjects
from headway.safe import safe_line
from headway_ops import render, say
from headway_ops.checking import print_report
from headway_ops.local.reload import Reloader
from headway_ops.local.stack import Plan, Stack
from headway_ops.local.state import StateDir
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.wire.fleet import TaskSpec
    from headway_ops.check import Report


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    tasks: tuple[str, ...] = ()
    state_dir: str = ".headway"
    runtime: str = "auto"
    port: int = 0
    postgres_port: int = 0
    slots: int = 8
    edge: bool = False
    once_ready_cmd: str = ""


def run(options: Options, *, as_json: bool) -> None:
    """Run the stack until a signal, or until the command of `--once-ready-cmd` has ended."""
    code = asyncio.run(_Up(options, as_json).run())
    if code:
        raise SystemExit(code)


def pick_runtime(asked: str, *, edge: bool = False) -> str:
    """`auto`: docker where an engine answers, else process; at the edge process, without a look.

    Fail where what was asked cannot be.
    """
    if asked not in {"auto", "docker", "process"}:
        raise Fail(f"--runtime {asked!r}", "auto, docker or process", Exit.USAGE)
    if asked == "process" or (asked == "auto" and edge):
        return "process"
    from headway_ops.deploying import docker_client

    try:
        docker_client().close()
    except Fail as e:
        if asked == "docker":
            raise Fail(e.what, "start it, or --runtime process", e.code) from None
        return "process"
    except ModuleNotFoundError:
        if asked == "docker":
            raise
        return "process"
    return "docker"


class _Up:
    """One call of `headway up`."""

    def __init__(self, options: Options, as_json: bool) -> None:
        self._options, self._as_json = options, as_json
        self._begun = time.monotonic()
        self._report: Report | None = None
        self._version = ""

    async def run(self) -> int:
        """Start, serve, stop; the exit code."""
        options = self._options
        if options.edge and options.postgres_port:
            raise Fail("--postgres-port: at the edge there is no Postgres", "leave it out",
                       Exit.USAGE)  # fmt: skip
        plan = Plan(
            namespace=subjects.name(os.environ.get("HEADWAY_NAMESPACE") or "default", "namespace"),
            runtime=pick_runtime(options.runtime, edge=options.edge),
            edge=options.edge,
            port=options.port, postgres_port=options.postgres_port, slots=options.slots,
        )  # fmt: skip
        if plan.runtime == "process" and options.runtime == "auto" and not plan.edge:
            say.tell("no Docker engine answers: tasks run as plain processes (no isolation)")
        state = StateDir(Path(options.state_dir), plan.mode)
        state.open()
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        stack = None
        try:
            stack = Stack(state, plan, say.tell)
            work = asyncio.create_task(self._serve(stack))
            ends = [asyncio.create_task(e.wait()) for e in (stopped, stack.failed)]
            await asyncio.wait({work, *ends}, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            if stopped.is_set() or stack.failure is not None:
                say.tell("stopping ...")
                work.cancel()
                # What failed while it was being stopped does not matter any more.
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await work
                if stack.failure is not None:
                    todo = f"mend it, then start `headway up` again; logs: {state.path / 'logs'}"
                    raise Fail(str(stack.failure), todo)
                return 0
            return await work
        finally:
            if stack is not None:
                await stack.stop()
            state.close()

    async def _serve(self, stack: Stack) -> int:
        options = self._options
        reloader = None
        if options.tasks:
            reloader = Reloader(
                list(options.tasks), Path.cwd(),
                lambda report, version: self._register(stack, report, version),
                print_report, say.tell,
            )  # fmt: skip

        async def queues() -> set[str]:
            # Looked at while the servers start; the agent must know the tasks' queues.
            report = await reloader.look() if reloader is not None else None
            return {task.queue for task in report.tasks} if report is not None else set()

        await stack.start(asyncio.ensure_future(queues()))
        await stack.ready()
        if reloader is not None:
            await reloader.register()
        self._show(stack)
        if options.once_ready_cmd:
            process = await asyncio.create_subprocess_shell(
                options.once_ready_cmd, env={**os.environ, **stack.environment}
            )
            return await process.wait()
        if reloader is not None:
            await reloader.watch()
        await asyncio.Event().wait()
        return 0

    async def _register(self, stack: Stack, report: Report, version: str) -> None:
        await stack.register(report, version)
        self._report, self._version = report, version

    def _show(self, stack: Stack) -> None:
        if self._as_json:
            say.data(self._facts(stack))
            return
        table = render.a_table("", "", "", wide=2)
        table.show_header = False
        for name, pid, where in self._rows(stack):
            table.add_row(Text(name, style="bold"), pid, Text(safe_line(where, 400)))
        took = time.monotonic() - self._begun
        say.show(Text(f"headway is up ({took:.1f} s); Ctrl+C stops it"), Text(), table, Text())
        tasks = self._report.tasks if self._report else []
        example = example_of(tasks[0]) if tasks else "headway up --tasks app.py"
        if self._options.tasks and not tasks:
            example = "mend the tasks' file: it is watched, and registered as soon as it is right"
        say.show(Text(f"  try    {example}"), Text("         headway ls"))
        # A folder of another name is not looked for by commands.
        found = stack.state.path.name == discovery.DIRECTORY
        where = "in other folders" if found else "with this --state-dir: in every folder"
        say.show(Text(f"  else   export HEADWAY_NATS_URL={stack.nats.url}   ({where})"))

    def _rows(self, stack: Stack) -> list[tuple[str, str, str]]:
        state = stack.state.path
        plan = stack.plan
        synced = "transition" if plan.edge else "enqueue"
        rows = [("nats", stack.nats.pid, f"{stack.nats.url}, every {synced} fsynced")]
        if stack.postgres is not None:
            database = f"unix socket in {stack.postgres.socket_dir}"
            if plan.postgres_port:
                database = f"127.0.0.1:{plan.postgres_port}, {database}"
            rows.append(("postgres", stack.postgres.pid, database))
        rows += [
            ("engine", stack.engine.pid, f"log {state / 'logs' / 'engine.log'}"),
            ("agent", stack.agent.pid, f"runtime {plan.runtime}, {plan.slots} slots, "
             f"queues {', '.join(sorted(plan.queues))}"),
            ("data", 0, str(state)),
        ]  # fmt: skip
        if self._report is not None:
            names = ", ".join(sorted(task.task for task in self._report.tasks))
            rows.append(("tasks", 0, f"{names} ({self._version}, watched)"))
        return [(name, f"pid {pid}" if pid else "", where) for name, pid, where in rows]

    def _facts(self, stack: Stack) -> dict[str, Any]:
        return {
            "nats_url": stack.nats.url,
            "namespace": stack.plan.namespace,
            "mode": stack.plan.mode,
            "runtime": stack.plan.runtime,
            "state_dir": str(stack.state.path),
            "pids": {name: part.pid for name, part in stack.parts.items()},
            "tasks": [task.task for task in self._report.tasks] if self._report else [],
            "version": self._version,
            "seconds": round(time.monotonic() - self._begun, 3),
        }


def example_of(spec: TaskSpec) -> str:
    """A command line that starts the task, with its required parameters."""
    schema: dict[str, Any] = {}
    if spec.payload_schema:
        schema = msgspec.json.decode(bytes(spec.payload_schema))
    reference = str(schema.get("$ref", ""))
    if reference:
        schema = schema.get("$defs", {}).get(reference.rsplit("/", 1)[-1], {})
    words = [f"{name}=..." for name in schema.get("required", [])]
    return " ".join(["headway run", spec.task, *words])
