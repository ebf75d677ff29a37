"""The contract in the simulator's own words: states, legal moves, what must have been reached.

Typed in from the design, not imported: a wrong table in the product must not be its own judge.
"""

from __future__ import annotations

TABLE = """
new         QUEUED DELAYED
DELAYED     QUEUED CANCELLED EXPIRED
QUEUED      STARTING REVIEW CANCELLED EXPIRED TIMED_OUT
STARTING    RUNNING QUEUED RETRYING REVIEW FAILED TIMED_OUT CANCELLING
RUNNING     SUCCEEDED FAILED TIMED_OUT RETRYING QUEUED WAITING REVIEW CANCELLING
WAITING     QUEUED FAILED TIMED_OUT CANCELLED
RETRYING    QUEUED REVIEW FAILED TIMED_OUT CANCELLED
REVIEW      QUEUED FAILED TIMED_OUT CANCELLED
CANCELLING  CANCELLED
"""
LEGAL = frozenset(
    (words[0] if words[0] != "new" else "", target)
    for words in (line.split() for line in TABLE.split("\n") if line)
    for target in words[1:]
)
NEVER_MADE = frozenset(
    {
        ("STARTING", "RETRYING"),  # a failure before the start implies the start, or is final
        ("WAITING", "FAILED"),  # waits with a timeout of their own end in their attempt
        ("RETRYING", "REVIEW"),
        ("RETRYING", "FAILED"),
        ("REVIEW", "FAILED"),
    }
)
"""Legal, but no rule makes these moves today: reaching one means that this list is out of date."""

ENDS = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED", "EXPIRED"})
LIVE_ATTEMPT = frozenset({"STARTING", "RUNNING", "CANCELLING"})
FREES_KEY = frozenset({"FAILED", "TIMED_OUT", "EXPIRED"})
STATES = ENDS | LIVE_ATTEMPT | {"DELAYED", "QUEUED", "WAITING", "RETRYING", "REVIEW"}

SEEN = (
    "stale epoch refused",
    "lease lost",
    "redelivery",
    "late ack",
    "duplicate enqueue",
    "repeated enqueue",
    "key with another payload",
    "ambiguous once",
    "once decided by a person",
    "once decided by its policy",
    "policy waited for a death",
    "went on after the deaths",
    "decision refused: maybe alive",
    "older attempt confirmed dead",
    "checkpoint retry",
    "outbox replay",
    "dispatch replay",
    "REVIEW",
    "claim answered again",
    "claim refused",
    "claim of an ended session",
    "zombie ran its effect",
    "adopted",
    "not held, lost",
    "stopped by the beat's answer",
    "cancel before the record",
    "store down",
    "failover lost commits",
    "an attempt outlived a failover",
    "checkpoints set back",
    "WORK lost",
    "work behind the end of WORK",
    "work below the floor",
    "INGEST lost its tail",
    "engine crashed between commit and answer",
    "engine crashed between dispatch and publish",
    "timer fired twice",
    "poison",
    "lost too often",
    "version missing",
    "timeout by the backstop",
    "drained",
)
"""Rare paths: a search that misses one of these proved nothing about it."""


def wanted() -> list[str]:
    """Every counter that a full search must have raised."""
    moves = sorted(LEGAL - NEVER_MADE)
    return [*SEEN, *(f"state {s}" for s in sorted(STATES)), *(f"{a} -> {b}" for a, b in moves)]
