"""What the warm pool keeps of each plan, and what it should; pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from headway_engine.agent.plans import Plan
from headway_engine.agent.worker import Worker

if TYPE_CHECKING:
    from headway_engine.agent.config import WarmConfig

WARM_SIZE = 24 * 1024 * 1024
"""Bytes that one waiting runner is counted with."""


SETTLE = 0.05
"""Seconds after a run was taken in which nothing is started for a shelf that is not low: the run
needs the cores just then."""


class Shelf(Struct):
    """What the pool keeps of one plan."""

    plan: Plan
    used: float
    """When a run of it came last (monotonic)."""
    warm: deque[Worker]
    starting: int = 0
    retired: bool = False
    """A newer version took over, or the source changed: nothing of it is kept warm."""
    source: str | None = None
    """What the development folder said when it was last seen (`sources.Source.look`)."""


def target_of(shelf: Shelf, config: WarmConfig, now: float) -> int:
    """How many warm runners a shelf should have now; pure."""
    if shelf.retired or shelf.plan.shared:
        return 0
    unused = now - shelf.used
    if unused <= config.busy:
        return config.high
    return config.low if unused <= config.idle else 0


def refill_plan(shelves: list[Shelf], config: WarmConfig, now: float) -> list[Shelf]:
    """What to start next, the most recently used first, within the memory cap; pure."""
    room = config.memory // WARM_SIZE - sum(len(s.warm) + s.starting for s in shelves)
    wanted: list[Shelf] = []
    for shelf in sorted(shelves, key=lambda s: -s.used):
        if now - shelf.used < SETTLE and len(shelf.warm) >= max(1, config.low):
            continue
        missing = target_of(shelf, config, now) - len(shelf.warm) - shelf.starting
        count = max(0, min(missing, room))
        wanted += [shelf] * count
        room -= count
    return wanted


def discards(shelf: Shelf, config: WarmConfig, now: float) -> list[Worker]:
    """Which waiting runners should go: too many, too old, retired; pure."""
    old = [w for w in shelf.warm if now - w.born > config.max_age]
    left = [w for w in shelf.warm if w not in old]
    surplus = len(left) - target_of(shelf, config, now)
    # A shelf between its marks is let shrink to the low one, the oldest first.
    return old + left[: max(0, surplus)]


class Tokens:
    """The refill's token bucket."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, now

    def take(self, now: float) -> bool:
        """One start, or not yet."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
