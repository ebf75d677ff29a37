"""What happened to an attempt: from the evidence to the report; pure.

The order of evidence: the last frame, then what we meant to do (a cancel, a timeout, a drain), then
the process's end. An exit code alone proves nothing, "killed for memory" alone neither.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from headway.wire import BlobRef, ErrorInfo
from headway.wire.frames import EXIT_ORPHAN, EXIT_STALE, Fail, Finish, Wait
from headway.wire.reports import (
    AttemptFailed,
    AttemptLost,
    Finished,
    GivenBack,
    Report,
    Stopped,
    Suspend,
)

OUTSIDE = {129: "SIGHUP", 130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM"}
"""Signals that a task does not send to itself: somebody else ended it."""
ASKED = "asked to end from outside by SIGTERM"
SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV", 31: "SIGSYS"}


class Ended(Struct, frozen=True):
    """How the process ended. `exit_code` None = nobody knows."""

    exit_code: int | None = None
    oom: bool = False
    tail: str = ""
    error: str = ""


class Evidence(Struct, frozen=True):
    """All that is known of one attempt at its end."""

    run: str
    epoch: int
    started: bool = False
    intent: str = ""
    """cancel | drain | timeout | stale | recycle | outside: recorded before anything was killed."""
    violation: str = ""
    """What this attempt did on its channel that nobody may."""
    ended: Ended | None = None
    """None while the process lives (a frame decided)."""
    neighbours: int = 0
    """Other attempts in the same process: then its end is nobody's fault in particular."""
    load_error: ErrorInfo | None = None
    """The user's module could not be imported."""
    start_error: str = ""
    """The container could not be started: the image's fault."""
    agent_error: str = ""
    """The container could not be started: this agent's fault."""
    handed: bool = False
    """Its run frame went to a loaded runner: user code may have begun before it could say so."""


def on_frame(
    e: Evidence, frame: Finish | Fail | Wait, ref: BlobRef | None = None, exits: bool = False
) -> Report | None:
    """The report that a terminal frame makes; None = not yet, or never.

    After a cancel, and of a stale attempt, nothing but the confirmed end counts: with `exits` (the
    process ends with the attempt) the report waits for it.
    """
    run, epoch = e.run, e.epoch
    if e.intent == "stale":
        return None if exits else Stopped(run, epoch, "stale")
    if e.intent == "cancel":
        return None if exits else Stopped(run, epoch, "cancel")
    if isinstance(frame, Finish):
        return Finished(run, epoch, frame.result, ref, frame.size, frame.sha256)
    if isinstance(frame, Wait):
        # The channel takes any word; the report's decoder on the other side refuses bad ones.
        kind = frame.kind if frame.kind in ("sleep", "wait", "call") else "wait"
        return Suspend(run, epoch, frame.key, kind, frame.fn, frame.seconds, frame.after)
    if frame.cause == "cancelled" and e.intent in ("drain", "recycle"):
        return None if exits else Stopped(run, epoch, "drain")
    if frame.cause == "cancelled" and e.intent == "outside":
        return None if exits else AttemptLost(run, epoch, ASKED, _evidence(e, Ended()))
    cause = frame.cause
    if e.intent == "timeout" or cause == "timeout":
        cause = "timeout"
    elif cause == "cancelled":
        cause = "error"  # its runner says so of itself, and nobody has asked it to
    return AttemptFailed(
        run,
        epoch,
        cause,
        frame.error,
        retry_in=frame.retry_in,
        retry_at=frame.retry_at,
        retry=frame.retry,
        key=frame.key,
        token=frame.token,
        evidence="frame",
        waits=frame.waits,
    )


def on_end(e: Evidence) -> Report | None:
    """The report of an attempt whose process is gone, or never came, without a deciding frame.

    Of a stale one too: a run may wait to hear that its older attempt is certainly dead.
    """
    run, epoch = e.run, e.epoch
    if e.intent == "stale":
        return Stopped(run, epoch, "stale")
    if e.intent == "cancel":
        return Stopped(run, epoch, "cancel")
    end = e.ended or Ended()
    evidence = _evidence(e, end)
    if e.load_error is not None:
        return AttemptFailed(
            run, epoch, "image", e.load_error, end.exit_code, retry=False, evidence=evidence
        )
    if e.start_error:
        error = ErrorInfo("CannotStart", e.start_error)
        return AttemptFailed(run, epoch, "image", error, retry=False, evidence=evidence)
    if e.agent_error:
        return GivenBack(run, epoch, e.agent_error, fault="agent")
    if e.violation:
        error = ErrorInfo("ChannelViolation", e.violation)
        return AttemptFailed(run, epoch, "violation", error, end.exit_code, evidence=evidence)
    if not e.started:
        return _unstarted(e, end, evidence)
    if e.intent == "timeout":
        error = ErrorInfo("TimeoutError", "the attempt took longer than the task's timeout")
        return AttemptFailed(
            run, epoch, "timeout", error, end.exit_code, retry=False, evidence=evidence
        )
    if e.intent == "drain":
        return Stopped(run, epoch, "drain")
    return _of_code(e, end, evidence)


def _unstarted(e: Evidence, end: Ended, evidence: str) -> Report | None:
    if end.oom and end.exit_code == 137:
        return _oom(e, end, evidence)
    if end.exit_code in (126, 127):
        error = ErrorInfo("CannotStart", f"the image's command failed with code {end.exit_code}")
        return AttemptFailed(
            e.run, e.epoch, "image", error, end.exit_code, retry=False, evidence=evidence
        )
    if e.handed and not e.intent and end.exit_code is not None and end.exit_code not in OUTSIDE:
        return _of_code(e, end, evidence)
    why = "the agent stops" if e.intent == "drain" else "its container ended before it started"
    fault = "" if e.intent in ("drain", "recycle") else "agent"
    return GivenBack(e.run, e.epoch, why, fault=fault)


def _of_code(e: Evidence, end: Ended, evidence: str) -> Report | None:
    run, epoch, code = e.run, e.epoch, end.exit_code
    if e.intent == "outside":
        return AttemptLost(run, epoch, ASKED, evidence)
    if e.intent == "recycle":
        return AttemptLost(run, epoch, "the shared worker was recycled", evidence)
    if code is None:
        return AttemptLost(run, epoch, "its container is gone", evidence)
    if code == EXIT_STALE and not e.neighbours:
        return Stopped(run, epoch, "stale")
    if code == EXIT_ORPHAN:
        return AttemptLost(run, epoch, "no agent took it over in time", evidence)
    if e.neighbours:
        return AttemptLost(run, epoch, f"the shared worker ended with code {code}", evidence)
    if end.oom and code == 137:
        return _oom(e, end, evidence)
    if code in OUTSIDE:
        return AttemptLost(run, epoch, f"ended from outside by {OUTSIDE[code]}", evidence)
    if code == 0:
        message = "the process ended without a result"
    elif code > 128:
        message = f"the process was ended by {SIGNALS.get(code - 128, f'signal {code - 128}')}"
    else:
        message = f"the process exited with code {code}"
    return AttemptFailed(
        run, epoch, "crash", ErrorInfo("Crashed", message, end.tail), code, evidence=evidence
    )


def _oom(e: Evidence, end: Ended, evidence: str) -> AttemptFailed:
    error = ErrorInfo("OutOfMemory", "the container went over its memory limit", end.tail)
    return AttemptFailed(e.run, e.epoch, "oom", error, end.exit_code, evidence=evidence)


def _evidence(e: Evidence, end: Ended) -> str:
    facts = {
        "intent": e.intent or None,
        "exit_code": end.exit_code,
        "oom": end.oom or None,
        "neighbours": e.neighbours or None,
        "started": e.started,
    }
    return msgspec.json.encode({k: v for k, v in facts.items() if v is not None}).decode()
