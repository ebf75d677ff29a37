"""How attempts end: a frame, or the evidence, becomes a verdict, and that a report."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway import faults
from headway.failures import MESSAGE_LIMIT, TRACEBACK_LIMIT, clean
from headway.wire import RESULT_LIMIT, BlobRef, ErrorInfo, encode
from headway.wire.frames import Ack, Fail, Finish
from headway.wire.reports import AttemptFailed, Finished, Report, ReportOutcome, Stopped
from headway_engine.agent.plans import on_host
from headway_engine.agent.redact import NO_SECRETS
from headway_engine.agent.verdict import Ended, Evidence, on_end, on_frame

if TYPE_CHECKING:
    from headway_engine.agent.attempt import Attempt, Terminal
    from headway_engine.agent.attempts import Attempts
    from headway_engine.agent.worker import Worker

log = logging.getLogger("headway.agent")

EXIT_TIME = 5.0
"""Seconds that a runner has to exit after its only run has ended."""


class Ending:
    """Ends attempts of one agent."""

    def __init__(self, attempts: Attempts) -> None:
        self._a = attempts
        self._loop = asyncio.get_running_loop()

    def terminal(self, worker: Worker, frame: Terminal) -> None:
        """The frame with which a task ends, or waits."""
        attempt = self._a.attempt_of(worker, frame.slot, frame.seq)
        if attempt is None or worker.seen(frame.seq):
            return
        if attempt.log is not None:
            attempt.log.flush(final=True)
        if isinstance(frame, Finish) and frame.blob:
            self._a.saving.upload(worker, attempt, frame, RESULT_LIMIT, self._ended_by)
        elif isinstance(frame, Finish) and (flaw := self._a.flaw_of(frame.result)):
            self._a.violation(worker, flaw, attempt)
        else:
            self._ended_by(worker, attempt, frame, None)

    def _ended_by(
        self, worker: Worker, attempt: Attempt, frame: Terminal, ref: BlobRef | None
    ) -> None:
        if attempt.reporting or not self._a.here(attempt):
            return
        if faults.armed:
            faults.here("agent.end.received")
        attempt.terminal = frame
        if isinstance(frame, Fail) and frame.cause == "cancelled":
            self._a.stopping.asked_outside(attempt)
        evidence = Evidence(attempt.run, attempt.epoch, started=True, intent=attempt.intent)
        report = on_frame(evidence, frame, ref, exits=not attempt.shared)
        if report is None:
            # After a cancel only the confirmed end counts; the answer lets the runner go.
            outcome = "stale_epoch" if attempt.intent == "stale" else "ok"
            worker.answer(Ack(attempt.slot, frame.seq, outcome))
            return
        if isinstance(report, AttemptFailed):
            report.error = self.clean(worker, report.error)
        elif isinstance(report, Finished) and worker.oom:
            report.warning = "a child process was killed for memory"
        attempt.reporting = True
        size = len(bytes(frame.result)) if isinstance(frame, Finish) else 0
        self.report(attempt, report, size, frame.seq)

    def clean(self, worker: Worker, error: ErrorInfo) -> ErrorInfo:
        """An error without secrets, within its bounds."""
        redactor = worker.redactor or NO_SECRETS
        return ErrorInfo(
            clean(redactor.text(error.type), 200),
            clean(redactor.text(error.message), MESSAGE_LIMIT),
            clean(redactor.text(error.traceback), TRACEBACK_LIMIT),
        )

    def report(self, attempt: Attempt, report: Report, size: int, seq: int | None) -> None:
        """Say its end, and that its slot is free; `seq`: of the frame that is answered then."""
        self._a.starting.before(attempt)
        self._a.release(attempt)
        if isinstance(report, Finished | AttemptFailed | Stopped):
            report.spans_lost = attempt.spans_lost
            if attempt.log is not None:
                # So that who shows its end knows what comes before it.
                report.lines, report.lines_lost = attempt.log.last, attempt.log.dropped
        if isinstance(report, AttemptFailed):
            size += len(encode(report.error))
        self._a.send(attempt.engine, report, size, partial(self._reported, attempt, report, seq))

    def _reported(
        self, attempt: Attempt, report: Report, seq: int | None, outcome: ReportOutcome
    ) -> None:
        if faults.armed:
            faults.here("agent.end.answered")
        worker = attempt.worker
        if worker is not None and seq is not None:
            worker.answer(Ack(attempt.slot, seq, outcome.outcome, outcome.message))
        if outcome.outcome == "refused" and seq is not None and not isinstance(report, Stopped):
            # A cancel came between: the runner ends now, and its end is what counts.
            log.info("%s: %s", attempt.run, outcome.message)
            attempt.reporting = False
            attempt.intent = attempt.intent or "cancel"
            if attempt.shared:
                self.conclude(attempt, None)
            elif attempt.stage == 0:
                attempt.stage, attempt.stop_at = 1, self._a.clock() + 1.0
            return
        if outcome.outcome == "stale_epoch" and not isinstance(report, Stopped):
            self.confirm(attempt)
        self.forget(attempt)

    def confirm(self, attempt: Attempt, *, killed: bool = False) -> None:
        """Its run goes on elsewhere, and may wait to hear that this one is certainly dead.

        Said when its process is gone; of a task that ended in a shared one at once, unless that
        process is being `killed` under it.
        """
        worker = attempt.worker
        ended = attempt.shared and not killed
        if worker is None or worker.gone or ended or not attempt.dispatched_at:
            self.confirmed(attempt.run, attempt.epoch)
        else:
            worker.over.append((attempt.run, attempt.epoch))

    def confirmed(self, run: str, epoch: int) -> None:
        """Tell that an attempt which is over elsewhere is certainly dead here."""
        self._a.send("", Stopped(run, epoch, "stale"), 0, lambda _outcome: None)

    def forget(self, attempt: Attempt) -> None:
        """It is over and told: free its place."""
        if attempt in self._a.superseded:
            self._a.superseded.discard(attempt)
        elif self._a.live.get(attempt.run) is attempt:
            del self._a.live[attempt.run]
        else:
            return
        self._a.finished += 1
        if attempt.dispatched_at:
            self._a.durations.add(self._a.clock() - attempt.dispatched_at)
        self._a.release(attempt)
        self._a.outputs.end(attempt)
        self._a.children.forget(attempt)
        self._a.journal.end(attempt)
        worker = attempt.worker
        if worker is not None:
            worker.slots.pop(attempt.slot, None)
            if not worker.gone and self._a.pool is not None:
                if not attempt.shared and attempt.dispatched_at:
                    self._loop.call_later(
                        EXIT_TIME, self._a.pool.kill, worker
                    )  # it exits by itself
                elif attempt.shared and worker.idle and not self._a.pool.is_current(worker):
                    self._a.pool.discard(worker)

    def conclude(self, attempt: Attempt, worker: Worker | None) -> None:
        """Without a deciding frame: the verdict from the evidence."""
        if attempt.reporting or not self._a.here(attempt):
            return
        ended, load_error, start_error, agent_error = None, None, "", ""
        if worker is not None:
            ended = worker.ended or Ended()
            if ended.tail and worker.redactor is not None:
                ended = Ended(
                    ended.exit_code, ended.oom, worker.redactor.text(ended.tail), ended.error
                )
            if worker.load_error:
                said = self.clean(worker, worker.load_error)
                load_error = replace(said, message=on_host(said.message, worker.plan))
            if not attempt.started:
                start_error, agent_error = worker.start_error, worker.agent_error
        neighbours = max(0, len(worker.slots) - 1) if worker is not None and attempt.slot else 0
        report = on_end(
            Evidence(
                attempt.run,
                attempt.epoch,
                attempt.started,
                attempt.intent,
                attempt.violation,
                ended,
                neighbours,
                load_error,
                start_error,
                agent_error,
                handed=attempt.sent_at > 0,
            )
        )
        if report is None:
            self.forget(attempt)
            return
        attempt.reporting = True
        self.report(attempt, report, 0, None)
