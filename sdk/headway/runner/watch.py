"""The one thread beside user code: pings and overdue cancels while user code blocks the loop.

Once a second, while a run is in progress, it asks the loop for a sign of life, the first time a
quarter of a second after the run's start. If none comes, it
reads the channel itself: a `ping` is answered with the loop's delay, a `cancel` starts its clock,
everything else is handed to the loop for later.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from headway.wire.frames import EXIT_ORPHAN, Cancel, Ping, Pong

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from headway.channel import Conn

PERIOD = 1.0
BLOCKED_PERIOD = 0.25
EXIT_OVERDUE = 143


class Watch:
    """Started once; `busy` and `idle` say whether there is something to watch."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, conn: Callable[[], Conn | None], *, die: bool
    ) -> None:
        self._loop, self._conn = loop, conn
        self.die = die
        """End the process when a cancelled run is still there after its grace (isolation run)."""
        self.stderr = 2
        self._busy = threading.Event()
        self._asked = self._seen = 0.0
        self.orphan_after = 300.0
        self._overdue_at: float | None = None
        self._lost_at: float | None = None
        threading.Thread(target=self._run, name="headway-watch", daemon=True).start()

    def busy(self) -> None:
        """Something is in progress."""
        self._busy.set()

    def idle(self) -> None:
        """Nothing is in progress."""
        self._busy.clear()
        self._overdue_at = None

    def stopping(self, grace: float) -> None:
        """A cancel has come: the run must be gone after `grace` and a little."""
        if self._overdue_at is None:
            self._overdue_at = time.monotonic() + grace + 0.5

    def _seen_alive(self) -> None:
        self._seen = time.monotonic()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            # A short run is over by then: it is not disturbed by a second thread.
            time.sleep(BLOCKED_PERIOD)
            self._asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._seen_alive)
            except RuntimeError:
                return  # the loop is closed: the process ends
            time.sleep(PERIOD)
            while self._seen < self._asked and self._busy.is_set():
                self._serve(self._conn())
                self._check()
                time.sleep(BLOCKED_PERIOD)
            self._lost_at = None
            self._check()

    def _serve(self, conn: Conn | None) -> None:
        """Stand in for the blocked loop."""
        alive = conn is not None and conn.serve_from_thread(lambda f: self._answer(conn, f))
        now = time.monotonic()
        if alive:
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = now
        elif now - self._lost_at > self.orphan_after:
            os._exit(EXIT_ORPHAN)  # the loop would dial again, but it never gets to it

    def _answer(self, conn: Conn, frame: Any) -> bool:
        if isinstance(frame, Ping):
            conn.send_from_thread(Pong(lag_ms=round((time.monotonic() - self._asked) * 1000, 1)))
            return True
        if isinstance(frame, Cancel):
            self.stopping(frame.grace)
        return False

    def _check(self) -> None:
        if self.die and self._overdue_at is not None and time.monotonic() > self._overdue_at:
            os.write(self.stderr, b"headway: not gone within its grace; where each thread is:\n")
            faulthandler.dump_traceback(self.stderr, all_threads=True)
            os._exit(EXIT_OVERDUE)
