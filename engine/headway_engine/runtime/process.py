"""The runtime on subprocesses: for tests, the edge, and machines without Docker.

Each runner is a child in its own session, with rlimits and (where we may make them) control groups,
a scratch folder, and a record on disk with pid and start time, so that the next agent finds it
again: a pid alone can belong to somebody else by then. It is a wall against accidents only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headway.wire import PROTOCOL
from headway_engine.runtime import (
    CannotStart,
    Caps,
    Exited,
    Handle,
    RunnerSpec,
    RuntimeEvent,
    RuntimeUnavailable,
    State,
    Way,
    cgroups,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger("headway.agent")

LAUNCHER = Path(__file__).with_name("launch.py")


class Record(msgspec.Struct):
    """What is on disk of a runner. `start`: its start in clock ticks since the host's boot."""

    handle: Handle
    pid: int
    start: int
    exit_code: int | None = None
    ended: bool = False
    oom: bool = False


_RECORD = msgspec.json.Decoder(Record)


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if there is none, or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return 0 if fields[0] in "ZX" else int(fields[19])


def _given(token: str) -> int:
    """What a runner finds on its standard input: the token, which others could read in /proc."""
    if not token:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    reads, writes = os.pipe2(os.O_CLOEXEC)
    os.write(writes, token.encode() + b"\n")
    os.close(writes)
    return reads


class ProcessRuntime:
    """Runners as children of this process; they outlive it and can be adopted.

    `uid`: a user for the runners when the agent is root (0 = the agent's own); the interpreter and
    the task's code must be readable for it. `use_cgroups` False leaves memory to rlimits.
    """

    def __init__(
        self,
        state_dir: str | Path,
        *,
        python: str = sys.executable,
        uid: int = 0,
        use_cgroups: bool = True,
    ) -> None:
        self.dir = Path(state_dir) / "runners"
        self.python = python
        self.uid = uid
        self._use_cgroups = use_cgroups
        self._groups: dict[str, cgroups.Groups | None] = {}
        self._records: dict[str, Record] = {}
        self._pidfds: dict[str, int] = {}
        self._listeners: list[asyncio.Queue[RuntimeEvent]] = []
        exact = use_cgroups and cgroups.available()
        self.caps = Caps(
            name="process",
            isolation="process",
            adoptable=True,
            exit_code_after_adoption=False,
            oom_signal="exact" if exact else "none",
            pids_limit=exact,
            networks=False,
        )

    async def check(self) -> str:
        """Empty if the interpreter is there and pidfds work."""
        if shutil.which(self.python) is None:
            return f"no Python interpreter at {self.python}"
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError as e:
            return f"this kernel has no pidfd: {e}"
        return ""

    async def reach(self, folder: Path) -> str:
        """They share our file system."""
        return ""

    async def ways(self, address: str) -> list[Way]:
        """They share our loopback."""
        return [Way(bind=address or "127.0.0.1", dial=address or "127.0.0.1")]

    async def reach_tcp(self, way: Way, port: int) -> str:
        """As the agent reaches itself."""
        return ""

    async def ensure_image(self, image: str) -> str:
        """Images mean nothing here: the task's code comes from this machine."""
        return image

    async def images(self) -> tuple[str, ...]:
        """None."""
        return ()

    async def spawn(self, spec: RunnerSpec) -> Handle:
        """Start the runner; see the port."""
        home = self.dir / spec.name
        groups: list[Path] = []
        pid, pidfd = 0, -1
        try:
            home.mkdir(parents=True)
            (home / "tmp").mkdir()
            if self.uid:
                os.chown(home, self.uid, self.uid)
                os.chown(home / "tmp", self.uid, self.uid)
            if made := self._group(spec.owner):
                groups = made.create(spec.name, spec.limits.memory, spec.limits.pids)
            pid = self._start(spec, home, groups)
            pidfd = os.pidfd_open(pid)
            handle = Handle(
                id=str(pid),
                name=spec.name,
                owner=spec.owner,
                key=spec.key,
                directory=spec.grant.directory,
                protocol=PROTOCOL,
                created_ms=spec.created_ms,
                source=spec.source,
            )
            self._write(Record(handle, pid, start_ticks(pid)))
        except (FileNotFoundError, PermissionError, NotADirectoryError) as e:
            self._give_up(spec, pid, pidfd)
            raise CannotStart(f"cannot start {self.python}: {e}") from e
        except OSError as e:
            self._give_up(spec, pid, pidfd)
            raise RuntimeUnavailable(f"no new process: {e}") from e
        self._watch(spec.name, pidfd)
        return handle

    def _give_up(self, spec: RunnerSpec, pid: int, pidfd: int) -> None:
        """Nothing is left of a start that failed in the middle: nobody would ever find it."""
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)  # it was killed: a matter of milliseconds
        if pidfd >= 0:
            os.close(pidfd)
        self._records.pop(spec.name, None)
        self._clean(spec.owner, spec.name)

    def _start(self, spec: RunnerSpec, home: Path, groups: list[Path]) -> int:
        limits = {
            "memory": 0 if groups else spec.limits.memory,
            "files": 1024,
            "uid": self.uid,
            "cwd": str(home),
            "cgroups": [str(g) for g in groups],
        }
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        if journal := os.environ.get("HEADWAY_JOURNAL"):
            env["HEADWAY_JOURNAL"] = journal  # the host's file system is the runner's own
        if spec.grant.address:
            env["HEADWAY_CHANNEL"] = f"tcp:{spec.grant.address}"
            env["HEADWAY_CHANNEL_TOKEN_FD"] = "0"  # noqa: S105 - of stdin, no secret
            env["HEADWAY_CHANNEL_CERT"] = spec.grant.certificate
        else:
            env["HEADWAY_CHANNEL"] = f"unix:{spec.grant.directory}/s.sock"
        command = spec.command or ("-m", "headway.runner")
        argv = [self.python, "-P", str(LAUNCHER), json.dumps(limits), *command]
        out = os.open(home / "tail", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        given = _given(spec.grant.token)
        try:
            # posix_spawn: no copy of this process's page tables, no object that must be waited for.
            return os.posix_spawn(
                self.python,
                argv,
                env,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, given, 0),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, out, 2),
                ],
            )
        finally:
            os.close(out)
            os.close(given)

    # --- the end of a process

    def _watch(self, name: str, pidfd: int) -> None:
        self._pidfds[name] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._ended, name)

    def _ended(self, name: str) -> None:
        pidfd = self._pidfds.pop(name, None)
        record = self._records.get(name)
        if pidfd is None or record is None:
            return
        asyncio.get_running_loop().remove_reader(pidfd)
        # What the leader left behind goes with it, while its pid still belongs to us.
        self._kill(record, signal.SIGKILL)
        try:
            status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            status = None  # an adopted one: its exit status went to another process
        os.close(pidfd)
        if status is not None:
            killed = status.si_code != os.CLD_EXITED
            record.exit_code = status.si_status + 128 if killed else status.si_status
        if groups := self._group(record.handle.owner):
            record.oom = groups.ooms(name) > 0
        record.ended = True
        try:
            self._write(record)
        except OSError as e:  # it is for the next agent, which looks at the process as well
            log.warning("the end of %s cannot be written down: %s", name, e)
        for queue in self._listeners:
            queue.put_nowait(Exited(name, record.exit_code))

    def _kill(self, record: Record, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(record.pid, number)
        if number == signal.SIGKILL and (groups := self._group(record.handle.owner)):
            for pid in groups.members(record.handle.name):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    # --- the rest of the port

    async def list_all(self, owner: str) -> list[Handle]:
        """Runners by the records on disk; those of an earlier agent are watched from now on."""
        found: list[Handle] = []
        for path in sorted(self.dir.glob("*/record.json")):
            record = self._records.get(path.parent.name) or self._adopt(path)
            if record is not None and record.handle.owner == owner:
                found.append(record.handle)
        return found

    def _adopt(self, path: Path) -> Record | None:
        try:
            record = _RECORD.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None
        self._records[record.handle.name] = record
        if record.ended:
            return record
        try:
            pidfd = os.pidfd_open(record.pid)
        except OSError:
            record.ended = True
            return record
        if record.start == 0 or start_ticks(record.pid) != record.start:
            os.close(pidfd)
            record.ended = True
            return record
        self._watch(record.handle.name, pidfd)
        return record

    async def signal(self, handle: Handle, number: int) -> bool:
        """SIGKILL goes to all processes of the runner, anything else to the first one."""
        record = self._records.get(handle.name)
        pidfd = self._pidfds.get(handle.name)
        if record is None or pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        if number == signal.SIGKILL:
            self._kill(record, number)
        return True

    async def inspect(self, handle: Handle) -> State:
        """From the record; see the port."""
        record = self._records.get(handle.name)
        if record is None:
            return State(running=False, known=False)
        if not record.ended:
            return State(running=True)
        code = record.exit_code
        number = code - 128 if code is not None and code > 128 else None
        return State(running=False, exit_code=code, signal=number, oom=record.oom)

    async def remove(self, handle: Handle) -> None:
        """Kill, reap, delete; see the port."""
        record = self._records.get(handle.name)
        if record is not None and (pidfd := self._pidfds.get(handle.name)) is not None:
            self._kill(record, signal.SIGKILL)
            gone = asyncio.Event()
            loop = asyncio.get_running_loop()
            # SIGKILL was sent: the exit is a matter of milliseconds.
            loop.remove_reader(pidfd)
            loop.add_reader(pidfd, gone.set)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await gone.wait()
            self._ended(handle.name)
        self._records.pop(handle.name, None)
        self._clean(handle.owner, handle.name)

    async def tail(self, handle: Handle, size: int = 4096) -> str:
        """The end of what it wrote to its first fd 1 and 2."""
        try:
            data = (self.dir / handle.name / "tail").read_bytes()
        except OSError:
            return ""
        return data[-size:].decode("utf-8", "replace")

    async def events(self, owner: str) -> AsyncIterator[RuntimeEvent]:
        """Ends of runners; nothing is ever lost here."""
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    async def close(self) -> None:
        """Stop watching; the runners go on."""
        loop = asyncio.get_running_loop()
        for pidfd in self._pidfds.values():
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self._pidfds.clear()
        self._records.clear()  # whoever asks again reads them from disk, and watches anew
        for groups in self._groups.values():
            if groups is not None:
                groups.forget()

    def _group(self, owner: str) -> cgroups.Groups | None:
        if not self._use_cgroups:
            return None
        if owner not in self._groups:
            self._groups[owner] = cgroups.find(owner)
        return self._groups[owner]

    def _write(self, record: Record) -> None:
        self._records[record.handle.name] = record
        path = self.dir / record.handle.name / "record.json"
        temporary = path.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            temporary.write_bytes(msgspec.json.encode(record))
            temporary.replace(path)

    def _clean(self, owner: str, name: str) -> None:
        shutil.rmtree(self.dir / name, ignore_errors=True)
        if groups := self._group(owner):
            groups.remove(name)
