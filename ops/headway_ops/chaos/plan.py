"""Which fault comes when: drawn from a seed, before anything is touched. Pure."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection

KINDS = ("engine", "agent", "task", "nats", "postgres")
"""What can be hit."""
WEIGHTS = {"engine": 3, "agent": 4, "task": 6, "nats": 1, "postgres": 1}
STOPPED = {"engine": 0.3, "agent": 0.5, "task": 0.15, "nats": 0.25, "postgres": 0.0}
"""Shares of faults that freeze (SIGSTOP, later SIGCONT) instead of killing (SIGKILL). A postmaster
that stands still says nothing about its backends, which go on: it is only killed."""


class Fault(Struct, frozen=True):
    """One fault. `pick` in [0, 1) chooses among those of the kind that live then."""

    at: float
    """Seconds from the beginning."""
    kind: str
    how: str
    """kill or stop."""
    pick: float
    hold: float
    """Seconds that it stands still (stop), or stays away (kill; some stacks decide that)."""


def draw(
    seed: int, kinds: Collection[str], every: float, seconds: float, *, freeze: float
) -> list[Fault]:
    """Faults for `seconds`, about one each `every` seconds; the same seed gives the same ones.

    `freeze`: seconds of a lease. An agent that is stopped stands still for one to three of them, so
    that it comes back as a zombie (for half of the time at most); the others for a shorter while.
    """
    rng = random.Random(seed)
    chosen = [k for k in KINDS if k in kinds]
    times: list[float] = []
    at = every
    while at < seconds:
        times.append(at)
        at += every * rng.uniform(0.7, 1.3)
    drawn = rng.choices(chosen, [WEIGHTS[k] for k in chosen], k=len(times))
    ways = ["stop" if rng.random() < STOPPED[kind] else "kill" for kind in drawn]
    # Each kind once in the first half, a frozen agent and a frozen engine among them: what they
    # bring about (a zombie, an answer that was lost) shows only later.
    sure = [(k, "stop" if k == "agent" else "kill") for k in chosen]
    sure += [("engine", "stop")] if "engine" in chosen else []
    early = len(times) // 2
    places = rng.sample(range(early), k=min(len(sure), early))
    for place, (kind, how) in zip(places, sure, strict=False):
        drawn[place], ways[place] = kind, how
    faults: list[Fault] = []
    for at, kind, how in zip(times, drawn, ways, strict=True):
        hold = rng.uniform(0.1, every)
        if how == "stop":
            longest = min(3.0 * freeze, max(seconds / 2, freeze))
            span = (freeze, longest) if kind == "agent" else (every, 3.0 * every)
            hold = rng.uniform(*span)
        faults.append(Fault(round(at, 3), kind, how, rng.random(), round(hold, 3)))
    return faults


def choose(names: list[str], pick: float) -> str:
    """The name that `pick` means; empty without names."""
    return names[int(pick * len(names))] if names else ""
