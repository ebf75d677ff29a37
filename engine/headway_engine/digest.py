"""Digests of busy namespaces: which runs moved, four times a second, in place of every event.

A console that watches a namespace hears all its events. Where that is thousands a second it can
hear these instead, and ask for the rows that it shows. Nobody needs them below that: they are
published only while an engine itself tells of many events.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway import subjects
from headway.wire import encode
from headway.wire.events import RunsDigest
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.events import RunEvents
    from headway_engine.post import Post

PERIOD = 0.25
IDLE = 3600.0
"""Seconds between looks while nothing moves: what moves wakes it."""
TELL_FROM = 500.0
"""Events a second of one namespace from which on this engine's digests are published: several
engines may share the load that a console finds too much."""
WINDOW = 1.0
"""Seconds over which the rate is taken."""
RUNS = 4000
"""Runs of each kind that a digest names at most: well below the largest message."""


@dataclass(slots=True)
class _Seen:
    """What one namespace did since the last digest."""

    events: int = 0
    new: dict[str, None] = field(default_factory=dict[str, None])
    moved: dict[str, None] = field(default_factory=dict[str, None])
    partly: bool = False
    counts: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    told: bool = False


class Digests(Ticker):
    """`hw.hb.runs.<ns>`: what this engine published, while it is much."""

    name = "digests"

    def __init__(
        self, engine: str, post: Post, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(PERIOD)
        self._engine, self._post, self._clock = engine, post, clock
        self._seen: dict[str, _Seen] = {}

    def note(self, told: RunEvents) -> None:
        """Events of a run that are being published; never waits."""
        seen = self._seen.get(told.ns)
        if seen is None:
            seen = self._seen[told.ns] = _Seen()
            self.wake()
        seen.events += len(told.events)
        kind = seen.new if told.events[0].n == 1 else seen.moved
        if len(kind) < RUNS:
            kind[told.run] = None
        else:
            seen.partly = True

    async def once(self) -> float | None:
        """Tell of the namespaces in which much happened, and once that it is less now."""
        if not self._seen:
            return IDLE
        now, at = self._clock(), datetime.now(UTC)
        for ns, seen in list(self._seen.items()):
            seen.counts.append((now, seen.events))
            while seen.counts[0][0] <= now - WINDOW:
                seen.counts.popleft()
            rate = sum(n for _, n in seen.counts) / WINDOW
            if rate >= TELL_FROM or seen.told:
                seen.told = rate >= TELL_FROM
                moved = [run for run in seen.moved if run not in seen.new]
                body = RunsDigest(
                    self._engine, at, rate, seen.events, list(seen.new), moved, seen.partly
                )
                self._post.put(subjects.beat_runs(ns), encode(body))
            elif not rate:
                del self._seen[ns]
                continue
            seen.events, seen.partly = 0, False
            seen.new.clear()
            seen.moved.clear()
        return None
