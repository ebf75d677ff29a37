"""What a replay job does next: pure. The store counts, `jobs.py` carries it out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from headway.ids import derived_run_id
from headway.wire.replays import JobRow, Pace, Plan, PlanItem

LIVE = ("running", "canary")
"""States in which a job moves by itself. The others are looked at while forks of theirs run."""
OPEN = ("running", "canary", "held")
"""States that are not the end."""
BURST = 1.0
"""Seconds of pace that may be given out at once after a pause."""


class PlanHead(Plan, frozen=True):
    """A plan without its items: a store keeps those apart."""

    items: tuple[PlanItem, ...] = ()


def head_of(plan: Plan) -> PlanHead:
    """All of the plan but its items."""
    return PlanHead(**{f: getattr(plan, f) for f in plan.__struct_fields__ if f != "items"})


class JobFacts(Struct):
    """What an engine that holds a job knows of it."""

    row: JobRow
    pace: Pace
    paced_at: datetime
    latest: list[str]
    """Statuses of the last ends, newest first, as many as `stop_after_failures`."""
    canary_open: int
    """Items of the canary that have not ended."""


class Decision(NamedTuple):
    """What to do in this pass."""

    start: int = 0
    """Items to start now."""
    upto: int = 0
    """None with a number above this."""
    state: str = ""
    """The job's new state; empty = it stays."""
    reason: str = ""


def decide(facts: JobFacts, now: datetime) -> Decision:
    """The next move of a job that an engine holds."""
    row, pace = facts.row, facts.pace
    if row.state not in LIVE:
        return Decision()  # its forks are only seen to their ends
    if not row.waiting and not row.running:
        return Decision(state="done")
    streak = pace.stop_after_failures
    in_a_row = len(facts.latest) >= streak and all(s != "succeeded" for s in facts.latest[:streak])
    if streak and row.waiting and in_a_row:
        return Decision(state="stopped", reason=f"{streak} failures in a row")
    if pace.timeout and row.waiting and now >= row.at + timedelta(seconds=pace.timeout):
        return Decision(state="stopped", reason=f"its timeout of {pace.timeout:g} s is over")
    gated = 0 < pace.canary < row.items and not row.approved
    if row.state == "canary":
        return Decision()  # what runs is only looked at; a person decides
    if gated and not facts.canary_open:
        return Decision(state="canary", reason=f"the canary of {pace.canary} has ended: approve?")
    elapsed = min(max(0.0, (now - facts.paced_at).total_seconds()), max(BURST, 1 / pace.rate))
    room = min(pace.max_in_flight - row.running, int(elapsed * pace.rate + 1e-6), row.waiting)
    return Decision(max(0, room), pace.canary if gated else row.items)


def paced(facts: JobFacts, started: int, now: datetime) -> datetime:
    """Until when the pace is used up after so many starts."""
    oldest = now - timedelta(seconds=max(BURST, 1 / facts.pace.rate))
    return max(facts.paced_at, oldest) + timedelta(seconds=started / facts.pace.rate)


def job_id(plan: str) -> str:
    """The id of the one job of a plan."""
    return f"rj_{plan[:12]}"


def moves_only(plan: Plan) -> bool:
    """An item of this plan has ended as soon as its run was moved."""
    return plan.mode in ("cancel", "ack", "tag") or (plan.mode == "resume" and not plan.follow)


def fork_id(at: datetime, plan: str, run: str, mode: str = "fork") -> str:
    """The id of an item's fork: the same however often, and by whichever engine, it is made.

    A run that is resumed, cancelled, acknowledged or tagged stays itself.
    """
    return run if mode != "fork" else derived_run_id(int(at.timestamp() * 1000), plan, run)
