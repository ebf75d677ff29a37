"""Output that NATS may not have: of the last seconds, and all of an outage. No I/O."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KEEP_FOR = 5.0
"""Seconds: LOGS writes a little after it has taken a chunk, and a link may have swallowed more."""
KEEP_BYTES = 8 * 1024 * 1024
"""Of the output of all attempts; of a longer outage the oldest lines are a gap that is said."""


class Resend:
    """Messages in their order, to be sent once more after the link was away.

    Readers know a chunk that they have by its line numbers, so that more than was lost may come.
    What an agent holds here is gone with it: the lines are a gap then.
    """

    def __init__(
        self, clock: Callable[[], float], seconds: float = KEEP_FOR, limit: int = KEEP_BYTES
    ) -> None:
        """`clock`: monotonic seconds."""
        self._clock, self._seconds, self._limit = clock, seconds, limit
        self._kept: deque[tuple[float, str, bytes]] = deque()
        self._bytes = 0
        self._first = 0
        """Number of the oldest that is kept, counted from the beginning."""
        self._next = 0
        """Number of the next one to be sent, while `away`."""
        self.away = False
        """The link was lost, or what it cost is being sent again: everything goes through `take`,
        in order, and nothing ages."""

    def add(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """These are about to be sent, or would be if there were a link."""
        now = self._clock()
        for subject, body in messages:
            self._kept.append((now, subject, body))
            self._bytes += len(subject) + len(body)
        oldest = float("-inf") if self.away else now - self._seconds
        while self._kept and (self._bytes > self._limit or self._kept[0][0] < oldest):
            _, subject, body = self._kept.popleft()
            self._bytes -= len(subject) + len(body)
            self._first += 1

    def lost(self) -> None:
        """The link is gone: all that is kept is to be sent again."""
        self.away, self._next = True, 0

    def take(self, most: int = 256) -> list[tuple[str, bytes]]:
        """The next to be sent again, the link being back; none = that was all, as before now.

        What was sent is kept for another outage.
        """
        start = max(self._next, self._first) - self._first
        found = [(subject, body) for _, subject, body in islice(self._kept, start, start + most)]
        self._next = self._first + start + len(found)
        self.away = bool(found)
        return found
