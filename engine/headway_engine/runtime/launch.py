"""The first lines of a runner's process under the `process` runtime.

Run as a file by the interpreter of the task (`python -P launch.py <limits> ...`), not imported: it
uses the standard library alone. It gives up rights and sets limits on itself, then becomes the
runner in the same interpreter, since a second exec would cost ten more milliseconds.
"""

from __future__ import annotations

import io
import json
import os
import resource
import runpy
import sys
from typing import Any


def _no_new_privileges() -> None:
    """prctl(PR_SET_NO_NEW_PRIVS): set-uid programs give nothing from here on. Best effort."""
    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(38, 1, 0, 0, 0)
    except (OSError, AttributeError, ImportError):
        pass


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def confine(limits: dict[str, Any]) -> None:
    """Join the cgroups, take the user, set rlimits: as the parent asked."""
    for path in limits.get("cgroups", ()):
        with open(os.path.join(path, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(os.getpid()))
    os.chdir(limits.get("cwd", "/"))
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, limits.get("files", 1024))
    if limits.get("memory"):
        # RLIMIT_DATA counts private writable memory; RLIMIT_AS would also count reserved address
        # space, which threads and mmap take by the gigabyte.
        _limit(resource.RLIMIT_DATA, limits["memory"])
    uid = limits.get("uid", 0)
    if uid and os.getuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    _no_new_privileges()


class _Stream(io.FileIO):
    """Standard output as what it will be: the runner puts a pipe behind it, which cannot seek."""

    def seekable(self) -> bool:
        return False


def unseekable() -> None:
    """Text streams over a regular file remember that it could seek, and fail later on the pipe."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(_Stream(fd, "w", closefd=False))
        stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, stream)


def become(argv: list[str]) -> None:
    """Run `-m module ...` or a file in this interpreter."""
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    confine(json.loads(sys.argv[1]))
    unseekable()
    become(sys.argv[2:])
