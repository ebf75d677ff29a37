"""Reads RUNS and the settings of an edge for the checker, and changes nothing.

RUNS is read once, in its order, up to what was there at the beginning; messages are laid down by id
in a temporary file, so that memory holds one run at a time. A live system goes on meanwhile: what
is read of a run is a beginning of its history, never one with holes.
"""

from __future__ import annotations

import sqlite3
import tempfile
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from headway import subjects
from headway.bus import jsapi
from headway.history import history
from headway_ops.verify.edgefold import SAID, Said, Told, told
from headway_ops.verify.facts import TERMINAL, History, Live, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.aio.client import Client as NatsClient

_PAGE_BYTES = 4 * 1024 * 1024
_SETTINGS = f"KV_{subjects.SETTINGS_BUCKET}"


class _Task(Struct):
    task: str
    max_attempts: int = 3
    factor: float = 2.0
    min_delay: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.1


class _Version(Struct):
    version: str
    tasks: list[_Task] = []


class _Deployed(Struct):
    at: datetime
    what: _Version


class _Queue(Struct):
    paused: bool = False


class _Lease(Struct):
    session: int
    lease_until: datetime
    alive: bool


class _Agent(Struct):
    state: _Lease


class EdgeLog:
    """RUNS and settings, as they were when `read` was called. Raises as `history`."""

    def __init__(self, nc: NatsClient) -> None:
        self._nc = nc
        self._folder = tempfile.TemporaryDirectory(prefix="headway-verify-")
        self._db = sqlite3.connect(Path(self._folder.name) / "runs", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("CREATE TABLE said (id TEXT, seq INTEGER, ns TEXT, data BLOB)")
        self.created = ""
        """When RUNS was made."""
        self.upto = 0
        """Its last sequence at the beginning."""
        self.unread: list[tuple[int, str]] = []
        """(sequence, why) of messages that say nothing."""
        self._policies: dict[tuple[str, str, str], Policy] = {}
        self._paused: set[tuple[str, str]] = set()
        self._leases: dict[tuple[str, str], _Lease] = {}

    def close(self) -> None:
        """Remove the temporary file."""
        self._db.close()
        self._folder.cleanup()

    async def read(self) -> None:
        """Lay down all messages of runs, by id."""
        await self.read_settings()
        info = await jsapi(self._nc, f"STREAM.INFO.{subjects.RUNS}")
        self.created, self.upto = str(info["created"]), int(info["state"]["last_seq"])
        self._db.execute("BEGIN")
        # The filter of a stream's own subjects costs nothing; keys of tasks are not of runs.
        messages = history(self._nc, subjects.RUNS, subjects.ALL_RUNS, max_bytes=_PAGE_BYTES)
        async for m in messages:
            if m.seq > self.upto:
                break
            ns, run = m.subject.split(".")[2:4]
            self._db.execute("INSERT INTO said VALUES (?, ?, ?, ?)", (run, m.seq, ns, m.data))
        await messages.aclose()
        self._db.execute("COMMIT")
        self._db.execute("CREATE INDEX by_id ON said (id, ns, seq)")

    def all(self) -> Iterator[Told]:
        """What was laid down, one id after the other."""
        rows = self._db.execute("SELECT id, ns, seq, data FROM said ORDER BY id, ns, seq")
        for (run, ns), group in groupby(rows, key=lambda row: (row[0], row[1])):
            yield told(run, ns, self._decoded(run, ((seq, data) for _, _, seq, data in group)))

    async def again(self, ns: str, run: str) -> Told:
        """One id as it is now."""
        found = history(self._nc, subjects.RUNS, subjects.run_all(ns, run))
        messages = [(m.seq, m.data) async for m in found]
        return told(run, ns, self._decoded(run, iter(messages)))

    def _decoded(self, run: str, rows: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, Said]]:
        for seq, data in rows:
            try:
                said = SAID.decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
                self.unread.append((seq, str(e)))
                continue
            if said.run == run:
                yield seq, said
            else:
                self.unread.append((seq, f"it speaks of run {said.run}"))

    # --- settings

    async def read_settings(self) -> None:
        """Policies, pauses and leases as they are now."""
        last: dict[str, bytes] = {}
        prefix = f"$KV.{subjects.SETTINGS_BUCKET}."
        async for m in history(self._nc, _SETTINGS, f"{prefix}>", max_bytes=_PAGE_BYTES):
            last[m.subject.removeprefix(prefix)] = m.data
        self._policies, self._paused, self._leases = {}, set(), {}
        for key, data in last.items():
            if data:
                self._setting(key.split("."), data)

    def _setting(self, key: list[str], data: bytes) -> None:
        match key:
            case ["deploy", ns, _]:
                found = _decode(data, _Deployed)
                for t in found.what.tasks:
                    self._policies[ns, t.task, found.what.version] = Policy(
                        t.max_attempts, t.factor, t.min_delay, t.max_delay, t.jitter, found.at
                    )
            case ["queue", ns, queue]:
                if _decode(data, _Queue).paused:
                    self._paused.add((ns, queue))
            case ["agent", ns, agent]:
                self._leases[ns, agent] = _decode(data, _Agent).state
            case _:
                pass

    def history(self, what: Told) -> History | None:
        """The facts with what stands around them; None if there is no run."""
        h = what.history()
        if h is None:
            return None
        run = h.run
        if run.failures:
            h.policy = self._policies.get((run.ns, run.task, run.version))
        if run.state not in TERMINAL:
            lease = self._leases.get((run.ns, run.agent))
            held = lease is not None and lease.alive and lease.session == run.session
            until = lease.lease_until if held and lease is not None else None
            h.live = Live((run.ns, run.queue) in self._paused, until)
        return h


def _decode(data: bytes, kind: Any) -> Any:
    return msgspec.json.decode(data, type=kind)
