"""What an agent holds against what the store gives to it (DECISIONS B3), with no I/O."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GAP = 3.0
"""Seconds without a tick that start the clock of leases anew; engines tick once a second."""
SHORTEST_GAP = 1.5
JUMP = 30.0
"""Seconds that the store's clock may be ahead of an engine's before it counts as a jump."""


def longest(lease: float) -> float:
    """Seconds that a lease can have left; one with more was given before the clock went back."""
    return 4 * lease + 60.0


def jumped(passed: float, elapsed: float | None) -> float:
    """By how much the store's clock (`passed`) went ahead of an engine's (`elapsed`); 0 = not."""
    ahead = 0.0 if elapsed is None else passed - elapsed
    return ahead if ahead > JUMP else 0.0


class Held(NamedTuple):
    """An open attempt, as the store has it."""

    run: str
    epoch: int
    cancelling: bool


class Agreement(Struct):
    """The store's word on a beat."""

    stop: list[tuple[str, int, str]]
    missing: list[str]
    """`run:epoch` that the store gives to the agent and it does not hold."""
    gone: list[str]
    """Of these, the ones that were missing the last time as well: lost now."""
    want_holds: bool = False


def digest(holds: Iterable[tuple[str, int]]) -> str:
    """16 hex digits of the sha256 over the sorted `run:epoch` lines, joined by newlines."""
    lines = sorted(f"{run}:{epoch}" for run, epoch in holds)
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


def compare(
    held: Sequence[Held],
    holds: Sequence[tuple[str, int]] | None,
    said: str,
    missing_before: frozenset[str],
) -> Agreement:
    """Attempts being cancelled are always on the stop list, until the agent reports their end."""
    stop = [(h.run, h.epoch, "cancel") for h in held if h.cancelling]
    if holds is None:
        same = said == digest((h.run, h.epoch) for h in held)
        return Agreement(stop, [], [], want_holds=not same)
    given = {(h.run, h.epoch) for h in held}
    theirs = {(run, epoch) for run, epoch in holds}
    stop += [(run, epoch, "stale") for run, epoch in sorted(theirs - given)]
    missing = [f"{run}:{epoch}" for run, epoch in sorted(given - theirs)]
    return Agreement(
        stop,
        [m for m in missing if m not in missing_before],
        [m for m in missing if m in missing_before],
        want_holds=bool(missing),
    )


def gap_of(lease: float) -> float:
    """The gap that counts as an outage.

    With a short lease it is shorter too: an agent whose beats nobody heard for that long must still
    have most of its lease left.
    """
    return min(GAP, max(SHORTEST_GAP, lease / 4))
