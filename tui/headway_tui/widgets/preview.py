"""Preview: facts of the run under the cursor, beside or below the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from rich.segment import Segment


class Preview(Lines):
    """Facts of the run under the cursor."""

    has_cursor = False
    can_focus = False

    def __init__(self) -> None:
        super().__init__(id="preview")
        self.facts: list[tuple[str, str]] = []

    def count(self) -> int:
        """Lines."""
        return len(self.facts)

    def row(self, index: int, width: int) -> list[Segment]:
        """One line."""
        text, role = self.facts[index]
        return [self.text(f" {text}", role)]
