"""`started` is told a little late: what a short run does next comes with it, in one commit."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headway import faults
from headway.wire.reports import ReportOutcome, Started

if TYPE_CHECKING:
    from headway.wire.frames import RunStarted
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.attempts import Attempts
    from headway_engine.agent.worker import Worker

SHARED_DELAY = 0.02
"""Seconds that `started` of a shared run may wait: its end may come first, and says it too."""
OWN_DELAY = 0.005
"""The same with a container of its own: where and how it started is told with its first save, or
in one request with its end."""


class Starting:
    """Reports starts of one agent's attempts."""

    def __init__(self, attempts: Attempts) -> None:
        self._a = attempts
        self._late: dict[bool, list[Attempt]] = {False: [], True: []}

    def started(self, worker: Worker, frame: RunStarted) -> None:
        """User code runs: from here on its timeout counts."""
        attempt = worker.slots.get(frame.slot)
        if attempt is None or attempt.started:
            return
        if faults.armed:
            faults.here("agent.started.received")
        attempt.started = True
        now = self._a.clock()
        self._a.starts.add(now - attempt.dispatched_at)
        attempt.deadline = now + attempt.assignment.timeout
        late = self._late[attempt.shared]
        if not late:
            delay = SHARED_DELAY if attempt.shared else OWN_DELAY
            asyncio.get_running_loop().call_later(delay, self._send_late, attempt.shared)
        late.append(attempt)

    def _send_late(self, shared: bool) -> None:
        late, self._late[shared] = self._late[shared], []
        for attempt in late:
            if not attempt.reporting and self._a.live.get(attempt.run) is attempt:
                self._send_started(attempt)

    def before(self, attempt: Attempt) -> None:
        """Something of a run with a container of its own is to be told: its start goes first."""
        if attempt.started and not attempt.shared:
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
