"""How attempts end before their time: cancels, timeouts, drains, recycling, a session's end.

The reason is recorded before anything is killed. First a frame asks, after the grace SIGTERM, then
SIGKILL; in a shared worker the process goes with the one task that does not end.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headway.wire.frames import Cancel, Freeze
from headway.wire.reports import Stopped
from headway_engine.agent.attempt import STRENGTH
from headway_engine.agent.handover import size_of

if TYPE_CHECKING:
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.attempts import Attempts

log = logging.getLogger("headway.agent")

CARRIED = 10_000_000
"""Bytes a second that a runner takes from its channel, at the least."""


class Stopping:
    """Stops attempts of one agent."""

    def __init__(self, attempts: Attempts) -> None:
        self._a = attempts
        self.stale = self.freezes = 0
        """Attempts that a newer one, or the end of the lease, ended; times that saves froze."""

    def stop(self, attempt: Attempt, why: str) -> None:
        """End it: first by a frame, then SIGTERM, then SIGKILL. A stronger reason replaces one."""
        if STRENGTH[why] <= STRENGTH[attempt.intent] or attempt.reporting:
            return
        attempt.intent = why
        self.stale += why == "stale"
        worker, pool = attempt.worker, self._a.pool
        if worker is None or pool is None:
            self._a.ending.conclude(attempt, None)
            return
        if attempt in worker.waiting:
            worker.waiting.remove(attempt)
            self._a.ending.conclude(attempt, None)
            pool.give_back(worker)
            return
        if why == "recycle":
            return
        grace = min(1.0, attempt.plan.grace) if why == "stale" else attempt.plan.grace
        worker.send(Cancel(attempt.slot, why, grace))
        if attempt.stage == 0 or why == "stale":
            attempt.stage = 1
            attempt.stop_at = self._a.clock() + grace + 0.2

    def asked_outside(self, attempt: Attempt) -> None:
        """Its runner says that it was stopped: if not by us, then by whoever stops its container.

        The daemon and the host do that; it is no fault of the task, and takes none of its tries.
        """
        worker, pool = attempt.worker, self._a.pool
        if attempt.intent or worker is None or pool is None:
            return
        attempt.intent = "outside"
        pool.forget_shared(worker)  # it takes no more runs
        if not attempt.shared:
            attempt.stage, attempt.stop_at = 1, self._a.clock() + self._a.config.kill_after

    def leave_all(self) -> None:
        """Give back what runs: each after its next checkpoint, or when its grace is over."""
        now = self._a.clock()
        for attempt in self._a.live.values():
            if attempt.leave_at is None:
                attempt.leave_at = now + attempt.plan.grace

    def stay_all(self) -> None:
        """It was undone: what was not asked to leave yet may stay."""
        for attempt in self._a.live.values():
            attempt.leave_at = None

    def saved(self, attempt: Attempt) -> None:
        """A checkpoint of it is acknowledged: nothing is lost if it leaves now."""
        if attempt.leave_at is not None:
            self.stop(attempt, "drain")

    def stop_by_id(self, run: str, epoch: int, why: str) -> None:
        """The engine says: this attempt shall end. One that is not here is confirmed gone."""
        why = why if why in STRENGTH else "cancel"
        attempt = self._a.live.get(run)
        if attempt is not None and attempt.epoch == epoch:
            self.stop(attempt, why)
            return
        if attempt is not None and attempt.epoch > epoch:
            return
        self._a.stopped[(run, epoch)] = why
        while len(self._a.stopped) > 1000:
            self._a.stopped.pop(next(iter(self._a.stopped)))
        if why == "cancel":
            self._a.send("", Stopped(run, epoch, "cancel"), 0, lambda _outcome: None)

    def tick(self) -> None:
        """Deadlines: timeouts, graces, starts that did not come. A few times a second."""
        now = self._a.clock()
        for attempt in [*self._a.live.values(), *self._a.superseded]:
            if attempt.stage and now >= attempt.stop_at:
                self._escalate(attempt, now)
            elif attempt.leave_at is not None and now >= attempt.leave_at and not attempt.intent:
                self.stop(attempt, "drain")
            elif now >= attempt.deadline and not attempt.intent and attempt.terminal is None:
                self.stop(attempt, "timeout")
            elif attempt.sent_at and not attempt.started and not attempt.intent:
                limit = self._a.config.started_timeout * (5 if attempt.shared else 1)
                limit += size_of(attempt.assignment) / CARRIED
                if now - attempt.sent_at > limit:
                    self._no_start(attempt)

    def _no_start(self, attempt: Attempt) -> None:
        """It was handed over and nothing came: close that socket first, then elsewhere."""
        worker, pool = attempt.worker, self._a.pool
        if worker is None or pool is None or worker.gone or attempt.reporting:
            return
        log.warning("%s: %s did not start it", attempt.run, worker.name)
        if worker.endpoint is not None:
            worker.endpoint.cut()
        worker.conn = None
        for other in worker.slots.values():
            if other is not attempt and not other.intent:
                other.intent = "recycle"
        pool.forget_shared(worker)
        pool.kill(worker)

    def _escalate(self, attempt: Attempt, now: float) -> None:
        worker, pool = attempt.worker, self._a.pool
        attempt.stop_at = now + self._a.config.kill_after
        if worker is None or pool is None or worker.gone or attempt.reporting:
            return
        attempt.stage += 1
        if attempt.shared:
            # A task that does not end within its grace takes the process with it; the others
            # are queued again, uncharged.
            for other in worker.slots.values():
                if not other.intent:
                    other.intent = "recycle"
            pool.forget_shared(worker)
            pool.kill(worker)
        elif attempt.stage == 2 and attempt.intent != "stale":
            self._a.spawn(pool.term(worker))
        else:
            pool.kill(worker)

    def freeze(self, on: bool) -> None:
        """The lease is overdue, or good again: saves wait, nothing is killed."""
        if self._a.frozen == on or self._a.pool is None:
            return
        self._a.frozen = on
        self.freezes += on
        log.warning("saves %s", "wait: the lease is overdue" if on else "go on")
        for worker in self._a.pool.workers.values():
            worker.send(Freeze(on=on))

    def abandon_all(self) -> None:
        """The session is over: kill everything; all that is told is that it is dead.

        The store has moved on, and a run of it may wait for that word (an ambiguous once).
        """
        if self._a.pool is None:
            return
        attempts = [*self._a.live.values(), *self._a.superseded]
        workers = {a.worker for a in attempts if a.worker is not None}
        for attempt in attempts:
            attempt.intent = "stale"
            self.stale += 1
            attempt.reporting = True
            if attempt.worker is not None and attempt in attempt.worker.waiting:
                attempt.worker.waiting.remove(attempt)
            self._a.ending.confirm(attempt, killed=True)
        for worker in workers:
            if worker.endpoint is not None:
                worker.endpoint.cut()
            self._a.pool.forget_shared(worker)
            self._a.pool.kill(worker)
        for attempt in attempts:
            self._a.ending.forget(attempt)
