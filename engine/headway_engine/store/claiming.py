"""The rules of claims that all stores share, with no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.states import RunState
from headway_engine.happenings import Happening, VersionMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.rpc import MarkRecord, VersionInfo
    from headway_engine.store import ClaimAnswer
    from headway_engine.store.records import Run, Transition

MARKS_PAGE = 200
MARKS_BYTES = 400_000
"""A page of marks holds about so many bytes at most."""


def page(marks: Sequence[MarkRecord]) -> tuple[list[MarkRecord], bool]:
    """The first page of these, and whether there are more."""
    size = 0
    for i, mark in enumerate(marks[:MARKS_PAGE]):
        size += len(bytes(mark.value)) + 200
        if i and size > MARKS_BYTES:
            return list(marks[:i]), True
    return list(marks[:MARKS_PAGE]), len(marks) > MARKS_PAGE


def lacks_image(info: VersionInfo, images: frozenset[str] | None) -> bool:
    """Does the agent say that it does not have this version's image?"""
    return images is not None and bool(info.image) and info.image not in images


def refusal(
    t: Transition,
    run: Run,
    info: VersionInfo | None,
    images: frozenset[str] | None,
    dispatched: bool,
    paused: bool,
    queue_free: int,
    key_free: int,
    budget: dict[tuple[str, str], int],
    *,
    cancelled: bool = False,
) -> str:
    """Why a run may not start here and now; `` = it may. `t`: what `decide` said of the claim.

    `queue_free`, `key_free`: what the limits leave, -1 = no limit; `budget` counts within a batch.
    `cancelled`: its cancel was acknowledged before it was recorded (`Store.late_cancels`).
    """
    if t.run is None:
        return t.message
    if cancelled:
        return "it was cancelled before it was recorded"
    if info is None:
        return f"version {run.version or 'of task ' + run.task} is not registered"
    if not dispatched:
        return "it was not dispatched, or the dispatch is over"
    if paused:
        return f"queue {run.queue} is paused"
    if lacks_image(info, images):
        return f"this agent does not have the image of version {info.version}"
    limits = [
        (place, free)
        for place, free in (((run.queue, ""), queue_free), ((run.queue, run.limit_key), key_free))
        if free >= 0
    ]
    if any(budget.setdefault(place, free) <= 0 for place, free in limits):
        return f"the limit of queue {run.queue} is reached"
    for place, _ in limits:
        budget[place] -= 1
    return ""


def turn_away(
    answer: ClaimAnswer,
    missing: list[tuple[str, Happening]],
    run: Run,
    why: str,
    info: VersionInfo | None,
    images: frozenset[str] | None,
) -> bool:
    """Say that the run was refused; `missing` gets what is to be committed then.

    True if it still waits: its dispatch is over, and it comes again by another.
    """
    answer.refused.append((run.id, why))
    if run.state is not RunState.QUEUED:
        return False
    if info is None:
        missing.append((run.id, VersionMissing(run.version)))
    elif lacks_image(info, images):
        answer.imageless.append((run.id, run.queue, info.version, info.image))
    return True
