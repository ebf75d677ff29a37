"""`started`: at once for a run with a container of its own, a little later for a shared one."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headway.wire.rpc import ReportOutcome, Started

if TYPE_CHECKING:
    from headway.wire.frames import RunStarted
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.attempts import Attempts
    from headway_engine.agent.worker import Worker

STARTED_DELAY = 0.02
"""Seconds that `started` of a shared run may wait: its end may come first, and says it too."""


class Starting:
    """Reports starts of one agent's attempts."""

    def __init__(self, attempts: Attempts) -> None:
        self._a = attempts
        self._late: list[Attempt] = []

    def started(self, worker: Worker, frame: RunStarted) -> None:
        """User code runs: from here on its timeout counts."""
        attempt = worker.slots.get(frame.slot)
        if attempt is None or attempt.started:
            return
        attempt.started = True
        attempt.deadline = self._a.clock() + attempt.assignment.timeout
        if attempt.shared:
            if not self._late:
                asyncio.get_running_loop().call_later(STARTED_DELAY, self._send_late)
            self._late.append(attempt)
        else:
            self._send_started(attempt)

    def _send_late(self) -> None:
        late, self._late = self._late, []
        for attempt in late:
            if not attempt.reporting and self._a.live.get(attempt.run) is attempt:
                self._send_started(attempt)

    def _send_started(self, attempt: Attempt) -> None:
        worker = attempt.worker
        if attempt.started_sent or worker is None:
            return
        attempt.started_sent = True
        if not attempt.shared:
            attempt.held = []
        report = Started(
            attempt.run,
            attempt.epoch,
            container=worker.handle.id[:12] if worker.handle else "",
            host=self._a.hostname,
            cold=worker.cold,
            pool_wait_ms=round((attempt.dispatched_at - attempt.given_at) * 1000, 3),
            resumed_from=attempt.assignment.checkpoint,
        )
        self._a.send(attempt.engine, report, 0, partial(self._started_answered, attempt))

    def _started_answered(self, attempt: Attempt, outcome: ReportOutcome) -> None:
        if outcome.outcome == "stale_epoch":
            self._a.stopping.stop(attempt, "stale")
        self._a.saving.release(attempt)
