"""Strikes: requests that are dropped since answering them would write where the sender may not."""

from __future__ import annotations

import logging

log = logging.getLogger("headway.engine")


class Strikes:
    """Counts them, and says so at the first, the tenth, the hundredth ... of one door.

    A line for each would let whoever sends them fill the log.
    """

    def __init__(self, what: str) -> None:
        self._what, self._said = what, 1
        self.count = 0

    def add(self, subject: str, reply: str) -> None:
        """One more."""
        self.count += 1
        if self.count < self._said:
            return
        self._said *= 10
        log.warning(
            "%s whose reply is no inbox of its sender is not answered:"
            " subject=%s reply=%s so far=%d",
            self._what, subject[:200], reply[:200], self.count,
        )  # fmt: skip
