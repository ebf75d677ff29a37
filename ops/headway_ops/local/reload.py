"""`headway up --tasks`: registers the tasks, watches their files, registers again on a change."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway_ops.check import Report, examine, resolve, version_of
from headway_ops.say import Fail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

EVERY = 0.3
"""Seconds between two looks at the files."""

Stamp = dict[str, tuple[int, int]]


def stamp(files: Iterable[str]) -> Stamp:
    """Modification time and size by file; a file that is gone is left out."""
    found: Stamp = {}
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            continue
        found[file] = (status.st_mtime_ns, status.st_size)
    return found


def to_watch(report: Report) -> list[str]:
    """The report's files, and the Python files beside them: a new module may be imported next."""
    folders = {Path(report.root), *(Path(f).parent for f in report.files)}
    beside = (str(p) for folder in folders for p in folder.glob("*.py"))
    return sorted({*report.files, *beside})


class Reloader:
    """Keeps the registered version equal to the source; a broken edit keeps the last good one."""

    def __init__(
        self,
        targets: list[str],
        cwd: Path,
        register: Callable[[Report, str], Awaitable[None]],
        complain: Callable[[Report], None],
        tell: Callable[[str], None],
    ) -> None:
        self._targets, self._cwd = targets, cwd
        self._register, self._complain, self._tell = register, complain, tell
        self.version = ""
        """The version that is registered; empty before the first."""
        self.report: Report | None = None
        self._watched: list[str] = []
        self._seen: Stamp = {}
        for target in targets:  # a target that does not exist is a usage error now, not later
            resolve(target, cwd)

    async def look(self) -> Report:
        """Check the source, and remember what it looked like; complains about what is wrong."""
        report = await examine(self._targets, self._cwd)
        self._watched = to_watch(report)
        self._seen = stamp(self._watched)
        if not report.ok:
            self._complain(report)
        self.report = report
        return report

    async def register(self) -> None:
        """Register what was looked at, if it is good and not registered yet."""
        if self.report is None or not self.report.ok:
            return
        version = version_of(self.report, "dev")
        if version != self.version:
            await self._register(self.report, version)
            self.version = version

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            if stamp(self._watched) == self._seen:
                continue
            await self._settled()
            before = self.version
            try:
                report = await self.look()
                await self.register()
            except (HeadwayError, Fail) as e:
                self._tell(f"not registered: {e}")
                continue
            if report.ok and self.version != before:
                self._tell(f"reloaded: {', '.join(t.task for t in report.tasks)} ({self.version})")

    async def _settled(self) -> None:
        """Editors write in several steps: wait until two looks agree."""
        last = stamp(self._watched)
        while True:
            await asyncio.sleep(EVERY / 3)
            now = stamp(self._watched)
            if now == last:
                return
            last = now
