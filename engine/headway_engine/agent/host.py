"""How busy the agent's host is: of the whole machine, not of the agent alone."""

from __future__ import annotations

import contextlib

import psutil


class Host:
    """Numbers of the time between two looks."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            psutil.cpu_percent()  # the first one has nothing to compare with
        self._busy: float | None = None
        self._looks = 0
        self.memory = self.memory_total = 0
        """Bytes in use, and bytes there are."""

    def look(self) -> None:
        """Look now; takes well below a millisecond.

        Where it cannot (no file descriptor is free) the numbers stay: they are for the eyes alone.
        """
        try:
            busy = psutil.cpu_percent() / 100
            memory = psutil.virtual_memory()
        except OSError:
            return
        self._looks += 1
        self._busy = round(min(1.0, busy), 3) if self._looks > 1 else None
        self.memory, self.memory_total = int(memory.total - memory.available), int(memory.total)

    def cpu(self) -> float | None:
        """How busy all cores together were, 0 to 1; None = there was one look only."""
        return self._busy
