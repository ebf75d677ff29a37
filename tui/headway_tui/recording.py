"""`--record-tty`: what the console writes to its terminal, as an asciicast (version 2) file.

A line for each write, so that a console that crashed leaves a file that can be played up to there.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.driver import Driver


class Cast:
    """One recording."""

    def __init__(
        self, path: Path, size: tuple[int, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin it. Raises OSError, also where the file is there: nothing is written over."""
        # What is on the screen may be for few eyes.
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(made, "w", encoding="utf-8", buffering=1)
        self._clock, self._begun = clock, clock()
        self._size = size
        head = {
            "version": 2, "width": size[0], "height": size[1], "timestamp": int(time.time()),
            "title": "headway tui", "env": {"TERM": os.environ.get("TERM", "")},
        }  # fmt: skip
        self._line(head)

    def output(self, data: str) -> None:
        """The console wrote this."""
        self._line([round(self._clock() - self._begun, 6), "o", data])

    def resized(self, size: tuple[int, int]) -> None:
        """The terminal has another size."""
        if size != self._size:
            self._size = size
            self._line([round(self._clock() - self._begun, 6), "r", f"{size[0]}x{size[1]}"])

    def _line(self, what: object) -> None:
        if not self._file.closed:
            # Lone surrogates have no UTF-8; the escape of JSON has them.
            self._file.write(json.dumps(what) + "\n")

    def close(self) -> None:
        """End it."""
        self._file.close()


def recorded(driver: type[Driver], cast: Cast) -> type[Driver]:
    """The same driver, with all that it writes in the recording too."""
    kind: Any = driver

    class Recorded(kind):
        def write(self, data: str) -> None:
            cast.output(data)
            super().write(data)

    return Recorded
