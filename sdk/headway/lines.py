"""Line numbers of a run's output: which lines are missing, and which chunk came twice. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.texts import plural, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headway.wire.events import LogChunk


def missing_words(count: int, chunk: LogChunk) -> str:
    """What is said of lines that are missing before a chunk: how many, and why.

    Those that are not said to be dropped were lost on the way, or LOGS keeps them no more.
    """
    words = f"{plural(count, 'line')} missing"
    if not chunk.dropped:
        return f"{words}: not in LOGS"
    some = f"{chunk.dropped:,} " if chunk.dropped < count else ""
    rate = f", {size(chunk.limit)}/s" if chunk.limit else ""
    return f"{words}: {some}over the agent's log_rate{rate}"


class LineNumbers:
    """Follows the chunks of a run in the order in which they are stored."""

    def __init__(self, known: Mapping[int, int] | None = None) -> None:
        """`known`: by epoch, how many lines came before."""
        self.next = {epoch: lines + 1 for epoch, lines in (known or {}).items()}
        """By epoch, the number of the line that is expected."""
        self._oldest = max(self.next, default=0)
        """Attempts before this one that are not known were left out on purpose."""

    def missing(self, epoch: int, chunk: LogChunk) -> int | None:
        """How many lines are missing before this chunk; None = it is older than what is known.

        An agent whose link was away sends the chunks of the last seconds once more, as they were.
        """
        expected = self.next.get(epoch, 1)
        end = chunk.first + len(chunk.lines)
        if chunk.lines and end <= expected:
            return None
        if epoch < self._oldest and epoch not in self.next:
            return None
        self.next[epoch] = max(expected, end)
        return max(0, chunk.first - expected)
