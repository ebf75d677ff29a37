"""What the checks look at: rows as they are stored, one run at a time. No I/O.

The words for states are written out here and in `path`, apart from the engine's own: the checker
must not learn from the code that it checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED", "EXPIRED"})
OPEN = frozenset({"STARTING", "RUNNING", "CANCELLING"})
"""An attempt may be alive."""
TIMED = frozenset({"DELAYED", "RETRYING", "WAITING"})
"""A timer moves these on."""
NOTHING: dict[str, Any] = {}
FREES_KEY = frozenset({"FAILED", "TIMED_OUT", "EXPIRED"})


class Run(NamedTuple):
    """A row of `runs`. Times are the store's."""

    id: str
    ns: str
    task: str
    queue: str
    state: str
    created_at: datetime
    version: str = ""
    due_at: datetime | None = None
    ttl_at: datetime | None = None
    deadline_at: datetime | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    attempt_at: datetime | None = None
    ended_at: datetime | None = None
    epoch: int = 0
    n: int = 0
    ck: int = 0
    failures: int = 0
    keep_ck: int = 20
    timeout_s: float = 3600.0
    dispatch: int | None = None
    agent: str = ""
    session: int = 0
    reason: str = ""
    key: str = ""
    key_scope: str = ""
    root: str = ""
    origin: str = ""
    result: bool = False
    """It has a row in `results`."""
    tags: Sequence[str] = ()


class Event(NamedTuple):
    """A row of `events`."""

    n: int
    at: datetime
    kind: str
    epoch: int = 0
    source: str = ""
    target: str = ""
    actor: str = ""
    data: dict[str, Any] = NOTHING


class Body(NamedTuple):
    """Where a stored body lies and what it should be."""

    run: str
    what: str
    """`checkpoint 3`, `payload` ..., for the finding."""
    key: str
    """In the blob store; empty = in the row."""
    size: int
    sha256: str


class Checkpoint(NamedTuple):
    """A row of `checkpoints`."""

    number: int
    epoch: int
    run_epoch: int
    """The run's epoch at the commit."""
    size: int
    sha256: str
    ref: Body | None = None
    keep: bool = False
    found: str = ""
    """The hash of the state in the row, by Postgres; empty = it lies in blobs."""
    found_size: int = 0


class Mark(NamedTuple):
    """A row of `marks`."""

    key: str
    kind: str
    status: str
    epoch: int
    run_epoch: int | None
    """NULL: not written by an attempt (a wait, a decision, a copy)."""
    token: str = ""
    resolved: str = ""
    at: datetime | None = None
    ref: Body | None = None


class Holder(NamedTuple):
    """Who holds an idempotency key."""

    run: str
    at: datetime
    until: datetime


class Policy(NamedTuple):
    """How a task is retried, under the version that the run is pinned to."""

    max_attempts: int
    factor: float
    min_delay: float
    max_delay: float
    jitter: float
    since: datetime
    """When it was registered last: what happened before was under another one, maybe."""


class Live(NamedTuple):
    """What stands around a run that has not ended."""

    paused: bool = False
    """Its queue is."""
    lease_until: datetime | None = None
    """Of its agent's session at the claim; None = that session is over."""
    dispatched: bool = True
    """The batch that it says it was given out in is there."""


@dataclass(slots=True)
class History:
    """All that is stored of one run, in one snapshot."""

    run: Run
    events: list[Event] = field(default_factory=list[Event])
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    marks: list[Mark] = field(default_factory=list[Mark])
    bodies: list[Body] = field(default_factory=list[Body])
    """Payload and result, where they lie in blobs."""
    holder: Holder | None = None
    policy: Policy | None = None
    live: Live | None = None
    holes: bool = False
    """Set by the first check: events are missing, what rests on them cannot be judged."""
