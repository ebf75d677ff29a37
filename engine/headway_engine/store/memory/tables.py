"""The memory store's rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct, field

from headway.states import OPEN, RunState
from headway.wire import BlobRef
from headway.wire.events import Event
from headway.wire.fleet import Deployment, TaskSpec
from headway.wire.rpc import MarkRecord, VersionInfo
from headway_engine.store.leasing import Agent
from headway_engine.store.records import End, OnceMark, Run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway_engine.clock import Clock


class Checkpoint(Struct):
    """One checkpoint."""

    number: int
    name: str
    sha256: str
    size: int
    epoch: int
    at: datetime
    state: Raw
    ref: BlobRef | None
    schema: str
    keep: bool


class Mark(Struct):
    """One mark."""

    record: MarkRecord
    token: str
    at: datetime
    size: int = 0
    after: int = 0


class Row(Struct):
    """A run with all that belongs to it."""

    run: Run
    payload: bytes
    payload_ref: BlobRef | None
    hash: str
    schema: str = ""
    scope: str = ""
    dispatch: int | None = None
    timeout: float = 3600.0
    keep: int = 20
    end: End | None = None
    events: list[Event] = field(default_factory=lambda: list[Event]())
    checkpoints: dict[int, Checkpoint] = field(default_factory=lambda: dict[int, Checkpoint]())
    marks: dict[str, Mark] = field(default_factory=lambda: dict[str, Mark]())
    queued_at: datetime | None = None
    """Since when it waits in its queue."""

    def refs(self) -> set[str]:
        """Keys of the blobs that it names."""
        found = [self.payload_ref, *(c.ref for c in self.checkpoints.values())]
        found += [m.record.ref for m in self.marks.values()]
        found.append(None if self.end is None else self.end.ref)
        return {ref.key for ref in found if ref is not None}

    def open_marks(self) -> tuple[OnceMark, ...]:
        """Once marks that are neither done nor resolved, in key order."""
        return tuple(
            OnceMark(key, m.token, m.record.epoch, m.record.status)
            for key, m in sorted(self.marks.items())
            if m.record.kind == "once" and m.record.status != "done" and not m.record.resolved
        )

    @property
    def is_open(self) -> bool:
        """An attempt may be alive."""
        return self.run.state in OPEN

    @property
    def waits(self) -> bool:
        """Queued and not dispatched."""
        return self.run.state is RunState.QUEUED and self.dispatch is None


class Key(Struct):
    """An idempotency key's holder."""

    run: str
    hash: str
    until: datetime


class Batch(Struct):
    """A dispatch."""

    ns: str
    queue: str
    at: datetime
    runs: list[tuple[str, bool]]
    last_seq: int | None = None
    stream_created: str = ""


class Queue(Struct):
    """A queue's settings."""

    limit: int = 0
    key_limit: int = 0
    paused: bool = False
    priority: int = 0
    paused_by: str = ""
    paused_at: datetime | None = None
    reason: str = ""


class Posted(Struct):
    """An outbox row."""

    at: datetime
    left: set[tuple[str, int]]


class Purging(Struct):
    """Blobs to remove."""

    id: int
    due_at: datetime
    taken: datetime | None = None


class Used(Struct):
    """What an attempt has used of one model."""

    ns: str
    task: str
    at: datetime
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


class Tables(Struct):
    """All rows. Several engines may share them."""

    runs: dict[str, Row] = field(default_factory=lambda: dict[str, Row]())
    usage: dict[tuple[str, int, str], Used] = field(
        default_factory=lambda: dict[tuple[str, int, str], Used]()
    )
    """By run, epoch and model."""
    budgets: dict[tuple[str, str], tuple[float, int]] = field(
        default_factory=lambda: dict[tuple[str, str], tuple[float, int]]()
    )
    """What persons gave, by namespace and run: dollars, tokens."""
    keys: dict[tuple[str, str, str, str], Key] = field(
        default_factory=lambda: dict[tuple[str, str, str, str], Key]()
    )
    aliases: dict[tuple[str, str], str] = field(
        default_factory=lambda: dict[tuple[str, str], str]()
    )
    purges: dict[tuple[str, str, str], Purging] = field(
        default_factory=lambda: dict[tuple[str, str, str], Purging]()
    )
    tombstones: dict[tuple[str, str], datetime] = field(
        default_factory=lambda: dict[tuple[str, str], datetime]()
    )
    next_purge: int = 1
    refusals: dict[tuple[str, str], tuple[datetime, str, str]] = field(
        default_factory=lambda: dict[tuple[str, str], tuple[datetime, str, str]]()
    )
    early: dict[tuple[str, str], tuple[str, str]] = field(
        default_factory=lambda: dict[tuple[str, str], tuple[str, str]]()
    )
    batches: dict[int, Batch] = field(default_factory=lambda: dict[int, Batch]())
    queues: dict[tuple[str, str], Queue] = field(
        default_factory=lambda: dict[tuple[str, str], Queue]()
    )
    agents: dict[tuple[str, str], Agent] = field(
        default_factory=lambda: dict[tuple[str, str], Agent]()
    )
    versions: dict[tuple[str, str], tuple[datetime, Deployment]] = field(
        default_factory=lambda: dict[tuple[str, str], tuple[datetime, Deployment]]()
    )
    current: dict[tuple[str, str], str] = field(
        default_factory=lambda: dict[tuple[str, str], str]()
    )
    outbox: list[Posted] = field(default_factory=lambda: list[Posted]())
    liveness: tuple[datetime, datetime] | None = None
    next_dispatch: int = 1
    jobs: dict[tuple[str, str], Any] = field(default_factory=lambda: dict[tuple[str, str], Any]())
    """Replay jobs, of `jobs.Job`."""


class Base:
    """What the memory store's areas share."""

    engine: str
    clock: Clock
    tables: Tables
    retention: timedelta
    down: bool

    def _now(self) -> datetime:
        return self.clock.now()

    def _check(self) -> None:
        """Overridden by the store."""

    def _known(self, ns: str, task: str, version: str) -> tuple[TaskSpec, VersionInfo] | None:
        version = version or self.tables.current.get((ns, task), "")
        entry = self.tables.versions.get((ns, version))
        if entry is None:
            return None
        what = entry[1]
        for spec in what.tasks:
            if spec.task == task:
                return spec, VersionInfo(version, what.image, what.modules, what.source, what.dev)
        return None

    def _load(self, row: Row) -> Run:
        """The record with its policy and open marks."""
        run = row.run
        known = self._known(run.ns, run.task, run.version)
        if known is not None:
            spec = known[0]
            run.policy = spec.policy()
            run.timeout = spec.timeout
        run.marks = row.open_marks()
        return run

    def _post(self, items: set[tuple[str, int]]) -> None:
        if items:
            self.tables.outbox.append(Posted(self._now(), items))

    def _purge(self, ns: str, run: str, keys: Iterable[str], after: timedelta) -> None:
        for key in sorted(keys):
            made = Purging(self.tables.next_purge, self._now() + after)
            self.tables.next_purge += 1
            self.tables.purges.setdefault((ns, run, key), made)
