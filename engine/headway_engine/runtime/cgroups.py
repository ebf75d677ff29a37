"""Control groups for the `process` runtime: exact memory and process limits where we may set them.

Works on version 1 (the `memory` and `pids` hierarchies) and version 2 (one tree with both
controllers enabled). Where the groups cannot be made (no root, read-only mount), `find` says so and
the runtime falls back to rlimits.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Groups:
    """Makes one group per runner under `<root>/headway-<owner>/<name>`."""

    def __init__(self, bases: list[Path], version: int) -> None:
        self.bases = bases
        self.version = version

    def create(self, name: str, memory: int, pids: int) -> list[Path]:
        """Make the runner's groups with their limits; the launcher joins them itself."""
        made = [base / name for base in self.bases]
        for path in made:
            path.mkdir(exist_ok=True)
        if self.version == 2:
            self._set(made[0] / "memory.max", memory)
            self._set(made[0] / "memory.swap.max", 0)
            self._set(made[0] / "memory.oom.group", 1)
            self._set(made[0] / "pids.max", pids)
        else:
            self._set(made[0] / "memory.limit_in_bytes", memory)
            self._set(made[0] / "memory.memsw.limit_in_bytes", memory)
            self._set(made[1] / "pids.max", pids)
        return made

    @staticmethod
    def _set(path: Path, value: int) -> None:
        # Swap accounting may be off, oom.group unknown: the other limits still hold.
        with contextlib.suppress(OSError):
            path.write_text(str(value), encoding="ascii")

    def ooms(self, name: str) -> int:
        """How many processes of the runner were killed for memory."""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            text = (self.bases[0] / name / file).read_text(encoding="ascii")
        except OSError:
            return 0
        for line in text.splitlines():
            word, _, value = line.partition(" ")
            if word == "oom_kill":
                return int(value)
        return 0

    def members(self, name: str) -> list[int]:
        """Process ids in the runner's group, those included that left its session."""
        try:
            text = (self.bases[-1] / name / "cgroup.procs").read_text(encoding="ascii")
        except OSError:
            return []
        return [int(p) for p in text.split()]

    def remove(self, name: str) -> None:
        """Remove the runner's groups; the kernel refuses while a dead process is not reaped yet."""
        for base in self.bases:
            for _ in range(20):
                try:
                    (base / name).rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.005)
                else:
                    break

    def forget(self) -> None:
        """Remove the owner's own groups once they are empty."""
        for base in self.bases:
            with contextlib.suppress(OSError):
                base.rmdir()


def find(owner: str, root: Path = ROOT) -> Groups | None:
    """The groups of an owner, or None where this process may not make any."""
    v2 = root / "cgroup.controllers"
    try:
        if v2.exists():
            base = root / f"headway-{owner}"
            base.mkdir(exist_ok=True)
            (root / "cgroup.subtree_control").write_text("+memory +pids", encoding="ascii")
            (base / "cgroup.subtree_control").write_text("+memory +pids", encoding="ascii")
            return Groups([base], 2)
        bases = [root / kind / f"headway-{owner}" for kind in ("memory", "pids")]
        if not all(os.access(b.parent, os.W_OK) and b.parent.is_dir() for b in bases):
            return None
        for base in bases:
            base.mkdir(exist_ok=True)
        if not all((b / "cgroup.procs").exists() for b in bases):
            return None  # a plain folder, not a control group
        return Groups(bases, 1)
    except OSError:
        return None


def available() -> bool:
    """True if groups with limits can be made here."""
    groups = find("probe")
    if groups is None:
        return False
    groups.forget()
    return True
