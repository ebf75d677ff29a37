"""Who holds a folder: a lock file that the kernel frees when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "lock"
"""In a folder that one process alone may work in: held while that lives."""


class FolderHeld(HeadwayError):
    """A process cannot have its folder: another one works in it, or it cannot be locked."""

    code = "folder_held"


class Held(Exception):
    """Somebody else has it; `pid` is his process, 0 if the file does not say."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(f"held by process {pid or 'unknown'}")


class Lock:
    """A lock on one file, for the life of a process; `take` once, `close` any number of times.

    The file stays: to remove it would let two processes lock two files of the same name. What a
    crash leaves holds nobody up, since the lock is the kernel's and the pid in it is for people.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> None:
        """Make the file if need be, hold it, write this process's id into it.

        Raises Held, and OSError for a file that cannot be opened or a disk that knows no locks.
        """
        # Closed on exec, so that no runner and no server holds it after its agent.
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as e:
            pid = _pid_in(fd)
            os.close(fd)
            if e.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise Held(pid) from None
            raise
        self._fd = fd

    def close(self) -> None:
        """Give it back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def hold(folder: Path, what: str, setting: str) -> Lock:
    """A folder, made if need be, for this process alone until the lock is closed.

    Whoever dies without closing it holds nobody up. `what` works in it, `setting` names it. Raises
    FolderHeld, and OSError for a folder that cannot be made or written.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder / LOCK)
    try:
        lock.take()
    except Held as e:
        raise FolderHeld(
            f"{folder} is in use by another {what} (pid {e.pid or 'unknown'}): stop that one, or"
            f" give this one a folder of its own in {setting}"
        ) from None
    except PermissionError:
        raise
    except OSError as e:
        raise FolderHeld(
            f"cannot lock {folder / LOCK}: {e.strerror}; put {setting} on a local disk"
        ) from e
    return lock


def holder(path: Path) -> int | None:
    """Who holds this lock file: a process id, 0 if the file does not say, None if nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _pid_in(fd)
    else:
        return None
    finally:
        os.close(fd)


def _pid_in(fd: int) -> int:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else 0
