"""What can happen to a run: the words that `lifecycle.decide` takes.

`epoch` in a happening is the attempt that speaks, stamped by the agent. Random numbers and facts
come in as fields, so that the same happening always gives the same decision.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Raw, Struct

from headway.wire import NOTHING, BlobRef, ErrorInfo


class Due(Struct, frozen=True):
    """The timer: delay, backoff or wait is over."""


class Claim(Struct, frozen=True):
    """An agent takes the run; `version` is what it will run (the pinned one once there is one)."""

    agent: str
    session: int
    nonce: str
    version: str
    checkpoint: int = 0
    """Number of the checkpoint whose state the attempt is given; 0 = none."""


class Started(Struct, frozen=True):
    """User code runs."""

    epoch: int
    container: str = ""
    host: str = ""
    cold: bool = False
    pool_wait_ms: float = 0.0
    resumed_from: int = 0


class Finished(Struct, frozen=True):
    """The function returned."""

    epoch: int
    result: Raw = NOTHING
    ref: BlobRef | None = None
    size: int = 0
    warning: str = ""
    lines: int = 0
    """The number of its last line of output."""
    lines_lost: int = 0
    """So many of them were dropped."""
    spans_lost: int = 0


class Failed(Struct, frozen=True):
    """The attempt ended without a result; cause as in wire.rpc.AttemptFailed."""

    epoch: int
    cause: str
    error: ErrorInfo
    retry: bool = True
    retry_in: float | None = None
    retry_at: datetime | None = None
    key: str = ""
    token: str = ""
    random: float = 0.5
    """In [0, 1): the jitter."""
    evidence: str = ""
    exit_code: int | None = None
    lines: int = 0
    waits: bool = False
    """Ambiguous: the block's policy decides as soon as older attempts are confirmed dead."""
    lines_lost: int = 0
    spans_lost: int = 0


class Lost(Struct, frozen=True):
    """The attempt went away through no fault of its own. `dead`: its end was seen."""

    epoch: int
    why: str
    dead: bool = True
    evidence: str = ""


class GivenBack(Struct, frozen=True):
    """Claimed, not started."""

    epoch: int
    why: str
    fault: str = ""
    """`run` counts towards poison; `agent` does not."""


class Suspended(Struct, frozen=True):
    """A long wait: no container until it is over."""

    epoch: int
    key: str
    kind: str
    fn: str = ""
    seconds: float | None = None
    after: int = 0


class Cancel(Struct, frozen=True):
    """Somebody cancels the run."""

    actor: str
    reason: str = ""


class Stopped(Struct, frozen=True):
    """The attempt's process is confirmed gone after a cancel or a drain."""

    epoch: int
    why: str
    lines: int = 0
    lines_lost: int = 0
    spans_lost: int = 0


class Resume(Struct, frozen=True):
    """Somebody wants the next attempt now."""

    actor: str
    once: tuple[tuple[str, str], ...] = ()
    """(key, done | rerun | fail) for ambiguous once marks."""
    values: tuple[tuple[str, bytes], ...] = ()
    override: bool = False
    request: str = ""
    """Of the caller: recorded, so that a repeat is recognised."""
    budget_usd: float = 0.0
    """What the run may use now, in all; 0 = as before."""
    budget_tokens: int = 0


class Acknowledge(Struct, frozen=True):
    """Somebody has seen the failure (or takes that back)."""

    actor: str
    undo: bool = False


class Tag(Struct, frozen=True):
    """Somebody adds tags to the run and removes others."""

    actor: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class Overdue(Struct, frozen=True):
    """The timer: TTL, deadline or the attempt's timeout (the agent's timer is the first one)."""


class VersionMissing(Struct, frozen=True):
    """No agent can run the version that the run is pinned to."""

    version: str


Happening = (
    Due
    | Claim
    | Started
    | Finished
    | Failed
    | Lost
    | GivenBack
    | Suspended
    | Cancel
    | Stopped
    | Resume
    | Acknowledge
    | Tag
    | Overdue
    | VersionMissing
)

Told = tuple[str, Happening] | tuple[str, Happening, str]
"""A run, what happened to it, and the namespace that the teller speaks for, if it is an agent."""
