"""I22: the open attempts of a queue, and of each of its keys, never passed the limit. Pure.

Limits are not kept over time, so only what came after the last change of the queue's settings is
looked at; what was open by then is not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway_ops.verify.facts import OPEN
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator


class Opening(NamedTuple):
    """An event that opened or closed an attempt."""

    run: str
    n: int
    source: str
    target: str
    limit_key: str = ""


class Count:
    """The open attempts of one queue, event by event."""

    def __init__(self, queue: str, run_limit: int, key_limit: int) -> None:
        self.queue, self.run_limit, self.key_limit = queue, run_limit, key_limit
        self.open: dict[str, str] = {}
        """Run to its key."""
        self._keys: dict[str, int] = {}

    def pass_by(self, e: Opening) -> Iterator[Violation]:
        """One more event, in the order of time."""
        if e.target not in OPEN:
            if (key := self.open.pop(e.run, None)) is not None:
                self._keys[key] -= 1
            return
        self.open[e.run] = e.limit_key
        self._keys[e.limit_key] = self._keys.get(e.limit_key, 0) + 1
        if self.run_limit and len(self.open) > self.run_limit:
            yield Violation("I22", e.run, f"the {len(self.open)}th open attempt of queue"
                            f" {self.queue}, whose limit is {self.run_limit}", e.n)  # fmt: skip
        keyed = self._keys[e.limit_key]
        if self.key_limit and e.limit_key and keyed > self.key_limit:
            yield Violation("I22", e.run, f"the {keyed}th open attempt of key {e.limit_key!r} in"
                            f" queue {self.queue}, whose limit is {self.key_limit}",
                            e.n)  # fmt: skip
