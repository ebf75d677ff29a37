"""Line numbers of a run's output: which lines are missing, and which chunk came twice. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headway.wire.events import LogChunk


class LineNumbers:
    """Follows the chunks of a run in the order in which they are stored."""

    def __init__(self, known: Mapping[int, int] | None = None) -> None:
        """`known`: by epoch, how many lines came before."""
        self.next = {epoch: lines + 1 for epoch, lines in (known or {}).items()}
        """By epoch, the number of the line that is expected."""

    def missing(self, epoch: int, chunk: LogChunk) -> int | None:
        """How many lines are missing before this chunk; None = it has come before.

        An agent whose link was away sends the chunks of the last seconds once more, as they were.
        """
        expected = self.next.get(epoch, 1)
        end = chunk.first + len(chunk.lines)
        if chunk.lines and end <= expected:
            return None
        self.next[epoch] = max(expected, end)
        return max(0, chunk.first - expected)
