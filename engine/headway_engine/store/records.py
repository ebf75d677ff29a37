"""Records of the store: what `decide` reads and what a commit hands on."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Raw, Struct

from headway.retry import RetryPolicy
from headway.states import RunState
from headway.wire import NOTHING, BlobRef, ErrorInfo
from headway.wire.budget import Budget
from headway.wire.events import Event
from headway.wire.fleet import TaskSpec
from headway.wire.rpc import MarkRecord, VersionInfo

LAST_SEQ = 2**62
"""Above every sequence of a stream."""


class OnceMark(Struct, frozen=True):
    """A once mark that is neither done nor resolved: it keeps a run from succeeding."""

    key: str
    token: str
    epoch: int
    status: str
    """started | interrupted | failed."""


class Run(Struct):
    """A run as the lifecycle sees it. Times are on the store's clock, UTC."""

    id: str
    ns: str
    task: str
    queue: str
    state: RunState
    created_at: datetime
    epoch: int = 0
    """Fencing number: raised by every claim, lease end, cancel completion and move to REVIEW."""
    n: int = 0
    """Number of the last event."""
    ck: int = 0
    """Number of the last checkpoint."""
    failures: int = 0
    """Attempts that used a retry."""
    lost: int = 0
    """Losses since checkpoint `lost_ck`."""
    lost_ck: int = 0
    unstarted: int = 0
    """Claims in a row that never started."""
    unstarted_agents: tuple[str, ...] = ()
    version: str = ""
    """Pinned at the first claim."""
    shared: bool = False
    limit_key: str = ""
    priority: int = 0
    resumed: bool = False
    """It has run before: goes before new ones of equal priority (DECISIONS D2)."""
    agent: str = ""
    """Of the open attempt, or of the last one."""
    session: int = 0
    nonce: str = ""
    """Of the claim that gave the open attempt: the same nonce again gets the same answer."""
    due_at: datetime | None = None
    """DELAYED, RETRYING, WAITING: when the timer makes it QUEUED."""
    ttl_at: datetime | None = None
    """Must have started by then, else EXPIRED."""
    deadline_at: datetime | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    """First start ever."""
    attempt_at: datetime | None = None
    """Start of the open attempt: the base of the engine's timeout backstop."""
    ended_at: datetime | None = None
    reason: str = ""
    """REVIEW: once, lost, version, state ...; FAILED: error, crash, oom, poison ..."""
    unconfirmed: tuple[int, ...] = ()
    """Epochs of lost attempts whose end nobody has seen yet: they may still run an effect."""
    parent: str = ""
    root: str = ""
    """The run itself, or the first one of its replays and forks: the base of once tokens."""
    origin: str = ""
    key: str = ""
    keep_key: bool = False
    reply: str = ""
    """Where the caller hears the end."""
    trace: str = ""
    tags: tuple[str, ...] = ()
    failure: str = ""
    """FAILED, TIMED_OUT: the class of its error."""
    acked: bool = False
    """A person has seen the failure; until then it is a dead letter."""
    policy: RetryPolicy = RetryPolicy()
    """Of the pinned, else of the current version; not a column."""
    timeout: float = 3600.0
    """As policy."""
    marks: tuple[OnceMark, ...] = ()
    """Open once marks; loaded with the run."""


class MarkWrite(Struct):
    """A mark that a transition writes beside itself."""

    record: MarkRecord
    token: str = ""
    after: int = 0


class End(Struct):
    """What is kept of a run's end."""

    result: Raw = NOTHING
    ref: BlobRef | None = None
    error: ErrorInfo | None = None
    size: int = 0


class Stop(Struct, frozen=True):
    """An agent should stop this attempt now."""

    agent: str
    epoch: int
    why: str


class Transition(Struct):
    """What `decide` says: carried out by the store atomically, if the run is still at `n`."""

    outcome: str = "ok"
    """ok · already (a repeat: nothing to do) · stale_epoch · refused."""
    message: str = ""
    run: Run | None = None
    """The new record; None = nothing changes."""
    events: list[Event] = []
    end: End | None = None
    marks: list[MarkWrite] = []
    resolve: dict[str, str] = {}
    """Once key to `done` | `rerun`, `skip` ... decided by an operator."""
    free_key: bool = False
    """The idempotency key may be used again."""
    stop: Stop | None = None


class Outcome(Struct):
    """What a commit did with one happening, with all that must be told to others."""

    outcome: str
    message: str = ""
    run: Run | None = None
    """The record after the commit; None if the run is not known."""
    events: list[Event] = []
    end: End | None = None
    stop: Stop | None = None


class Body(NamedTuple):
    """An edited state or payload; `ref` if it lies in blobs, under the new run."""

    body: bytes
    ref: BlobRef | None
    size: int
    sha256: str


class ForkPoint(Struct):
    """What a store copies beside the run's row, in the same commit."""

    source: str
    number: int
    """Checkpoints up to this one; 0 = none."""
    marks: tuple[str, ...]
    """Keys of the marks to copy."""
    state: Body | None
    """Instead of the state of checkpoint `number`."""
    kept: tuple[str, ...]
    cleared: tuple[str, ...]
    data: dict[str, Any]
    """Of the event `forked`."""


class GivenMark(NamedTuple):
    """A done mark that a run begins with; a large value lies in blobs, under the run."""

    record: MarkRecord
    token: str
    after: int
    size: int


class GivenPoint(NamedTuple):
    """The checkpoint that a run begins with."""

    number: int
    name: str
    schema: str
    state: Body


class Start(Struct):
    """What a run begins with that was given with it, not copied: a fork from a bundle."""

    point: GivenPoint | None
    marks: tuple[GivenMark, ...]
    data: dict[str, Any]
    """Of the event `forked`."""


class NewRun(Struct):
    """One enqueue, decoded and checked, on its way into the store."""

    run: Run
    payload: bytes
    payload_ref: BlobRef | None
    payload_hash: str
    key_scope: str = ""
    """`` (namespace) or the parent's run id."""
    key_until: datetime | None = None
    """End of the key's fixed window."""
    schema_hash: str = ""
    queued_at: datetime | None = None
    """The INGEST message's time."""
    blobs: tuple[str, ...] = ()
    """Fork: keys of the original's blobs, copied under this run before it is enqueued."""
    fork: ForkPoint | None = None
    """Fork: what is copied of which run, and how its first event tells of it."""
    start: Start | None = None
    """Fork from a bundle: what it begins with."""

    @property
    def forked(self) -> dict[str, Any] | None:
        """The data of its first event, if that is `forked`."""
        point = self.fork or self.start
        return None if point is None else point.data


class EnqueueOutcome(Struct):
    """What became of one enqueue."""

    run: str
    outcome: str
    """recorded · duplicate (`winner` holds the key) · again (a repeat of this id) · rejected."""
    winner: str = ""
    code: str = ""
    reason: str = ""
    record: Run | None = None
    events: list[Event] = []
    ended: bool = False
    """duplicate/again of a run that has ended already: send its end to the caller."""


class Claimed(Struct):
    """One claimed run with all that its attempt needs."""

    run: Run
    payload: Raw
    payload_ref: BlobRef | None
    checkpoint: int
    checkpoint_name: str
    schema: str
    state: Raw
    state_ref: BlobRef | None
    marks: list[MarkRecord]
    marks_more: bool
    spec: TaskSpec
    version: VersionInfo
    events: list[Event]
    waited: float | None = None
    """Seconds that it waited in its queue; None = the claim is a repeat."""
    budget: Budget | None = None
    """Filled in by the engine, of tasks that have one."""


class SaveDone(Struct):
    """What the store did with one save (as rpc.SaveOutcome); `events` has an implied `started`."""

    outcome: str
    n: int = 0
    message: str = ""
    ns: str = ""
    task: str = ""
    events: list[Event] = []


class Dispatch(Struct):
    """A batch of runs given to WORK: publish, then tell the store the last sequence."""

    id: int
    ns: str
    queue: str
    runs: list[tuple[str, bool]]
    """(run, shared)."""


class QueueState(Struct):
    """Settings of a queue and what stands in it."""

    ns: str
    queue: str
    limit: int = 0
    key_limit: int = 0
    paused: bool = False
    priority: int = 0
    queued: int = 0
    dispatched: int = 0
    dispatched_shared: int = 0
    open: int = 0
    oldest_at: datetime | None = None
    """Since when the one waits that has waited longest, of those not yet given to WORK."""
    paused_by: str = ""
    """Who paused it, or resumed it last."""
    paused_at: datetime | None = None
    reason: str = ""
    """Why it is paused."""


class AgentState(Struct):
    """An agent as the store knows it."""

    agent: str
    ns: str
    session: int
    lease_until: datetime
    alive: bool
    queues: tuple[str, ...]
    slots: int
    shared_slots: int
    host: str = ""
    runtime: str = ""
    degraded: str = ""
    open: int = 0
    images: tuple[str, ...] = ()
    drain: str = ""
    """As `Renewed.drain`."""
    drain_by: str = ""
    drain_at: datetime | None = None
    drain_reason: str = ""


class Renewed(NamedTuple):
    """The answer of a beat."""

    live: bool
    """The session holds."""
    stop: list[tuple[str, int, str]]
    """(run, epoch, why) of attempts that shall end."""
    want_holds: bool
    """The full list is wanted."""
    drain: str = ""
    """`drain`: it shall take nothing new; `now`: and give back what runs."""


class Purge(Struct, frozen=True):
    """A blob to remove, or all blobs of a run (`key` empty); `id` for `Store.purged`."""

    id: int
    ns: str
    run: str
    key: str = ""


class Shipped(Struct, omit_defaults=True):
    """At a site: how far its hub is with what this store did, and what the hub will never have."""

    seq: int = 0
    """All of RUNS up to it is in the hub's store."""
    lost: int = 0
    """Runs that were removed before that, for want of room."""
    lost_at: datetime | None = None
