"""Runs that a run enqueues, and how their ends come back."""

from __future__ import annotations

from msgspec import Raw, Struct

from headway.wire import NOTHING, BlobRef, decoder
from headway.wire.enqueue import Ended

# --- children: runs that a run enqueues


class Child(Struct, omit_defaults=True):
    """A run to be enqueued by the attempt (run, epoch) under a key."""

    run: str
    epoch: int
    key: str
    item: Raw
    """A commands.EnqueueItem without payload; decoded strictly, it comes from a runner."""
    payload: Raw = NOTHING
    ref: BlobRef | None = None
    """A large payload, among the blobs of the parent."""
    after: int = 0


class Children(Struct, omit_defaults=True):
    """`enqueue`: what arrived together. Repeating is safe: the key gives the child's id."""

    agent: str
    session: int
    children: list[Child]


class ChildOutcome(Struct, omit_defaults=True):
    """ok (recorded now or before) | stale_epoch | cancelling | conflict | rejected."""

    outcome: str
    run: str = ""
    """The child, or the run that holds its idempotency key."""
    fresh: bool = False
    """Recorded just now: its end is pushed to `hw.reply.<agent>.<token>`."""
    code: str = ""
    message: str = ""


class Enqueued(Struct, omit_defaults=True):
    """The answer: one outcome per child, in order; or `busy`."""

    outcomes: list[ChildOutcome] = []
    busy: float = 0.0


class ChildAsk(Struct, omit_defaults=True):
    """The child that the attempt (run, epoch) enqueued under a key."""

    run: str
    epoch: int
    key: str


class ChildrenAsk(Struct, omit_defaults=True):
    """`ends`: which of these have ended? One request for all that the agent's attempts await."""

    agent: str
    children: list[ChildAsk]


class ChildEnd(Struct, omit_defaults=True):
    """What is known of one. `ended` is left out while it lives, and where the answer is full."""

    run: str = ""
    """The child's id, or its alias'; empty = none of this agent's business."""
    status: str = ""
    """In lower case; `unknown` if there is no such run (any more)."""
    ended: Ended | None = None


class ChildrenEnds(Struct, omit_defaults=True):
    """The answer: one per child, in order; or `busy`."""

    children: list[ChildEnd] = []
    more: bool = False
    """The answer was full: ask again for those that have no `ended`."""
    busy: float = 0.0


CHILDREN, ENQUEUED = decoder(Children), decoder(Enqueued)
CHILDREN_ASK, CHILDREN_ENDS = decoder(ChildrenAsk), decoder(ChildrenEnds)
