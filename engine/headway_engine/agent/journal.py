"""What the next agent on this host must know of running attempts: one small file, appended to.

A line per attempt handed to a worker and per attempt that ended; written once per turn of the loop,
without fsync: it has to survive the agent's process, not the host. It is written anew when most of
it is history.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.wire import encode
from headway.wire.fleet import TaskSpec
from headway.wire.rpc import VersionInfo
from headway_engine.agent.attempt import Attempt, Journal

if TYPE_CHECKING:
    from pathlib import Path

    from headway_engine.agent.plans import Plans
    from headway_engine.agent.worker import Worker

COMPACT_AT = 4 * 1024 * 1024


class Entry(Struct, tag="begin", omit_defaults=True):
    """An attempt in a worker."""

    run: str
    epoch: int
    worker: str
    slot: int
    engine: str
    version: str
    task: str
    timeout: float = 3600.0
    checkpoint: int = 0


class End(Struct, tag="end"):
    """An attempt is over."""

    run: str
    epoch: int


class Known(Struct, tag="task"):
    """How a task of a version is started."""

    version: str
    spec: TaskSpec
    info: VersionInfo


class Session(Struct, tag="session"):
    """The session under which all this is held."""

    session: int


class Grants(Struct, tag="grant"):
    """The channel token of a worker (TCP)."""

    worker: str
    address: str
    token: str


Line = Entry | End | Known | Session | Grants
_LINES = msgspec.json.Decoder(Line)


class Saved(Struct):
    """What a journal says, read once at the start."""

    session: int = 0
    entries: dict[tuple[str, int], Entry] = {}
    known: dict[tuple[str, str], Known] = {}
    grants: dict[str, Grants] = {}


def read(path: Path) -> Saved:
    """The journal's state; a half-written last line and unknown lines are left out."""
    saved = Saved()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return saved
    for raw in data.split(b"\n"):
        try:
            line = _LINES.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(line, Entry):
            saved.entries[(line.run, line.epoch)] = line
        elif isinstance(line, End):
            saved.entries.pop((line.run, line.epoch), None)
        elif isinstance(line, Known):
            saved.known[(line.version, line.spec.task)] = line
        elif isinstance(line, Grants):
            saved.grants[line.worker] = line
        else:
            saved.session = line.session
    return saved


class FileJournal(Journal):
    """The journal of one agent."""

    def __init__(self, path: Path, plans: Plans) -> None:
        self._path, self._plans = path, plans
        self._fd = -1
        self._lines: list[bytes] = []
        self._size = 0
        self._session = 0
        self._open: dict[tuple[str, int], Entry] = {}
        self._known: dict[tuple[str, str], Known] = {}
        self._grants: dict[str, Grants] = {}
        self._loop = asyncio.get_running_loop()

    def start(self, saved: Saved) -> None:
        """Open it anew with what still holds."""
        self._open = dict(saved.entries)
        self._known, self._grants = dict(saved.known), dict(saved.grants)
        self._session = saved.session
        self._compact()

    def begin(self, attempt: Attempt, worker: Worker) -> None:
        """It was handed to a worker."""
        a = attempt.assignment
        entry = Entry(
            a.run, a.epoch, worker.name, attempt.slot, attempt.engine, a.version, a.task, a.timeout,
            a.checkpoint,
        )  # fmt: skip
        self._open[(a.run, a.epoch)] = entry
        key = (a.version, a.task)
        spec = self._plans.specs.get(key)
        known = self._known.get(key)
        if spec is not None and (known is None or known.spec is not spec):
            self._know(Known(a.version, spec, self._plans.versions[a.version]))
        grant = worker.endpoint.grant if worker.endpoint is not None else None
        if grant is not None and grant.address and worker.name not in self._grants:
            self._grants[worker.name] = Grants(worker.name, grant.address, grant.token)
            self._put(self._grants[worker.name])
        self._put(entry)

    def end(self, attempt: Attempt) -> None:
        """It is over."""
        self.drop(attempt.run, attempt.epoch)

    def drop(self, run: str, epoch: int) -> None:
        """See `end`."""
        if self._open.pop((run, epoch), None) is not None:
            self._put(End(run, epoch))

    def _know(self, known: Known) -> None:
        """How a task is started; written when it is new."""
        self._known[(known.version, known.spec.task)] = known
        self._put(known)

    def session(self, session: int) -> None:
        """The session changed."""
        self._session = session
        self._put(Session(session))

    def _put(self, line: Line) -> None:
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(encode(line))

    def flush(self) -> None:
        """Write what waits."""
        if not self._lines or self._fd < 0:
            return
        data = b"\n".join(self._lines) + b"\n"
        self._lines = []
        os.write(self._fd, data)
        self._size += len(data)
        if self._size > COMPACT_AT:
            self._compact()

    def _compact(self) -> None:
        self._lines = []
        in_use = {(e.version, e.task) for e in self._open.values()}
        workers = {e.worker for e in self._open.values()}
        self._known = {k: v for k, v in self._known.items() if k in in_use}
        self._grants = {k: v for k, v in self._grants.items() if k in workers}
        lines: list[Line] = [Session(self._session), *self._known.values()]
        lines += [*self._grants.values(), *self._open.values()]
        data = b"".join(encode(line) + b"\n" for line in lines)
        new = self._path.with_suffix(".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.write(fd, data)
        new.replace(self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, len(data)

    def close(self) -> None:
        """Write and close."""
        self.flush()
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
