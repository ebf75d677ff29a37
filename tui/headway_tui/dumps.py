"""A dump of what observers see, as `headway watch --dump` writes it, read for a play.

It has a line for each event (as `headway watch --json` prints them), each chunk of output (as
`headway logs --json` does), each chunk of spans, and each saved state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Raw, Struct

from headway.errors import HeadwayError
from headway.ids import is_run_id
from headway.wire import NOTHING, Malformed, decode, decoder
from headway.wire.events import Event, LogChunk, SpanChunk
from headway.wire.runs import CheckpointRow

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


class BadDump(HeadwayError):
    """A dump of events that cannot be played."""

    code = "bad_dump"


class Line(Struct, omit_defaults=True):
    """A line of a dump: one of the four, about a run."""

    run: str
    task: str = ""
    event: Event | None = None
    attempt: int = 0
    chunk: LogChunk | None = None
    spans: SpanChunk | None = None
    checkpoint: CheckpointRow | None = None
    state: Raw = NOTHING
    """Of that checkpoint."""


class Moment(NamedTuple):
    """One thing that happened."""

    at: datetime
    line: Line


_LINE = decoder(Line)


def read(path: Path) -> list[Moment]:
    """All of a dump, in the order of time. Raises BadDump with the line and what is wrong."""
    found: list[Moment] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.append(_moment(line, f"{path}:{number}"))
    except OSError as e:
        raise BadDump(f"{path} cannot be read: {e.strerror or e}") from None
    if not found:
        raise BadDump(f"{path} holds no event: `headway watch --dump > {path}` writes them")
    # A state is there when its event tells of it. Else lines of one moment stay as they are:
    # events of a run are in their order.
    return sorted(found, key=lambda m: (m.at, m.line.checkpoint is None))


def _moment(line: bytes, where: str) -> Moment:
    try:
        told = decode(_LINE, line)
    except Malformed as e:
        raise BadDump(f"{where}: {e}; lines are as `headway watch --dump` prints them") from None
    about = told.event or told.chunk or told.spans or told.checkpoint
    if about is None or not is_run_id(told.run):
        raise BadDump(
            f'{where}: a run\'s id and an "event", a "chunk", "spans" or a "checkpoint" are'
            " expected, as `headway watch --dump` prints them"
        )
    return Moment(about.at, told)
