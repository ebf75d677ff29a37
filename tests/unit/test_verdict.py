"""From evidence to report: the table of ends, without any process."""

from __future__ import annotations

import pytest
from msgspec import Raw

from headway.wire import ErrorInfo
from headway.wire.frames import Fail, Finish, Wait
from headway.wire.reports import AttemptFailed, AttemptLost, Finished, GivenBack, Stopped, Suspend
from headway_engine.agent.verdict import Ended, Evidence, on_end, on_frame

RUN = "01M83P4EF3FNJ8QB0D4SR9RT95"


def evidence(**facts: object) -> Evidence:
    return Evidence(RUN, 2, **({"started": True} | facts))  # pyright: ignore[reportArgumentType]  # fields by name


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        (Ended(0), "crash"),
        (Ended(1), "crash"),
        (Ended(139, tail="Segmentation fault"), "crash"),
        (Ended(134), "crash"),
        (Ended(137, oom=True), "oom"),
    ],
)
def test_an_end_without_a_result_is_charged_to_the_task(ended: Ended, cause: str):
    report = on_end(evidence(ended=ended))
    assert isinstance(report, AttemptFailed)
    assert (report.cause, report.exit_code) == (cause, ended.exit_code)


@pytest.mark.parametrize("code", [None, 75, 129, 130, 137, 143])
def test_an_end_from_outside_is_lost_and_charged_to_nobody(code: int | None):
    assert isinstance(on_end(evidence(ended=Ended(code))), AttemptLost)


def test_oom_alone_proves_nothing():
    report = on_end(evidence(ended=Ended(0, oom=True)))
    assert isinstance(report, AttemptFailed)
    assert report.cause == "crash"


def test_of_a_stale_attempt_only_its_confirmed_end_is_told():
    gone = Stopped(RUN, 2, "stale")
    assert on_end(evidence(ended=Ended(87))) == gone
    assert on_end(evidence(ended=Ended(0), intent="stale")) == gone
    assert on_frame(evidence(intent="stale"), Finish(1, 1), exits=True) is None
    assert on_frame(evidence(intent="stale"), Finish(1, 1)) == gone


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("code", [0, 1, 137, 143, None])
def test_after_a_cancel_only_the_confirmed_end_counts(code: int | None, started: bool):
    report = on_end(evidence(intent="cancel", ended=Ended(code), started=started))
    assert report == Stopped(RUN, 2, "cancel")
    assert on_frame(evidence(intent="cancel"), Finish(1, 1), exits=True) is None
    assert on_frame(evidence(intent="cancel"), Finish(1, 1)) == Stopped(RUN, 2, "cancel")


def test_timeout_is_final_unless_the_task_said_otherwise():
    report = on_end(evidence(intent="timeout", ended=Ended(137)))
    assert isinstance(report, AttemptFailed)
    assert (report.cause, report.retry) == ("timeout", False)
    frame = Fail(1, 1, "timeout", ErrorInfo("TimeoutError"), retry=True)
    report = on_frame(evidence(intent="timeout"), frame)
    assert isinstance(report, AttemptFailed)
    assert (report.cause, report.retry) == ("timeout", True)


def test_a_result_that_came_before_the_drain_counts():
    report = on_frame(evidence(intent="drain"), Finish(1, 1, Raw(b"1"), size=1), exits=True)
    assert isinstance(report, Finished)
    cancelled = Fail(1, 1, "cancelled", ErrorInfo("CancelledError"))
    assert on_frame(evidence(intent="drain"), cancelled, exits=True) is None
    assert on_end(evidence(intent="drain", ended=Ended(1))) == Stopped(RUN, 2, "drain")


def test_a_task_that_cancels_itself_has_failed():
    report = on_frame(evidence(), Fail(1, 1, "cancelled", ErrorInfo("CancelledError")))
    assert isinstance(report, AttemptFailed)
    assert report.cause == "error"


def test_who_is_stopped_by_the_daemon_or_the_host_is_lost_and_has_not_failed():
    stopped = Fail(1, 1, "cancelled", ErrorInfo("CancelledError"))
    outside = evidence(intent="outside")
    report = on_frame(outside, stopped)
    assert isinstance(report, AttemptLost)
    assert "SIGTERM" in report.why
    assert on_frame(outside, stopped, exits=True) is None, "its process goes too: that is awaited"
    for code in (1, 137, None):
        report = on_end(evidence(intent="outside", ended=Ended(code)))
        assert isinstance(report, AttemptLost)
    done = on_frame(outside, Finish(1, 1, Raw(b"1"), size=1))
    assert isinstance(done, Finished), "what ends in time counts"


def test_a_wait_suspends():
    report = on_frame(evidence(), Wait(1, 1, "nap", "sleep", seconds=90.0, after=3))
    assert report == Suspend(RUN, 2, "nap", "sleep", "", 90.0, 3)


def test_what_never_started_is_given_back_and_charged_to_the_agent_first():
    report = on_end(evidence(started=False, ended=Ended(137)))
    assert isinstance(report, GivenBack)
    assert report.fault == "agent"
    drained = on_end(evidence(started=False, intent="drain"))
    assert isinstance(drained, GivenBack)
    assert drained.fault == ""


def test_code_that_ran_but_could_not_say_so_has_crashed():
    report = on_end(evidence(started=False, handed=True, ended=Ended(0)))
    assert isinstance(report, AttemptFailed)
    assert report.cause == "crash"


@pytest.mark.parametrize(
    "facts",
    [
        {"load_error": ErrorInfo("ImportError", "no module")},
        {"start_error": "exec: python3: not found"},
        {"ended": Ended(127)},
        {"ended": Ended(126)},
    ],
)
def test_an_image_that_cannot_start_is_not_retried(facts: dict[str, object]):
    report = on_end(evidence(started=False, **facts))
    assert isinstance(report, AttemptFailed)
    assert (report.cause, report.retry) == ("image", False)


def test_a_violation_is_the_attempts_failure():
    report = on_end(evidence(violation="a second hello", ended=Ended(137)))
    assert isinstance(report, AttemptFailed)
    assert report.cause == "violation"


@pytest.mark.parametrize("code", [0, 1, 139, 137])
def test_neighbours_in_a_shared_worker_are_not_charged_for_its_end(code: int):
    assert isinstance(on_end(evidence(neighbours=3, ended=Ended(code))), AttemptLost)
    assert isinstance(on_end(evidence(intent="recycle", ended=Ended(code))), AttemptLost)
