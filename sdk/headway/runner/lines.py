"""Output of one run as numbered lines behind a token bucket; pure: bytes and times in, frames out.

Dropped lines take numbers too, so that a gap is seen. Over the rate whole chunks are dropped
without being looked at, except for counting their lines: a flood must cost the flooder little.
"""

from __future__ import annotations

from headway.wire.frames import Log

LINE_LIMIT = 16 * 1024
"""Bytes; a longer line is cut into several."""
FRAME_BYTES = 96 * 1024
"""Of text in one frame: six-fold by JSON escapes at worst, which stays below the frame limit."""
FRAME_LINES = 1000


class Lines:
    """The lines of one slot, of all its streams, in one numbering from 1."""

    def __init__(self, slot: int, rate: float, burst: float, now: float) -> None:
        self.slot = slot
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now
        self._next = 1
        self._dropped = self._dropped_bytes = 0
        self._rest: dict[str, bytearray] = {}
        self._skipping: set[str] = set()
        """Streams in the middle of a line whose beginning was dropped."""
        self._ready: list[Log] = []
        self._frame_bytes = 0

    def rename(self, slot: int) -> None:
        """These lines turn out to belong to that slot."""
        self.slot = slot
        for frame in self._ready:
            frame.slot = slot

    @property
    def waiting(self) -> bool:
        """True if there is something to take."""
        return bool(self._ready) or self._dropped > 0

    @property
    def partial(self) -> bool:
        """True if a line has no end yet."""
        return bool(self._rest) or bool(self._skipping)

    def feed(self, stream: str, data: bytes, now: float) -> None:
        """Bytes as they were written to a stream."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens <= 0:
            self._drop(stream, data)
            return
        self._tokens -= len(data)
        if stream in self._skipping:
            head, newline, data = data.partition(b"\n")
            self._dropped_bytes += len(head) + len(newline)
            if not newline:
                return
            self._skipping.discard(stream)
            self._dropped += 1
            self._next += 1
        rest = self._rest.pop(stream, bytearray())
        rest += data
        *whole, last = rest.split(b"\n")
        for line in whole:
            self._line(stream, bytes(line))
        while len(last) > LINE_LIMIT:
            self._append(stream, bytes(last[:LINE_LIMIT]))
            del last[:LINE_LIMIT]
        if last:
            self._rest[stream] = last

    def _drop(self, stream: str, data: bytes) -> None:
        count = data.count(b"\n")
        rest = self._rest.pop(stream, b"")
        self._dropped_bytes += len(data) + len(rest)
        self._dropped += count
        self._next += count
        if data.endswith(b"\n"):
            self._skipping.discard(stream)
        elif data:
            self._skipping.add(stream)

    def _line(self, stream: str, line: bytes) -> None:
        if len(line) <= LINE_LIMIT:
            self._append(stream, line)
            return
        for at in range(0, len(line), LINE_LIMIT):
            self._append(stream, line[at : at + LINE_LIMIT])

    def _append(self, stream: str, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        last = self._ready[-1] if self._ready else None
        if (
            last is None
            or last.stream != stream
            or self._dropped
            or len(last.lines) >= FRAME_LINES
            or self._frame_bytes + len(line) > FRAME_BYTES
        ):
            last = Log(
                slot=self.slot,
                first=self._next,
                lines=[],
                stream=stream,
                dropped=self._dropped,
                dropped_bytes=self._dropped_bytes,
            )
            self._dropped = self._dropped_bytes = 0
            self._frame_bytes = 0
            self._ready.append(last)
        last.lines.append(text)
        self._frame_bytes += len(line)
        self._next += 1

    def finish(self) -> None:
        """No more comes: lines without an end are lines too."""
        for stream, rest in list(self._rest.items()):
            self._append(stream, bytes(rest))
        self._rest.clear()
        self._dropped += len(self._skipping)
        self._next += len(self._skipping)
        self._skipping.clear()

    def take(self) -> list[Log]:
        """What is ready; dropped lines that no line has followed come as a frame without lines."""
        out, self._ready = self._ready, []
        if self._dropped:
            out.append(
                Log(
                    slot=self.slot,
                    first=self._next,
                    lines=[],
                    dropped=self._dropped,
                    dropped_bytes=self._dropped_bytes,
                )
            )
            self._dropped = self._dropped_bytes = 0
        return out

    def lost(self, frame: Log) -> None:
        """A taken frame could not be sent: its lines count as dropped."""
        self._dropped += len(frame.lines) + frame.dropped
        self._dropped_bytes += sum(map(len, frame.lines)) + frame.dropped_bytes
