"""What processes use, read from /proc: CPU time and memory, by part of the stack.

Linux only. A process that ends while it is read counts as nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROC = Path("/proc")


class Times(Struct, frozen=True):
    """CPU seconds of one process, and of its children that it has waited for."""

    parent: int
    own: float
    waited: float


def parse_stat(text: str, ticks: int) -> Times:
    """Times from the text of /proc/<pid>/stat; the command in it may hold spaces and brackets."""
    fields = text[text.rindex(")") + 2 :].split()
    user, system, waited_user, waited_system = (int(x) / ticks for x in fields[11:15])
    return Times(int(fields[1]), user + system, waited_user + waited_system)


def parse_pss(text: str) -> int:
    """Bytes from the text of /proc/<pid>/smaps_rollup; 0 if it has no Pss line."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def all_times() -> dict[int, Times]:
    """Every process of the machine, by pid; empty where there is no /proc."""
    ticks = os.sysconf("SC_CLK_TCK")
    found: dict[int, Times] = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = parse_stat((entry / "stat").read_text(), ticks)
            except (OSError, ValueError, IndexError):
                continue
    return found


def below(pid: int, times: Mapping[int, Times]) -> list[int]:
    """The live descendants of a process, without itself."""
    children: dict[int, list[int]] = {}
    for child, t in times.items():
        children.setdefault(t.parent, []).append(child)
    found, open_ = list[int](), [pid]
    while open_:
        more = children.get(open_.pop(), [])
        found += more
        open_ += more
    return found


def pss(pids: Iterable[int]) -> int:
    """Proportional set size in bytes, summed; what cannot be read counts nothing."""
    total = 0
    for pid in pids:
        try:
            total += parse_pss((PROC / str(pid) / "smaps_rollup").read_text())
        except OSError:
            continue
    return total


class Part(Struct, frozen=True):
    """A part of the stack: a process, its descendants, or both."""

    name: str
    pid: int
    itself: bool = True
    descendants: bool = False

    def pids(self, times: Mapping[int, Times]) -> list[int]:
        """Its live processes."""
        own = [self.pid] if self.itself else []
        return own + (below(self.pid, times) if self.descendants else [])

    def cpu(self, times: Mapping[int, Times]) -> float:
        """CPU seconds so far, children that ended included."""
        total = 0.0
        root = times.get(self.pid)
        if self.itself and root is not None:
            total += root.own
        if self.descendants:
            total += 0.0 if root is None else root.waited
            total += sum(times[p].own + times[p].waited for p in below(self.pid, times))
        return total


class Meter:
    """CPU seconds of each part between two looks."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = tuple(parts)
        self._before = self._look()

    def _look(self) -> dict[str, float]:
        times = all_times()
        looked: dict[str, float] = {}
        for part in self._parts:
            looked[part.name] = looked.get(part.name, 0.0) + part.cpu(times)
        return looked

    def spent(self) -> dict[str, float]:
        """CPU seconds by part since the meter was made; never negative."""
        now = self._look()
        return {k: max(0.0, v - self._before.get(k, 0.0)) for k, v in now.items()}
