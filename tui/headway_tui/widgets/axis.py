"""Axis: the times above a waterfall; a drag on it zooms, a click goes to what began then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_tui.chrome import Bar

if TYPE_CHECKING:
    from rich.segment import Segment
    from textual import events

    from headway_tui.widgets.waterfall import Waterfall

CLICK = 1
"""Cells that a pointer may move between press and release of a click."""


class Axis(Bar):
    """One line, as wide as the waterfall below it."""

    def __init__(self, waterfall: Waterfall, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._waterfall = waterfall
        self._from: int | None = None
        self._to = 0

    def pieces(self, width: int) -> list[Segment]:
        """The times; what is being dragged over stands out."""
        text = self._waterfall.axis()
        if self._from is None or abs(self._to - self._from) <= CLICK:
            return [self.text(text, "muted")]
        low, high = sorted((self._from, self._to))
        text = text.ljust(high + 1)
        chosen = self.text(text[low : high + 1])
        return [
            self.text(text[:low], "muted"),
            chosen._replace(style=self.console_app.palette.chosen),
            self.text(text[high + 1 :], "muted"),
        ]

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """A drag begins, or a click."""
        event.stop()
        self._from = self._to = event.x
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Over what it goes."""
        if self._from is not None:
            self._to = event.x
            self.refresh()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """The time that was dragged over fills the view; a click goes to its row."""
        begun, self._from = self._from, None
        self.release_mouse()
        if begun is None:
            return
        event.stop()
        low, high = sorted((begun, event.x))
        if high - low > CLICK:
            self._waterfall.zoom_to(low, high + 1)
        else:
            self._waterfall.go_to(event.x)
        self.refresh()
