"""Sheets: what would happen is said, and a number or a line is typed, before anything changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


class LineSheet(ModalScreen[str | None]):
    """Says what would happen, asks for a line, shows the command that does the same.

    Enter = do it with what was typed; esc = None, leave all as it is.
    """

    CSS = """
    LineSheet { align: center middle; background: $background 60%; }
    LineSheet > Vertical { width: 76; max-width: 96%; height: auto; border: round $warning;
        background: $background; padding: 0 1; }
    LineSheet Input { border: none; height: 1; background: $panel; }
    """

    def __init__(
        self,
        title: str,
        said: Sequence[str],
        command: Callable[[str], str],
        *,
        value: str = "",
        hint: str = "",
        flaw: Callable[[str], str] = lambda _text: "",
        asks: bool = True,
    ) -> None:
        """`command`: the same from a shell, for what is typed; `flaw`: what is wrong with it.

        `asks`: false = there is nothing to type, only to agree.
        """
        super().__init__()
        self._asks = asks
        self._title, self._said, self._command, self._flaw = title, said, command, flaw
        self._line = Input(value=value, placeholder=hint, id="line", max_length=256)
        self._same = Static(id="same")
        self._todo = Static(id="todo")

    def compose(self) -> ComposeResult:
        """The sheet."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(Text("\n".join([*self._said, ""])))
            if self._asks:
                yield self._line
            yield self._same
            yield self._todo

    def on_mount(self) -> None:
        """Type at once."""
        if self._asks:
            self._line.focus()
        self._show()

    def _show(self) -> None:
        typed = self._line.value.strip()
        flaw = self._flaw(typed)
        self._same.update(Text(f"\n$ {self._command(typed)}\n" if not flaw else f"\n{flaw}\n"))
        done = "enter = do it      " if not flaw else ""
        self._todo.update(Text(f"{done}esc = leave all as it is"))

    def on_input_changed(self, event: Input.Changed) -> None:
        """The command follows."""
        event.stop()
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Do it, if what is typed will do."""
        event.stop()
        typed = event.value.strip()
        if not self._flaw(typed):
            self.dismiss(typed)

    def on_key(self, event: events.Key) -> None:
        """Escape; enter, where nothing is typed."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key == "enter" and not self._asks:
            event.stop()
            self.dismiss("")


class FactsSheet(ModalScreen[None]):
    """Lines to read; any of the usual keys closes it."""

    CSS = """
    FactsSheet { align: center middle; background: $background 60%; }
    FactsSheet > Vertical { width: 90; max-width: 96%; height: auto; max-height: 90%;
        border: round $accent; background: $background; padding: 0 1; }
    """

    def __init__(self, title: str, said: Sequence[str]) -> None:
        super().__init__()
        self._title, self._said = title, said

    def compose(self) -> ComposeResult:
        """The lines."""
        with Vertical() as box:
            box.border_title = f"{self._title}   esc closes"
            yield Static(Text("\n".join(self._said)))

    def on_key(self, event: events.Key) -> None:
        """Closes."""
        if event.key in {"escape", "q", "enter", "l"}:
            event.stop()
            self.dismiss()
