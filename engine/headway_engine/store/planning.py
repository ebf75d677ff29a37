"""What a plan has to know of a run, decided with no I/O: the same for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.forks import check_start, choose
from headway.wire.replays import Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.forks import Failure
    from headway.wire.runs import CheckpointRow


class Needs(NamedTuple):
    """What has to be read to tell which checkpoint is meant."""

    checkpoints: bool
    last_alone: bool
    """Of the checkpoints: the last one is enough."""
    failures: bool


def needs_of(start: str) -> Needs:
    """By how the start is written. Raises Refused for a word that means nothing."""
    check_start(start)
    return Needs(start != "start", start == "last", start == "before-error")


def source_of(
    run: str,
    status: str,
    start: str,
    kept: Sequence[CheckpointRow],
    failures: Sequence[Failure],
    once: tuple[str, ...],
    job: str,
    seconds: float = 0.0,
    since: datetime | None = None,
) -> Source:
    """The run as a plan sees it; a fork chooses its checkpoint by the same rule."""
    point = choose(start, kept, failures)
    number = 0 if point is None else point.number
    return Source(run, status, number, once, job, seconds=seconds, since=since)


def took(started: datetime | None, ended: datetime | None) -> float:
    """Seconds from the first start to the end; 0 if one of them is not there."""
    return 0.0 if started is None or ended is None else (ended - started).total_seconds()
