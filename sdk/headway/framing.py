"""Bytes to frames and back: u32 big-endian length + body. Pure."""

from __future__ import annotations

from headway.errors import HeadwayError
from headway.wire import FRAME_LIMIT


class FrameError(HeadwayError):
    """The other side broke the framing (a length over the limit); the connection is of no use."""

    code = "frame"


class Frames:
    """Incremental decoder: `feed` bytes as they come, get whole frames' bodies. Does no I/O.

    Raises FrameError as soon as a length over `limit` is seen, before anything is kept for it.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now, in order."""
        rest = self._rest
        rest += data
        out: list[bytes] = []
        at, end = 0, len(rest)
        while end - at >= 4:
            size = int.from_bytes(rest[at : at + 4], "big")
            if size > self._limit:
                raise FrameError(f"a frame of {size} bytes, the limit is {self._limit}")
            if end - at - 4 < size:
                break
            out.append(bytes(rest[at + 4 : at + 4 + size]))
            at += 4 + size
        if at:
            del rest[:at]
        return out

    @property
    def held(self) -> int:
        """Bytes kept of a frame that is not whole yet."""
        return len(self._rest)


def framed(body: bytes) -> bytes:
    """The body with its length before it; raises FrameError if it is over the limit."""
    if len(body) > FRAME_LIMIT:
        raise FrameError(f"a frame of {len(body)} bytes, the limit is {FRAME_LIMIT}")
    return len(body).to_bytes(4, "big") + body
