"""Panes of the replay console: the form, lines of words, two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_tui.model.drafts import FIELDS, shown
from headway_tui.model.texts import fit, safe
from headway_tui.widgets.lines import Lines
from headway_tui.widgets.table import VTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.segment import Segment

    from headway_tui.model.compared import Row
    from headway_tui.model.drafts import Draft, Field
    from headway_tui.model.jobs import Words

_ASCII = str.maketrans({"→": ">", "◆": "#", "◈": "!", "✓": "+", "✗": "x", "…": "~",
                        "•": "*", "│": "|"})  # fmt: skip
_ROLES = {"+": "good", "-": "bad-soft", "~": "warning", " ": "muted"}


def plain(text: str, *, ascii_only: bool) -> str:
    """The text as it may be drawn."""
    return text.translate(_ASCII) if ascii_only else text


class Worded(Lines):
    """Lines whose signs have stand-ins where only ASCII is to be used."""

    def plain(self, text: str) -> str:
        """The text as it may be drawn here."""
        return plain(text, ascii_only=self.sign("to") == ">")


class Form(Worded):
    """The draft, one field a line."""

    place = "draft"

    def __init__(self, draft: Callable[[], Draft], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._draft = draft

    def count(self) -> int:
        """Fields."""
        return len(FIELDS)

    @property
    def field(self) -> Field:
        """The one under the cursor."""
        return FIELDS[self.cursor]

    def row(self, index: int, width: int) -> list[Segment]:
        """Label and value; choices are drawn as such."""
        field, draft = FIELDS[index], self._draft()
        value = safe(shown(draft, field.id), 400)
        if field.choices and len(field.choices) > 1:
            told = [f"({'•' if c == value else ' '}) {c}" for c in field.choices]
            if value not in field.choices:
                told.append(f"(•) {value}")
            value = "  ".join(told)
        changed = field.id in ("state", "payload") and value != "unchanged"
        role = "bad" if "MAY HAPPEN AGAIN" in value else "accent" if changed else "text"
        return [self.text(f" {field.label:<8} ", "muted"), self.text(self.plain(value), role)]


class WordLines(Worded):
    """Lines that the screen says."""

    place = "plan"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.words: list[Words] = []

    def count(self) -> int:
        """Lines."""
        return len(self.words)

    def say(self, words: list[Words]) -> None:
        """Other lines."""
        self.words = words
        self.cursor = 0
        self.touch()

    def row(self, index: int, width: int) -> list[Segment]:
        """One line."""
        line = self.words[index]
        return [self.text(f" {self.plain(line.text)}", line.role)]


class JobsTable(VTable):
    """The list of jobs."""

    place = "jobs"


class ItemsTable(VTable):
    """The items of one job."""

    place = "items"

    def plain(self, text: str) -> str:
        """The text as it may be drawn here."""
        return plain(text, ascii_only=self.sign("to") == ">")


class Sides(Worded):
    """Rows with a left and a right half; `n` goes to the next that differs."""

    place = "compare"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: list[Row] = []

    def count(self) -> int:
        """Rows."""
        return len(self.rows)

    def show(self, rows: list[Row]) -> None:
        """Other rows."""
        self.rows = rows
        self.touch()

    def row(self, index: int, width: int) -> list[Segment]:
        """One row."""
        item = self.rows[index]
        role = _ROLES[item.mark]
        if item.wide:
            mark = item.mark if item.mark != " " else " "
            return [self.text(f" {mark} ", role), self.text(self.plain(item.left), item.role)]
        half = max(8, (width - 7) // 2)
        cut = self.sign("cut")
        inked = [
            r if item.mark == " " or r != "text" else role
            for r in (item.role, item.right_role or item.role)
        ]
        return [
            self.text(f" {item.mark} ", role),
            self.text(fit(self.plain(item.left), half, cut), inked[0]),
            self.text(self.plain(" │ "), "muted"),
            self.text(fit(self.plain(item.right), half, cut), inked[1]),
        ]
