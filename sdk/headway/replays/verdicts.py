"""A fork judged by what was expected of it: pure, but for an operator's own `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from headway.replays.expect import Unknown, holds
from headway.wire.replays import Check, JobDetail, JobItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.replays.runs import RunView

DEFAULT = (Check("status == 'succeeded'"),)
"""What is expected where a plan expects nothing."""

Verdict = Literal["ok", "warn", "fail", "open"]


class Judged(Struct):
    """One item with its verdict."""

    item: JobItem
    verdict: Verdict
    reasons: list[str] = []
    seconds: float = 0.0
    was: str = ""
    """How the original ended; empty where the run itself went on."""
    cells: list[Verdict] = []
    """What each of the report's checks said."""


class JobReport(Struct):
    """A job, judged."""

    detail: JobDetail
    items: list[Judged]
    checks: list[str]
    """What was looked at, in words: the columns of a matrix of runs and checks."""
    failed: int
    green: bool
    """No more failed than the gate allows, and the job was not stopped."""


def judged(
    item: JobItem,
    original: RunView,
    fork: RunView,
    checks: Sequence[Check],
    check: Callable[..., Any] | None = None,
) -> Judged:
    """The verdict on a fork that has ended: pure, but for an operator's own `check`."""
    cells: list[Verdict] = []
    bad: list[str] = []
    warned: list[str] = []
    for one in checks:
        why = ""
        try:
            if not holds(one.expect, original, fork):
                why = f"not as expected: {one.expect}"
        except Unknown as e:
            why = f"{one.expect}: {e}"
        cells.append("ok" if not why else one.severity)
        if why:
            (bad if one.severity == "fail" else warned).append(why)
    if check is not None:
        try:
            answer = check(original, fork)
        except Exception as e:  # an operator's own code
            answer = f"check: {type(e).__name__}: {e}"
        if answer is not None:
            bad.append(str(answer))
        cells.append("ok" if answer is None else "fail")
    verdict: Verdict = "fail" if bad else "warn" if warned else "ok"
    was = f"{original.status} {original.error_class}".strip() if item.fork != item.run else ""
    return Judged(item, verdict, bad + warned, fork.duration or 0.0, was, cells)
