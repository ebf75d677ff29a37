"""A sheet with a page of text to read: however long, it scrolls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from headway_tui.modal import Modal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult


class PageSheet(Modal[None]):
    """Lines to read, safe to paint already; any of the usual keys closes it."""

    CSS = """
    PageSheet { align: center middle; background: $background 60%; }
    PageSheet > Vertical { width: 100; max-width: 96%; height: auto; max-height: 90%;
        border: round $accent; background: $background; padding: 0 1; }
    .-ascii PageSheet > Vertical { border: ascii $accent; }
    PageSheet VerticalScroll { height: auto; max-height: 100%; scrollbar-size-vertical: 1; }
    """

    def __init__(self, title: str, said: Sequence[str]) -> None:
        super().__init__()
        self._title, self._said = title, said

    def compose(self) -> ComposeResult:
        """The lines."""
        with Vertical() as box:
            box.border_title = f"{self._title}   esc closes"
            with VerticalScroll():
                yield Static(Text("\n".join(self._said)))

    def on_mount(self) -> None:
        """Keys scroll."""
        self.query_one(VerticalScroll).focus()

    def on_key(self, event: events.Key) -> None:
        """Closes, or scrolls."""
        box = self.query_one(VerticalScroll)
        moves = {
            "j": box.scroll_down, "k": box.scroll_up, "g": box.scroll_home, "G": box.scroll_end,
            "home": box.scroll_home, "end": box.scroll_end,
        }  # fmt: skip
        if event.key in {"escape", "q", "enter"}:
            event.stop()
            self.dismiss()
        elif event.key in moves:
            event.stop()
            moves[event.key](animate=False)
