"""A run as scripts and checks see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from headway.texts import lasted

if TYPE_CHECKING:
    from headway.wire.runs import RunDetail


class RunView(Struct):
    """What `edit`, `select`, `check` and expectations may ask of a run."""

    id: str
    task: str
    status: str
    queue: str
    version: str
    tags: tuple[str, ...]
    checkpoints: int
    attempts: int
    error_class: str
    error: str
    duration: float | None
    """Seconds from its first start to its end."""
    cost_usd: float | None
    """None: the run told nothing of what it used."""


def view(detail: RunDetail) -> RunView:
    """The run's facts."""
    row = detail.row
    took = lasted(row, row.ended_at) if row.ended_at else None
    told = row.tokens_in or row.tokens_out or row.cost_usd
    return RunView(
        row.run, row.task, row.status, row.queue, row.version, row.tags, row.checkpoint,
        row.attempt, "" if row.error is None else row.error.type,
        "" if row.error is None else row.error.message, took,
        row.cost_usd if told else None,
    )  # fmt: skip
