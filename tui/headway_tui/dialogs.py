"""Sheets that ask before anything is changed, and the pages of help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from headway.texts import plural
from headway_tui.actions import ACTIONS, Action, for_places, shown_keys
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult

ASK_COUNT_FROM = 11
"""With so many runs their number has to be typed."""


@dataclass(frozen=True, slots=True)
class Meant:
    """The runs that a command means."""

    count: int
    runs: list[tuple[str, str]]
    """(id, what it is): some of them at least."""
    cli: str
    """The line that does the same."""
    query: str = ""
    """All that match it; empty = those of `runs`."""
    left_out: int = 0
    """Marked ones that the command cannot move."""


class Sheet(ModalScreen[bool]):
    """Says what would happen to whom, and the line that does the same; True = do it."""

    CSS = """
    Sheet { align: center middle; background: $background 60%; }
    Sheet > Vertical { width: 76; max-width: 96%; height: auto; border: round $warning;
        background: $background; padding: 0 1; }
    Sheet Input { border: none; height: 1; background: $panel; }
    """

    def __init__(self, action: Action, meant: Meant, where: str) -> None:
        super().__init__()
        self._action, self._meant, self._where = action, meant, where

    def lines(self) -> list[str]:
        """What the sheet says."""
        meant, action = self._meant, self._action
        said = [action.help, "", f"{plural(meant.count, 'run')} on {safe(self._where, 80)}:"]
        if meant.query:
            said.append(f"  all that match  {safe(meant.query, 200)}")
        shown = meant.runs[:6]
        said += [f"  {safe(run, 26)}  {safe(what, 60)}" for run, what in shown]
        if meant.count > len(shown):
            said.append(f"  … and {meant.count - len(shown):,} more")
        if meant.left_out:
            said.append(f"  {meant.left_out:,} of those marked cannot be meant: they have ended,"
                        " or do not wait")  # fmt: skip
        said += ["", f"$ {meant.cli}", ""]
        return said

    @property
    def counted(self) -> bool:
        """True if the number has to be typed."""
        return self._meant.count >= ASK_COUNT_FROM

    def compose(self) -> ComposeResult:
        """The sheet."""
        with Vertical() as box:
            box.border_title = self._action.title.rstrip("…")
            yield Static(Text("\n".join(self.lines())))
            if self.counted:
                yield Static(Text(f"type {self._meant.count} and enter; esc = leave all as it is"))
                yield Input(id="count")
            else:
                yield Static(Text("enter = do it      esc = leave all as it is"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The number was typed."""
        event.stop()
        self.dismiss(event.value.strip().replace(",", "") == str(self._meant.count))

    def on_key(self, event: events.Key) -> None:
        """Enter or escape, nothing else."""
        if event.key == "escape":
            event.stop()
            self.dismiss(False)
        elif event.key == "enter" and not self.counted:
            event.stop()
            self.dismiss(True)


class Choice(ModalScreen[str]):
    """A list of which one thing is chosen; nothing = `None`."""

    CSS = """
    Choice { align: center middle; background: $background 60%; }
    Choice > OptionList { width: 60; max-width: 96%; height: auto; max-height: 80%;
        border: round $accent; background: $background; }
    """

    def __init__(self, title: str, options: Sequence[tuple[str, Text]]) -> None:
        """`options`: (what is answered, how it looks)."""
        super().__init__()
        self._title, self._values = title, [value for value, _ in options]
        self._list = OptionList(*(text for _, text in options))

    def compose(self) -> ComposeResult:
        """The list."""
        self._list.border_title = self._title
        yield self._list

    def on_mount(self) -> None:
        """The first one is chosen, until keys choose another."""
        self._list.focus()
        self._list.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        event.stop()
        self.dismiss(self._values[event.option_index])

    def on_key(self, event: events.Key) -> None:
        """The keys of lists."""
        match event.key:
            case "escape" | "q":
                event.stop()
                self.dismiss(None)
            case "j":
                self._list.action_cursor_down()
            case "k":
                self._list.action_cursor_up()
            case _:
                pass


class Help(ModalScreen[None]):
    """Keys and what they do, of the focused pane first; `/` finds."""

    CSS = """
    Help { align: center middle; background: $background 60%; }
    Help > Vertical { width: 96; max-width: 98%; height: 92%; border: round $accent;
        background: $background; padding: 0 1; }
    Help VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    Help Input { border: none; height: 1; background: $panel; }
    """
    CLOSES: ClassVar = {"escape", "q", "question_mark", "f1", "enter"}

    def __init__(self, places: tuple[str, ...], actions: Sequence[Action]) -> None:
        super().__init__()
        self._places, self._actions = places, actions
        self._page = Static(help_text(places, actions))
        self._find = Input(placeholder="a word", id="find")

    def compose(self) -> ComposeResult:
        """One page, and a line to search it."""
        self._find.display = False
        with Vertical() as box:
            box.border_title = "help   / find   esc closes"
            with VerticalScroll():
                yield self._page
            yield self._find

    def on_input_changed(self, event: Input.Changed) -> None:
        """Only what has these words."""
        self._page.update(help_text(self._places, self._actions, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the page, which keeps to what was found."""
        event.stop()
        self._find.display = False
        self.query_one(VerticalScroll).focus()

    def on_key(self, event: events.Key) -> None:
        """Closes, or scrolls."""
        box = self.query_one(VerticalScroll)
        if self._find.has_focus:
            if event.key == "escape":
                event.stop()
                self._find.value, self._find.display = "", False
                box.focus()
        elif event.key in self.CLOSES:
            event.stop()
            self.dismiss()
        elif event.key == "slash":
            event.stop()
            self._find.display = True
            self._find.focus()
        elif event.key in {"j", "down"}:
            box.scroll_down(animate=False)
        elif event.key in {"k", "up"}:
            box.scroll_up(animate=False)
        elif event.key in {"g", "home"}:
            box.scroll_home(animate=False)
        elif event.key in {"G", "end"}:
            box.scroll_end(animate=False)


def help_text(
    places: tuple[str, ...], actions: Sequence[Action] = ACTIONS, wanted: str = ""
) -> Text:
    """The page, from the table of actions; `wanted`: only those with all of its words."""
    text = Text()
    words = wanted.lower().split()
    for action in for_places(places, actions):
        keys, name = shown_keys(action), action.name
        low = f"{keys} :{name} {action.help} {action.cli}".lower()
        if not all(w in low for w in words):
            continue
        text.append(f"{keys:<16}", style="bold")
        takes = f" {action.takes}" if action.takes else ""
        text.append(f" :{name:<17}", style="dim").append(f"{action.help}\n")
        if takes:
            text.append(f"{'':<17}:{name}{takes}\n", style="dim")
        if action.cli != "-":
            text.append(f"{'':<36}$ {action.cli}\n", style="dim")
    return text
