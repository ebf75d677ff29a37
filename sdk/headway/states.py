"""The states of a run and the table of legal moves.

```
             enqueue                 claim (epoch+1)            `started`
 (new) ──────────────▶ QUEUED ─────────────────────▶ STARTING ────────────▶ RUNNING ───▶ ended
   │                    ▲ ▲ ▲ ▲                        │  │                   │ │ │ │
   └──▶ DELAYED ────────┘ │ │ └─ given back, lost ─────┘  │ start error       │ │ │ └▶ REVIEW
          due             │ └──────── RETRYING ◀──────────┴───────────────────┘ │ │
                          │  due       (error, attempts left)                   │ └──▶ CANCELLING
                          └────────── WAITING ◀─────────────────────────────────┘
                             woken    (sleep, wait, child: no container)
```
"""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Where a run is. `status` is this word in lower case; `state` is the task's own data."""

    DELAYED = "DELAYED"
    """Its start time is in the future; the timer moves it to QUEUED."""
    QUEUED = "QUEUED"
    """Waits for its queue and an agent; the dispatcher offers it, a claim moves it on."""
    STARTING = "STARTING"
    """Claimed by an agent; its container has not said `started`."""
    RUNNING = "RUNNING"
    """User code runs under the current epoch."""
    WAITING = "WAITING"
    """A durable wait holds no container; the timer or an answer moves it to QUEUED."""
    RETRYING = "RETRYING"
    """An attempt failed and another is due; the timer moves it to QUEUED, never early."""
    REVIEW = "REVIEW"
    """A person decides (ambiguous once, lost too often, version missing, state mismatch ...)."""
    CANCELLING = "CANCELLING"
    """The cancel is final; the attempt's end or the lease's end moves it to CANCELLED."""
    SUCCEEDED = "SUCCEEDED"
    """Ended with a result; kept until retention prunes it."""
    FAILED = "FAILED"
    """Ended with an error: attempts used up, StopRun, or poison."""
    TIMED_OUT = "TIMED_OUT"
    """Ended by the task's timeout or the run's deadline."""
    CANCELLED = "CANCELLED"
    """Ended by a cancel."""
    EXPIRED = "EXPIRED"
    """Never started within its TTL or deadline."""

    @property
    def status(self) -> str:
        """The word for queries and JSON: `timed_out`."""
        return self.value.lower()


S = RunState

TERMINAL = frozenset({S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.CANCELLED, S.EXPIRED})
LIVE = frozenset(S) - TERMINAL
FAILURES = frozenset({S.FAILED, S.TIMED_OUT})
"""Ends without what the run was for: dead letters, until a person has acknowledged them."""
OPEN = frozenset({S.STARTING, S.RUNNING, S.CANCELLING})
"""An attempt may be alive in these: an agent holds a lease for it."""
SAVEABLE = frozenset({S.STARTING, S.RUNNING})
"""A checkpoint, step or mark of the current epoch is taken in these (STARTING implies started)."""

MOVES: dict[RunState | None, frozenset[RunState]] = {
    None: frozenset({S.QUEUED, S.DELAYED}),
    S.DELAYED: frozenset({S.QUEUED, S.CANCELLED, S.EXPIRED}),
    S.QUEUED: frozenset({S.STARTING, S.REVIEW, S.CANCELLED, S.EXPIRED, S.TIMED_OUT}),
    S.STARTING: frozenset(
        {S.RUNNING, S.QUEUED, S.RETRYING, S.REVIEW, S.FAILED, S.TIMED_OUT, S.CANCELLING}
    ),
    S.RUNNING: frozenset(
        {
            S.SUCCEEDED,
            S.FAILED,
            S.TIMED_OUT,
            S.RETRYING,
            S.QUEUED,
            S.WAITING,
            S.REVIEW,
            S.CANCELLING,
        }
    ),
    S.WAITING: frozenset({S.QUEUED, S.FAILED, S.TIMED_OUT, S.CANCELLED}),
    S.RETRYING: frozenset({S.QUEUED, S.REVIEW, S.FAILED, S.TIMED_OUT, S.CANCELLED}),
    S.REVIEW: frozenset({S.QUEUED, S.FAILED, S.TIMED_OUT, S.CANCELLED}),
    S.CANCELLING: frozenset({S.CANCELLED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.TIMED_OUT: frozenset(),
    S.CANCELLED: frozenset(),
    S.EXPIRED: frozenset(),
}
"""Every legal move; `decide` and the store refuse all others."""


def may_move(source: RunState | None, target: RunState) -> bool:
    """True if the move is in the table."""
    return target in MOVES[source]
