"""Sheets: what would happen is said, and what it needs is typed, before anything changes.

There is one box for all of them; a kind of it says which keys answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from rich.text import Text
from textual.containers import Vertical
from textual.widgets import Input, Static

from headway_tui.contexts import as_typed
from headway_tui.modal import Modal
from headway_tui.model.sheets import guarded
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.widget import Widget

    from headway_tui.app import HeadwayApp
    from headway_tui.model.dead import Piece
    from headway_tui.model.sheets import Field, Sheet

T = TypeVar("T")


class Box(Modal[T]):
    """Lines in a box over what was there; nothing below it hears a key."""

    SCOPED_CSS = False  # it is that of its kinds as well
    CSS = """
    Box { align: center middle; background: $background 60%; }
    Box > Vertical { width: 84; max-width: 98%; height: auto; max-height: 96%;
        border: round $warning; background: $background; padding: 0 1; }
    Box Input { border: none; height: 1; background: $panel; }
    Box #said { height: auto; max-height: 20; }
    """

    def __init__(self, title: str, lines: Sequence[Piece]) -> None:
        super().__init__()
        self._title, self._lines = title, lines

    def below(self) -> Iterable[Widget]:
        """What stands below the lines."""
        return ()

    def _text(self) -> Text:
        palette = cast("HeadwayApp", self.app).palette  # pyright: ignore[reportUnknownMemberType] Textual leaves it open
        text = Text()
        for line, role in self._lines:
            text.append(line + "\n", style=palette[role])
        text.rstrip()
        return text

    def compose(self) -> ComposeResult:
        """The box."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(self._text(), id="said")
            yield from self.below()


class Decide(Box["tuple[str, ...] | None"]):
    """Gives what was typed, or None for no. What is wrong is said, and the sheet stays.

    The line for a shell follows what is typed, where the sheet says how.
    """

    def __init__(
        self,
        sheet: Sheet,
        yes: str = "do it",
        also: Mapping[str, str] | None = None,
        *,
        changes: bool = True,
    ) -> None:
        """`yes`: what enter does, in words. `also`: keys that are given as the answer, and why.

        `changes`: enter changes something, so that a protected connection asks for more.
        """
        super().__init__(sheet.title, sheet.lines)
        self._also = also or {}
        self._sheet, self._yes, self._changes = sheet, yes, changes
        self._fields: list[Field] = []
        self._boxes: list[Input] = []
        self._same, self._flaw = Static(id="same"), Static(id="flaw")

    def below(self) -> Iterable[Widget]:
        """The line for a shell, what is to be typed, what the keys do."""
        settings = cast("HeadwayApp", self.app).settings  # pyright: ignore[reportUnknownMemberType] Textual leaves it open
        guard = settings.protect and self._changes
        sheet = guarded(self._sheet, settings.context) if guard else self._sheet
        self._fields = list(sheet.fields)
        self._boxes = [
            Input(value=f.value, placeholder=f.hint, id=f"field-{i}", max_length=4096)
            for i, f in enumerate(self._fields)
        ]
        yield self._same
        for field, box in zip(self._fields, self._boxes, strict=True):
            if field.label:
                yield Static(Text(field.label))
            yield box
        yield self._flaw
        # While something is typed, these keys are letters of it.
        free = {} if self._boxes else self._also
        also = "".join(f"{key} = {what}      " for key, what in free.items())
        yield Static(Text(f"enter = {self._yes}      {also}esc = leave all as it is"))

    def on_mount(self) -> None:
        """What is to be typed has the focus."""
        self._flaw.display = False
        if self._boxes:
            self._boxes[0].focus()
        self._follow()

    def _typed(self) -> list[str]:
        return [box.value for box in self._boxes]

    def _answer(self) -> tuple[str, ...]:
        """What the sheet asks for; what a protected connection has typed as well is no part."""
        return tuple(self._typed()[: len(self._sheet.fields)])

    def _follow(self) -> None:
        cli = self._sheet.cli
        if callable(cli):
            flaws = [f.flaw(text) for f, text in zip(self._fields, self._typed(), strict=True)]
            cli = "" if any(flaws) else cli(self._answer())
        cli = as_typed(cast("HeadwayApp", self.app).settings, cli)  # pyright: ignore[reportUnknownMemberType] Textual leaves it open
        self._same.update(Text(f"\n$ {safe(cli, 600)}\n" if cli else ""))

    def on_input_changed(self, event: Input.Changed) -> None:
        """The line for a shell follows; what was wrong is being put right."""
        event.stop()
        self._flaw.display = False
        self._follow()

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
        for i, (field, box) in enumerate(zip(self._fields, self._boxes, strict=True)):
            if flaw := field.flaw(box.value):
                self._flaw.update(Text(flaw, style="bold"))
                self._flaw.display = True
                box.focus()
                box.action_select_all()  # typing again replaces it
                return
            if box is event.input and i + 1 < len(self._fields):
                self._boxes[i + 1].focus()
                return
        self.dismiss(self._answer())


class Facts(Box[None]):
    """Lines to read; any of the usual keys closes it."""

    CSS = Box.CSS + "Facts > Vertical { width: 90; border: round $accent; }"
    CLOSES: ClassVar = {"escape", "q", "enter", "l"}

    def __init__(self, title: str, lines: Sequence[Piece]) -> None:
        super().__init__(f"{title}   esc closes", lines)

    def on_key(self, event: events.Key) -> None:
        """Closes."""
        if event.key in self.CLOSES:
            event.stop()
            self.dismiss()
