"""The state directory of `headway up`: its format, its lock, and what clients find there.

```
.headway/FORMAT        the layout's version: a newer one is refused
.headway/MODE          server or edge: what is stored in one way is not read in the other
.headway/lock          held (flock) by the running `headway up`; holds its pid
.headway/client.toml   where clients connect; there while it runs
.headway/nats/ postgres/ edge/ agent/ logs/ headway.toml
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.discovery import FILE
from headway_engine.holding import Held, Lock
from headway_ops.quoting import for_toml
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
LOCK = "lock"


class StateDir:
    """One state directory, held by one process. `open` and `close` once each; close may repeat."""

    def __init__(self, path: Path, mode: str = "server") -> None:
        """`mode`: server or edge; a folder keeps the one that it was made with."""
        self.path, self._mode = path.absolute(), mode
        self._lock = Lock(self.path / LOCK)
        self._open = False

    def open(self) -> None:
        """Make it if need be, take its lock, check format and mode; Fail says what is in the way.

        A crash leaves nothing to clean up: the kernel drops the lock with the process.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise Fail(f"cannot make {self.path}: {e.strerror}", "--state-dir DIR",
                       Exit.USAGE) from None  # fmt: skip
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        self._take_lock()
        try:
            self._check_format()
            self._check_mode()
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> None:
        try:
            self._lock.take()
        except Held as e:
            raise Fail(
                f"{self.path} is in use by another `headway up` (pid {e.pid or 'unknown'})",
                "use that one, stop it, or choose another --state-dir",
                Exit.REFUSED,
            ) from None
        self._open = True

    def _check_format(self) -> None:
        path = self.path / "FORMAT"
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            path.write_text(f"{FORMAT}\n", "ascii")
            return
        if not text.isdigit() or int(text) > FORMAT:
            raise Fail(
                f"{self.path} has format {text[:20]!r}; this Headway reads up to {FORMAT}",
                "install the newer Headway that made it, or choose another --state-dir",
                Exit.REFUSED,
            )

    def _check_mode(self) -> None:
        path = self.path / "MODE"
        try:
            mode = path.read_text("utf-8").strip()
        except FileNotFoundError:
            # Made before there were two: its Postgres shows it.
            mode = "server" if (self.path / "postgres").exists() else self._mode
            path.write_text(f"{mode}\n", "ascii")
        if mode != self._mode:
            same = "headway up --edge" if mode == "edge" else "headway up, without --edge"
            kept = "NATS alone" if mode == "edge" else "Postgres"
            raise Fail(
                f"{self.path} was made in {mode[:20]!r} mode: its runs are kept in {kept}",
                f"{same}; or choose another --state-dir",
                Exit.REFUSED,
            )

    def folder(self, name: str) -> Path:
        """A folder inside, made if need be."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    def say_where(self, nats_url: str, namespace: str) -> None:
        """Write what clients find by walking up from their working directory."""
        text = (
            "# Written by `headway up`; gone when it stops.\n"
            f"nats_url = {for_toml(nats_url)}\nnamespace = {for_toml(namespace)}\n"
        )
        new = self.path / f"{FILE}.new"
        new.write_text(text, "utf-8")
        new.replace(self.path / FILE)

    def close(self) -> None:
        """Take the client file away and give the lock back."""
        if self._open:
            (self.path / FILE).unlink(missing_ok=True)
            self._lock.close()
            self._open = False
