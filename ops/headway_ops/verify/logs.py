"""I20: line numbers of an attempt grow, and what was dropped is said. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway.wire.events import LogChunk
    from headway_ops.verify.report import Report


class Lines:
    """What was seen of the output of all attempts."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], int] = {}
        self.lost = 0
        """Lines that no chunk holds and no chunk says to be dropped: seen as a gap by readers."""

    def chunk(self, run: str, epoch: int, c: LogChunk, report: Report) -> Iterator[Violation]:
        """One more chunk, in the order of the stream."""
        report.count("I20")
        last = self._last.get((run, epoch), 0)
        end = c.first + len(c.lines) - 1
        if end <= last and c.lines:
            return  # the same once more
        if c.first <= last and c.lines:
            yield Violation("I20", run, f"line {c.first} came after line {last}", 0, epoch)
        gap = c.first - 1 - last
        if c.dropped > max(gap, 0):
            yield Violation("I20", run, f"{c.dropped} lines are said to be dropped before line"
                            f" {c.first}, {max(gap, 0)} are missing there", 0,
                            epoch)  # fmt: skip
        else:
            self.lost += max(0, gap) - c.dropped
        self._last[run, epoch] = max(last, end)
