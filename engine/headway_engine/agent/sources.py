"""Development folders: what of them has changed since runners were loaded from it.

What a file says counts, not its time: an editor that saves the same again, a checkout of the same
revision or a `touch` starts nothing anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Seen = tuple[int, int, int]
    """A file's inode, size, and mtime in nanoseconds."""

NOT_SOURCE = {"pyvenv.cfg", "FORMAT"}
"""Files that mark a folder as an environment, or as a state directory that changes all the time."""
SUFFIXES = (".py", ".toml", ".json")
READ_AT_MOST = 1024 * 1024
"""Bytes; a larger file is data, and told by its size and time."""
FRESH_NS = 2_000_000_000
"""A file that was written within this time may be written again with the same size and time."""


class Source:
    """One folder; every look reads only the files that have another size or time than before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[Seen, str]] = {}

    def look(self) -> str | None:
        """What all its files say, as one hash; a file that went away is a change like any other.

        None = it cannot be seen now: no file descriptor is free, or a folder may not be read.
        """
        known: dict[str, tuple[Seen, str]] = {}
        parts: list[str] = []
        try:
            for path in self._files():
                with contextlib.suppress(FileNotFoundError):
                    parts.append(f"{path}\0{self._content(path, known)}")
        except OSError:
            return None
        self._known = known
        return sha256("\n".join(sorted(parts)).encode("utf-8", "surrogateescape")).hexdigest()

    def _files(self) -> list[str]:
        unseen: list[OSError] = []
        found: list[str] = []
        for root, folders, files in os.walk(self.folder, onerror=unseen.append):
            if not NOT_SOURCE.isdisjoint(files):
                folders.clear()
                continue
            folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
            found += [os.path.join(root, name) for name in files if name.endswith(SUFFIXES)]
        for error in unseen:
            if not isinstance(error, FileNotFoundError):
                raise error
        return found

    def _content(self, path: str, known: dict[str, tuple[Seen, str]]) -> str:
        """Its hash; noted in `known` unless it may still change without showing."""
        status = os.stat(path)
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        before = self._known.get(path)
        if before is not None and before[0] == seen:
            content = before[1]
        elif status.st_size > READ_AT_MOST:
            content = f"{status.st_size} {status.st_mtime_ns}"
        else:
            content = _hash_of(path)
        if time.time_ns() - status.st_mtime_ns > FRESH_NS:
            known[path] = (seen, content)
        return content


def _hash_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return sha256(file.read(READ_AT_MOST)).hexdigest()
    except OSError as e:
        if e.errno in {errno.EMFILE, errno.ENFILE, errno.ENOENT}:
            raise
        return f"unread: {e.errno}"
