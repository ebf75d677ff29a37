"""Sheets that ask before anything is changed, and the pages of help."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, OptionList, Static

from headway_tui.actions import ACTIONS, Action, for_places, shown_keys
from headway_tui.modal import Modal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult


class Choice(Modal[str]):
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


class Help(Modal[None]):
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
