"""Free loopback ports."""

from __future__ import annotations

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago: the kernel hands it out last to others, not never."""
    with socket.socket() as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])
