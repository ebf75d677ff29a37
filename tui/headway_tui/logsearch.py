"""A search through a run's stored output, page by page, from where memory ends.

One page is in memory at a time, and one request under way; whoever cancels it, ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.texts import clock
from headway.wire import Malformed, decode
from headway.wire.events import LOG_CHUNK
from headway.wire.runs import LogsAsk, LogsPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway_tui.link import Link

PAGE = 1000
"""Chunks of a page; the engine gives fewer where they are large."""


class Stored(NamedTuple):
    """The chunk that has what was looked for."""

    seq: int
    """Its sequence in the stream."""
    step: int
    """-1: it was looked for backwards, so its last hit is meant; +1: its first."""
    lines: int
    """So many were looked at."""


async def find_stored(
    link: Link, run: str, test: Callable[[str], bool], seq: int, step: int,
    told: Callable[[int, str], None],
) -> Stored | None:  # fmt: skip
    """The next chunk before (`step` -1) or after (+1) a sequence with a line that passes.

    `told` hears after each page how many lines were looked at, and the time of the last one.
    Raises HeadwayError.
    """
    looked, at = 0, ""
    while True:
        ask = LogsAsk(run, before=seq, n=PAGE) if step < 0 else LogsAsk(run, after=seq, n=PAGE)
        page = await link.ask("logs", ask, LogsPage)
        for one in page.logs[::step]:
            seq = one.seq
            try:
                chunk = decode(LOG_CHUNK, bytes(one.chunk))
            except Malformed:
                continue
            looked, at = looked + len(chunk.lines), clock(chunk.at)
            if any(map(test, chunk.lines)):
                return Stored(seq, step, looked)
        if not page.more or not page.logs:
            return None
        told(looked, at)
