"""What agents report, in the words of the lifecycle: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.states import RunState
from headway.wire.reports import (
    AttemptFailed,
    AttemptLost,
    Finished,
    GivenBack,
    Report,
    ReportOutcome,
    Started,
    Stopped,
    Suspend,
)
from headway_engine import happenings as h

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway_engine.store.records import Outcome

OK = ReportOutcome("ok")
REVIEW = ReportOutcome("review")


def happening_of(report: Report, random: Callable[[], float]) -> h.Happening:
    """The happening that a report tells; `random` in [0, 1) is the jitter of a retry."""
    match report:
        case Finished():
            return h.Finished(
                report.epoch,
                report.result,
                report.ref,
                report.size,
                report.warning,
                report.lines,
                report.lines_lost,
                report.spans_lost,
            )
        case Started():
            return h.Started(
                report.epoch,
                report.container,
                report.host,
                report.cold,
                report.pool_wait_ms,
                report.resumed_from,
            )
        case AttemptFailed():
            return h.Failed(
                report.epoch,
                report.cause,
                report.error,
                report.retry,
                report.retry_in,
                report.retry_at,
                report.key,
                report.token,
                random(),
                report.evidence,
                report.exit_code,
                report.lines,
                report.waits,
                report.lines_lost,
                report.spans_lost,
            )
        case AttemptLost():
            return h.Lost(report.epoch, report.why, dead=True, evidence=report.evidence)
        case GivenBack():
            return h.GivenBack(report.epoch, report.why, report.fault)
        case Suspend():
            return h.Suspended(
                report.epoch, report.key, report.kind, report.fn, report.seconds, report.after
            )
        case Stopped():
            return h.Stopped(
                report.epoch, report.why, report.lines, report.lines_lost, report.spans_lost
            )


def outcome_of(report: Report, outcome: Outcome) -> ReportOutcome:
    """The answer to a report; a repeat is ok."""
    if outcome.outcome in ("ok", "already"):
        run = outcome.run
        if run is not None and run.state is RunState.REVIEW and isinstance(report, Finished):
            return REVIEW
        return OK
    return ReportOutcome(outcome.outcome, outcome.message)
