"""Sheets of the replay console: a number is typed before many runs start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult


class Ask(ModalScreen[bool]):
    """Says what would happen; True = do it. With `count`, only after that number was typed."""

    CSS = """
    Ask { align: center middle; background: $background 60%; }
    Ask > Vertical { width: 76; max-width: 96%; height: auto; border: round $warning;
        background: $background; padding: 0 1; }
    Ask Input { border: none; height: 1; background: $panel; }
    """

    def __init__(self, title: str, lines: list[str], count: int = 0) -> None:
        super().__init__()
        self._title, self._lines, self._count = title, lines, count

    def compose(self) -> ComposeResult:
        """The sheet."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(Text("\n".join([*self._lines, ""])))
            if self._count:
                yield Static(Text(f"type {self._count} and enter; esc = start nothing"))
                yield Input(id="count")
            else:
                yield Static(Text("enter = do it      esc = leave all as it is"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The number was typed."""
        event.stop()
        self.dismiss(event.value.strip() == str(self._count))

    def on_key(self, event: events.Key) -> None:
        """Enter or escape, nothing else."""
        if event.key == "escape":
            event.stop()
            self.dismiss(False)
        elif event.key == "enter" and not self._count:
            event.stop()
            self.dismiss(True)
