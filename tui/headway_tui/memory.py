"""What the console keeps from one start to the next: saved views and typed commands.

One small JSON file in the user's state folder. A file that cannot be read or written is no reason
not to start: then nothing is kept, and `trouble` says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.folders import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HISTORY = 200


class View(Struct, omit_defaults=True):
    """A filter with its order."""

    query: str = ""
    sort: str = "newest"


class Kept(Struct, omit_defaults=True):
    """The file."""

    views: dict[str, View] = {}
    history: list[str] = []
    greeted: bool = False
    """The first start is over."""


class Memory:
    """Reads once, writes at every change."""

    def __init__(self, file: Path | None) -> None:
        """`file` None: nothing is kept."""
        self._file = file
        self.trouble = ""
        self._kept = Kept()
        if file is None or not file.exists():
            return
        try:
            self._kept = msgspec.json.decode(file.read_bytes(), type=Kept)
        except (OSError, msgspec.MsgspecError) as e:
            self.trouble = f"{file} cannot be read: {e}"

    @property
    def views(self) -> Mapping[str, View]:
        """Saved views by name."""
        return self._kept.views

    @property
    def history(self) -> list[str]:
        """Typed commands, the last one last."""
        return self._kept.history

    def first_start(self) -> bool:
        """True once."""
        first = self._file is not None and not self._kept.greeted and not self.trouble
        if first:
            self._kept.greeted = True
            self._write()
        return first

    def save(self, name: str, view: View) -> None:
        """Keep a view under a name."""
        self._kept.views[name] = view
        self._write()

    def drop(self, name: str) -> bool:
        """Forget a view; False if there is none of that name."""
        if self._kept.views.pop(name, None) is None:
            return False
        self._write()
        return True

    def typed(self, command: str) -> None:
        """A command was given."""
        history = self._kept.history
        if command in history:
            history.remove(command)
        history.append(command)
        del history[:-HISTORY]
        self._write()

    def _write(self) -> None:
        # A file of an unknown kind is left alone.
        if self._file is None or self.trouble:
            return
        try:
            write_private(self._file, msgspec.json.encode(self._kept))
        except OSError as e:
            self.trouble = f"{self._file} cannot be written: {e}"
