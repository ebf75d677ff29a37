"""A sheet that says what would happen, asks for what it needs, and does nothing by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual import events
    from textual.app import ComposeResult

    from headway_tui.app import HeadwayApp
    from headway_tui.model.deadsheets import Sheet


class Decide(ModalScreen["tuple[str, ...] | None"]):
    """Gives what was typed, or None for no. What is wrong is said, and the sheet stays."""

    CSS = """
    Decide { align: center middle; background: $background 60%; }
    Decide > Vertical { width: 84; max-width: 98%; height: auto; max-height: 96%;
        border: round $warning; background: $background; padding: 0 1; }
    Decide Input { border: none; height: 1; background: $panel; }
    Decide #said { height: auto; max-height: 20; }
    """

    def __init__(
        self, sheet: Sheet, yes: str = "do it", also: Mapping[str, str] | None = None
    ) -> None:
        """`yes`: what enter does, in words. `also`: keys that are given as the answer, and why."""
        super().__init__()
        self._also = also or {}
        self._sheet, self._fields, self._yes = sheet, list(sheet.fields), yes

    def _text(self) -> Text:
        palette = cast("HeadwayApp", self.app).palette  # pyright: ignore[reportUnknownMemberType] Textual leaves it open
        text = Text()
        for line, role in self._sheet.lines:
            text.append(line + "\n", style=palette[role])
        if self._sheet.cli:
            text.append(f"\n$ {safe(self._sheet.cli, 600)}\n")
        return text

    def compose(self) -> ComposeResult:
        """The sheet."""
        with Vertical() as box:
            box.border_title = self._sheet.title
            yield Static(self._text(), id="said")
            for i, field in enumerate(self._fields):
                yield Static(Text(field.label))
                yield Input(value=field.value, id=f"field-{i}")
            yield Static("", id="flaw")
            also = "".join(f"{key} = {what}      " for key, what in self._also.items())
            yield Static(Text(f"enter = {self._yes}      {also}esc = leave all as it is"))

    def on_mount(self) -> None:
        """What is to be typed has the focus."""
        if self._fields:
            self.query_one("#field-0", Input).focus()

    def on_key(self, event: events.Key) -> None:
        """Enter or escape, nothing else."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key == "enter" and not self._fields:
            event.stop()
            self.dismiss(())
        elif event.key in self._also:
            event.stop()
            self.dismiss((event.key,))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The next field; after the last one it is done, if all will do."""
        event.stop()
        typed: list[str] = []
        for i, field in enumerate(self._fields):
            box = self.query_one(f"#field-{i}", Input)
            if flaw := field.flaw(box.value):
                self.query_one("#flaw", Static).update(Text(flaw, style="bold"))
                box.focus()
                box.action_select_all()  # typing again replaces it
                return
            typed.append(box.value)
            if box is event.input and i + 1 < len(self._fields):
                self.query_one(f"#field-{i + 1}", Input).focus()
                return
        self.dismiss(tuple(typed))
