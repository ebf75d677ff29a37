"""TabLine: the panes of a small terminal, of which not all are shown; a click goes to one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.segment import Segment

from headway_tui.chrome import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.widget import Widget


APART = "   "


class TabLine(Bar):
    """Titles, the key of each in brackets; those of panes that are shown stand out."""

    def __init__(
        self, panes: Sequence[tuple[str, Widget]], shown: Callable[[Widget], bool],
        go: Callable[[Widget], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self._panes, self._is_shown, self._go = panes, shown, go

    def pieces(self, width: int) -> list[Segment]:
        """The line."""
        palette = self.console_app.palette
        out = [self.text(" ")]
        for title, pane in self._panes:
            if pane is self.screen.focused:
                style = palette.chosen
            else:
                style = palette["text" if self._is_shown(pane) else "muted"]
            words = f"[{title[0]}]{title[1:]}"
            self.spot(out, words, partial(self._go, pane))
            out += [Segment(words, style), self.text(APART)]
        hint = "tab next"
        room = width - sum(len(s.text) for s in out) - len(hint) - 1
        return [*out, self.text(" " * room + hint, "muted")] if room > 0 else out
