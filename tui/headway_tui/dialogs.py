"""Sheets that ask before anything is changed, and the pages of help."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from headway_tui.actions import Action, for_places, shown_keys
from headway_tui.model.texts import plural, safe

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

ASK_COUNT_FROM = 11
"""With so many runs their number has to be typed."""


class Sheet(ModalScreen[bool]):
    """Says what would happen to whom, and the line that does the same; True = do it."""

    CSS = """
    Sheet { align: center middle; background: $background 60%; }
    Sheet > Vertical { width: 76; max-width: 96%; height: auto; border: round $warning;
        background: $background; padding: 0 1; }
    Sheet Input { border: none; height: 1; background: $panel; }
    """

    def __init__(self, action: Action, runs: list[tuple[str, str]], where: str) -> None:
        """`runs`: (id, what it is) of all that are meant."""
        super().__init__()
        self._action, self._runs, self._where = action, runs, where

    def lines(self) -> list[str]:
        """What the sheet says."""
        count, action = len(self._runs), self._action
        said = [action.help, "", f"{plural(count, 'run')} on {safe(self._where, 80)}:"]
        said += [f"  {safe(run, 26)}  {safe(what, 60)}" for run, what in self._runs[:6]]
        if count > 6:
            said.append(f"  … and {count - 6:,} more")
        said += ["", f"$ {action.cli.format(run=safe(self._runs[0][0], 26))}", ""]
        return said

    @property
    def counted(self) -> bool:
        """True if the number has to be typed."""
        return len(self._runs) >= ASK_COUNT_FROM

    def compose(self) -> ComposeResult:
        """The sheet."""
        with Vertical() as box:
            box.border_title = self._action.title.rstrip("…")
            yield Static(Text("\n".join(self.lines())))
            if self.counted:
                yield Static(Text(f"type {len(self._runs)} and enter; esc = leave all as it is"))
                yield Input(id="count")
            else:
                yield Static(Text("enter = do it      esc = leave all as it is"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The number was typed."""
        event.stop()
        self.dismiss(event.value.strip() == str(len(self._runs)))

    def on_key(self, event: events.Key) -> None:
        """Enter or escape, nothing else."""
        if event.key == "escape":
            event.stop()
            self.dismiss(False)
        elif event.key == "enter" and not self.counted:
            event.stop()
            self.dismiss(True)


class Help(ModalScreen[None]):
    """Keys and what they do, of the focused pane first."""

    CSS = """
    Help { align: center middle; background: $background 60%; }
    Help > VerticalScroll { width: 90; max-width: 98%; height: 90%; border: round $accent;
        background: $background; padding: 0 1; }
    """
    CLOSES: ClassVar = {"escape", "q", "question_mark", "f1", "enter"}

    def __init__(self, places: tuple[str, ...]) -> None:
        super().__init__()
        self._places = places

    def compose(self) -> ComposeResult:
        """One page."""
        with VerticalScroll() as box:
            box.border_title = "help   esc closes"
            yield Static(help_text(self._places))

    def on_key(self, event: events.Key) -> None:
        """Closes, or scrolls."""
        box = self.query_one(VerticalScroll)
        if event.key in self.CLOSES:
            event.stop()
            self.dismiss()
        elif event.key in {"j", "down"}:
            box.scroll_down(animate=False)
        elif event.key in {"k", "up"}:
            box.scroll_up(animate=False)


def help_text(places: tuple[str, ...]) -> Text:
    """The page, from the table of actions."""
    text = Text()
    for action in for_places(places):
        text.append(f"{shown_keys(action):<16}", style="bold")
        text.append(f" :{action.name:<17}", style="dim").append(f"{action.help}\n")
        if action.cli != "-":
            text.append(f"{'':<36}$ {action.cli}\n", style="dim")
    return text
