"""Output of attempts on its way to the log stream: redacted, bounded again, numbered.

Lines travel at most 50 ms or 64 KiB later. What is over the rate is dropped and counted, visible as
a gap: a flood costs the flooder, never the stream.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway.wire import encode
from headway.wire.events import LogChunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.frames import Log
    from headway_engine.agent.redact import Redactor

CHUNK = 64 * 1024
STREAMS = frozenset({"out", "err", "log", "process"})
LINE = 32 * 1024
"""Characters of one line; the rest of it is cut off."""


class Bucket:
    """A token bucket over bytes."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, size: int, now: float) -> bool:
        """Spend `size`, or say no."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if size > self._tokens:
            return False
        self._tokens -= size
        return True


class LogStream:
    """The lines of one attempt. `emit(body)` gets whole chunks."""

    def __init__(
        self, redactor: Redactor, bucket: Bucket, emit: Callable[[bytes], None], limit: int = 0
    ) -> None:
        """`limit`: bytes a second, told to readers where lines were dropped."""
        self._redactor, self._bucket, self._emit = redactor, bucket, emit
        self._limit = limit
        self._lines: list[str] = []
        self._first = 0
        self._stream = ""
        self._size = 0
        self._dropped = self._dropped_bytes = 0
        self._held = False
        self.dropped = 0
        """Lines that were dropped, ever: by the runner, or here."""
        self.last = 0
        """The number of the last line that the runner sent or dropped."""

    @property
    def waiting(self) -> bool:
        """Is there something to flush?"""
        return bool(self._lines) or self._dropped > 0

    def add(self, frame: Log, now: float) -> None:
        """Take lines of a runner."""
        self.last = max(self.last, frame.first + len(frame.lines) - 1)
        stream = frame.stream if frame.stream in STREAMS else "process"
        if self._lines and (
            stream != self._stream or frame.first != self._first + len(self._lines) or frame.dropped
        ):
            self.flush(final=True)
        if frame.dropped:
            self._dropped += frame.dropped
            self.dropped += frame.dropped
            self._dropped_bytes += frame.dropped_bytes
        size = sum(len(line) for line in frame.lines) + len(frame.lines)
        if not self._bucket.take(size, now):
            self.flush(final=True)
            self._dropped += len(frame.lines)
            self.dropped += len(frame.lines)
            self._dropped_bytes += size
            # The gap came just before the line that may follow.
            self._first, self._stream = frame.first + len(frame.lines), stream
            return
        if not self._lines:
            self._first, self._stream = frame.first, stream
        self._lines.extend(line[:LINE] for line in frame.lines)
        self._size += size
        while self._size >= CHUNK:
            before = self._size
            self.flush()
            if self._size == before:
                self.flush(final=True)

    def flush(self, final: bool = False) -> None:
        """Send what there is. Lines that may begin a secret wait for one more flush."""
        lines = self._lines
        hold = 0 if final or self._held else self._redactor.open_tail(lines)
        ready = lines[: len(lines) - hold]
        self._held = hold > 0
        if not ready and not (self._dropped and not lines):
            return
        ready = self._redactor.lines(ready)
        at = 0
        while at < len(ready) or self._dropped:
            count, size = 0, 0
            while at + count < len(ready) and (count == 0 or size < CHUNK):
                size += len(ready[at + count])
                count += 1
            self._emit(
                encode(
                    LogChunk(
                        first=self._first,
                        lines=ready[at : at + count],
                        at=datetime.now(UTC),
                        stream=self._stream or "out",
                        dropped=self._dropped,
                        dropped_bytes=self._dropped_bytes,
                        limit=self._limit if self._dropped else 0,
                    )
                )
            )
            self._dropped = self._dropped_bytes = 0
            self._first += count
            at += count
        self._lines = lines[len(lines) - hold :]
        self._size = sum(len(line) + 1 for line in self._lines)
