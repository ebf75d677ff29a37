"""Reports of an agent: the transitions of an attempt."""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct

from headway.wire import NOTHING, BlobRef, ErrorInfo, Instant, decoder

# --- reports: transitions of an attempt


class Started(Struct, tag="started", omit_defaults=True):
    """User code runs."""

    run: str
    epoch: int
    container: str = ""
    host: str = ""
    cold: bool = False
    pool_wait_ms: float = 0.0
    resumed_from: int = 0


class Finished(Struct, tag="finished", omit_defaults=True):
    """The function returned. Refused while a once mark is open (→ REVIEW)."""

    run: str
    epoch: int
    result: Raw = NOTHING
    ref: BlobRef | None = None
    size: int = 0
    sha256: str = ""
    warning: str = ""
    """Such as "a child process was OOM-killed"."""
    lines: int = 0
    """Number of the last line of its output; 0 = it printed nothing."""
    lines_lost: int = 0
    """Lines of its output that were dropped: too much at once."""
    spans_lost: int = 0
    """The same of its spans, as far as their numbers tell by now."""


class AttemptFailed(Struct, tag="failed", omit_defaults=True):
    """The attempt ended without a result.

    `cause`: error (user exception) · crash · oom · timeout · image (cannot start) · stop (StopRun)
    · encode · ambiguous (once) · state (StateMismatch) · payload (does not fit the version that
    runs) · too_large · budget · violation (channel abuse) · blob (payload or state is gone or
    damaged).
    """

    run: str
    epoch: int
    cause: str
    error: ErrorInfo
    exit_code: int | None = None
    retry_in: float | None = None
    retry_at: Instant | None = None
    retry: bool = True
    """False: the task's own verdict is not to retry (stop_on, not in retry_on, StopRun)."""
    key: str = ""
    """With `ambiguous`: the once key."""
    token: str = ""
    evidence: str = ""
    lines: int = 0
    """Number of the last line of its output; 0 = it printed nothing."""
    waits: bool = False
    """With `ambiguous`: the block's policy decides once older attempts are confirmed dead."""
    lines_lost: int = 0
    """See Finished."""
    spans_lost: int = 0
    """See Finished."""


class AttemptLost(Struct, tag="lost", omit_defaults=True):
    """The container went away through no fault of the task: killed from outside, daemon gone."""

    run: str
    epoch: int
    why: str
    evidence: str = ""


class GivenBack(Struct, tag="given_back", omit_defaults=True):
    """Claimed but not started: no container could be had, or the agent drains."""

    run: str
    epoch: int
    why: str
    fault: str = ""
    """agent | run: whom the failed start is charged to."""


class Suspend(Struct, tag="suspend", omit_defaults=True):
    """A wait longer than `suspend_after`: the run goes to WAITING, the container is given back."""

    run: str
    epoch: int
    key: str
    kind: Literal["sleep", "wait", "call"]
    fn: str = ""
    seconds: float | None = None
    """Until due, from the store's now; None = until answered."""
    after: int = 0


class Stopped(Struct, tag="stopped", omit_defaults=True):
    """The attempt's process is confirmed gone after a cancel (or drain: `why="drain"`)."""

    run: str
    epoch: int
    why: Literal["cancel", "drain", "stale"]
    lines: int = 0
    """Number of the last line of its output; 0 = it printed nothing."""
    lines_lost: int = 0
    """Lines of its output that were dropped: too much at once."""
    spans_lost: int = 0
    """The same of its spans, as far as their numbers tell by now."""


Report = Started | Finished | AttemptFailed | AttemptLost | GivenBack | Suspend | Stopped


class Reports(Struct, omit_defaults=True):
    """`report`: transitions of attempts, in order per run."""

    agent: str
    session: int
    reports: list[Report]
    free: int = 0
    shared_free: int = 0


class ReportOutcome(Struct, omit_defaults=True):
    """ok (also for a repeat) | stale_epoch | refused | review (an open once mark)."""

    outcome: str
    message: str = ""


class Reported(Struct, omit_defaults=True):
    """The answer: one outcome per report, in order; or `busy`."""

    outcomes: list[ReportOutcome] = []
    busy: float = 0.0


REPORTS, REPORTED = decoder(Reports), decoder(Reported)
