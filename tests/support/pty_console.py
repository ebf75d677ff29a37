"""A program in a pseudo-terminal of its own: keys in, bytes out, both with their times."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import tempfile
import termios
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ASKS_SYNC = b"\x1b[?2026$p"
_HAS_SYNC = b"\x1b[?2026;2$y"
_FRAME = b"\x1b[?2026h"
_BYTECODE = os.path.join(tempfile.gettempdir(), "headway-bytecode")


class Terminal:
    """It answers what Textual asks of a modern terminal; without that it paints differently."""

    def __init__(
        self, command: Sequence[str], size: tuple[int, int] = (120, 40),
        env: Mapping[str, str] | None = None, cwd: str | None = None,
    ) -> None:  # fmt: skip
        self.begun = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            if cwd:
                os.chdir(cwd)
            more = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
            # COLUMNS and LINES would be believed more than the terminal itself.
            foreign = ("HEADWAY_", "TMUX", "SSH_", "COLUMNS", "LINES")
            kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
            # An installed package has its bytecode: what compiles every file is another start.
            kept.pop("PYTHONDONTWRITEBYTECODE", None)
            kept.setdefault("PYTHONPYCACHEPREFIX", _BYTECODE)
            kept["XDG_CACHE_HOME"] = "/dev/null"  # rows of another start are none of this one's
            os.execvpe(command[0], list(command), kept | more | dict(env or {}))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.output = bytearray()
        self.painted: list[float] = []
        """When each paint came."""
        self.first = 0.0
        """Seconds from the start to the first text."""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            if not data:
                return
            if _ASKS_SYNC in data:
                os.write(self._fd, _HAS_SYNC)
            with self._changed:
                if not self.first and b"headway" in data:
                    self.first = time.perf_counter() - self.begun
                self.painted += [time.perf_counter()] * data.count(_FRAME)
                self.output += data
                self._changed.notify_all()

    def wait(self, test: Callable[[bytes], bool], within: float = 10.0, since: int = 0) -> float:
        """Seconds until the output from `since` on passes; AssertionError after `within`."""
        begun = time.perf_counter()
        with self._changed:
            while not test(bytes(self.output[since:])):
                left = begun + within - time.perf_counter()
                if left <= 0 or not self._changed.wait(left):
                    tail = bytes(self.output[-2000:])
                    raise AssertionError(f"not on the terminal within {within:g} s: {tail!r}")
        return time.perf_counter() - begun

    def seen(self, text: str, within: float = 10.0, since: int = 0) -> float:
        """Seconds until this text was painted in one piece."""
        return self.wait(lambda out: text.encode() in out, within, since)

    def press(self, keys: str | bytes) -> int:
        """Type; where in the output the answer begins."""
        at = len(self.output)
        os.write(self._fd, keys.encode() if isinstance(keys, str) else keys)
        return at

    @property
    def process(self) -> psutil.Process:
        """The program's."""
        return psutil.Process(self.pid)

    def close(self, keys: bytes = b"\x11") -> int:
        """Quit with ctrl+q; SIGKILL after 5 s. Its exit code, -9 for that."""
        os.write(self._fd, keys)
        deadline = time.monotonic() + 5
        status: Any = (0, 0)
        while time.monotonic() < deadline and not status[0]:
            status = os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.02)
        if not status[0]:
            os.kill(self.pid, signal.SIGKILL)
            status = os.waitpid(self.pid, 0)
        self._reader.join(2)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status[1])


def headway(*arguments: str) -> list[str]:
    """The command line of this interpreter."""
    return [sys.executable, "-m", "headway_ops", *arguments]


_ALLOWED = re.compile(
    rb"\x1b\[[0-9;:]*[mHKJABCDGsuhlrtq]|\x1b\[\?[0-9;$]*[a-zA-Z]|\x1b\[[>=<][0-9;]*[a-z]"
    rb"|\x1b\]22;[a-z]+\x07"  # the shape of the mouse pointer
    rb"|\x1b\[[0-9;]*\$p|\x1b\[c|\x1b[=>78]|\x1b\[[0-9]* q"
)


def foreign_escapes(output: bytes) -> list[bytes]:
    """What begins an escape sequence and is none that Textual writes; raw control characters."""
    # Read in the middle of a write, the last sequence may lack its end.
    rest = _ALLOWED.sub(b"", re.sub(rb"\x1b[\[\]?=><0-9;:$]*\Z", b"", output))
    return re.findall(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f].{0,12}", rest)
