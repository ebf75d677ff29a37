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
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct

from headway import subjects
from headway.bus import jsapi
from headway.history import history
from headway_ops.verify.edgefold import SAID, Said, Told, told
from headway_ops.verify.facts import TERMINAL, History, Holder, Live, Policy, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nats.aio.client import Client as NatsClient

    from headway_ops.verify.ask import Ask

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
    limit: int = 0
    key_limit: int = 0
    paused: bool = False
    limited_at: datetime | None = None


class _Key(Struct):
    run: str
    until: datetime
    task: str = ""
    scope: str = ""
    key: str = ""


class Limit(NamedTuple):
    """The limits of a queue, and since when they are known to hold."""

    runs: int
    keyed: int
    since: datetime


class _Lease(Struct):
    session: int
    lease_until: datetime
    alive: bool


class _Agent(Struct):
    state: _Lease


class EdgeLog:
    """RUNS and settings, as they were when `read` was called. Raises as `history`."""

    def __init__(self, nc: NatsClient, ask: Ask) -> None:
        self._nc, self._ask = nc, ask
        self._folder = tempfile.TemporaryDirectory(prefix="headway-verify-")
        self.scratch = sqlite3.connect(Path(self._folder.name) / "runs", isolation_level=None)
        """A temporary file: what the checks lay down."""
        self.scratch.execute("PRAGMA journal_mode=OFF")
        self.scratch.execute("CREATE TABLE said (id TEXT, seq INTEGER, ns TEXT, data BLOB)")
        self.scratch.execute("CREATE TABLE keys (name TEXT PRIMARY KEY, run TEXT, until TEXT)")
        self.created = ""
        """When RUNS was made."""
        self.upto = 0
        """Its last sequence at the beginning."""
        self.unread: list[tuple[int, str]] = []
        """(sequence, why) of messages that say nothing."""
        self._policies: dict[tuple[str, str, str], Policy] = {}
        self._paused: set[tuple[str, str]] = set()
        self._leases: dict[tuple[str, str], _Lease] = {}
        self.limits: dict[tuple[str, str], Limit] = {}
        """(namespace, queue) to its limits, of those that have one."""

    def close(self) -> None:
        """Remove the temporary file."""
        self.scratch.close()
        self._folder.cleanup()

    async def read(self) -> None:
        """Lay down all messages of runs, by id."""
        await self.read_settings()
        info = await jsapi(self._nc, f"STREAM.INFO.{subjects.RUNS}")
        self.created, self.upto = str(info["created"]), int(info["state"]["last_seq"])
        self.scratch.execute("BEGIN")
        ask = self._ask
        # The filter of a stream's own subjects costs nothing; keys of tasks are not of runs.
        some = subjects.ALL_RUNS
        if ask.ns or ask.run:
            some = f"hw.run.{ask.ns or '*'}.{ask.run or '*'}.>"
        messages = history(self._nc, subjects.RUNS, some, max_bytes=_PAGE_BYTES)
        async for m in messages:
            if m.seq > self.upto:
                break
            ns, run = m.subject.split(".")[2:4]
            if ask.wants(run, ns):
                self.scratch.execute(
                    "INSERT INTO said VALUES (?, ?, ?, ?)", (run, m.seq, ns, m.data)
                )
        await messages.aclose()
        await self._read_keys()
        self.scratch.execute("COMMIT")
        self.scratch.execute("CREATE INDEX by_id ON said (id, ns, seq)")

    async def _read_keys(self) -> None:
        """Who holds each idempotency key."""
        found = history(
            self._nc, subjects.RUNS, f"hw.key.{self._ask.ns or '*'}.*", max_bytes=_PAGE_BYTES
        )
        async for m in found:
            try:
                k = msgspec.json.decode(m.data, type=_Key)
            except (msgspec.MsgspecError, UnicodeDecodeError) as e:
                self.unread.append((m.seq, str(e)))
                continue
            name = _key_name(m.subject.split(".")[2], k.task, k.scope, k.key)
            self.scratch.execute(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?)",
                (name, k.run, k.until.isoformat()),
            )

    def all(self) -> Iterator[Told]:
        """What was laid down, one id after the other."""
        rows = self.scratch.execute("SELECT id, ns, seq, data FROM said ORDER BY id, ns, seq")
        for (run, ns), group in groupby(rows, key=lambda row: (row[0], row[1])):
            yield told(run, ns, self._decoded(run, ((seq, data) for _, _, seq, data in group)))

    def one(self, run: str) -> Told | None:
        """What was laid down of an id; None = nothing."""
        query = "SELECT seq, data, ns FROM said WHERE id = ? ORDER BY ns, seq"
        rows = self.scratch.execute(query, (run,)).fetchall()
        if not rows:
            return None
        messages = ((seq, data) for seq, data, ns in rows if ns == rows[0][2])
        return told(run, rows[0][2], self._decoded(run, messages))

    async def again(self, ns: str, run: str) -> Told:
        """One id as it is now; `ns` empty = whatever it is in."""
        messages: list[tuple[int, bytes]] = []
        async for m in history(self._nc, subjects.RUNS, f"hw.run.{ns or '*'}.{run}.>"):
            ns = ns or m.subject.split(".")[2]
            messages.append((m.seq, m.data))
        return told(run, ns, self._decoded(run, iter(messages)))

    async def some(self, ids: Sequence[str]) -> tuple[None, list[History]]:
        """These runs as they are now; see `objects.Known`."""
        found = [self.history(await self.again("", run)) for run in ids]
        return None, [h for h in found if h is not None]

    async def unnamed(self, places: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of which there is no message, not even that it was removed."""
        query = "SELECT 1 FROM said WHERE id = ? AND ns = ?"
        return {
            (ns, run)
            for ns, run in places
            if self.scratch.execute(query, (run, ns)).fetchone() is None
            and not (await self.again(ns, run)).seq
        }

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
        self._policies, self._paused, self._leases, self.limits = {}, set(), {}, {}
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
                set_ = _decode(data, _Queue)
                if set_.paused:
                    self._paused.add((ns, queue))
                if (set_.limit or set_.key_limit) and set_.limited_at is not None:
                    limit = Limit(set_.limit, set_.key_limit, set_.limited_at)
                    self.limits[ns, queue] = limit
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
        if run.key:
            h.holder = self._holder(run)
        return h

    def _holder(self, run: Run) -> Holder | None:
        """Who holds its key now; None = nobody, or a run that is not there any more."""
        name = _key_name(run.ns, run.task, run.key_scope, run.key)
        row = self.scratch.execute("SELECT run, until FROM keys WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        holder = None if row[0] == run.id else self.one(row[0])
        at = run.created_at if holder is None else holder.time("created_at")
        if at is None or (holder is None and row[0] != run.id):
            return None
        return Holder(row[0], at, datetime.fromisoformat(row[1]))

    def agents(self, now: datetime) -> dict[str, float | None]:
        """`<namespace>.<agent>` to the seconds since its lease ended; None = it has none."""
        return {
            f"{ns}.{agent}": (now - lease.lease_until).total_seconds() if lease.alive else None
            for (ns, agent), lease in self._leases.items()
        }


def _key_name(ns: str, task: str, scope: str, key: str) -> str:
    return "\0".join((ns, task, scope, key))


def _decode(data: bytes, kind: Any) -> Any:
    return msgspec.json.decode(data, type=kind)
