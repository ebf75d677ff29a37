"""What every screen stands on: header, keys, toast, the clock, and what a kind of it has to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.screen import Screen

from headway.safe import safe_line
from headway_tui.chrome import Header, Keys, Toast
from headway_tui.model.jumps import Spot
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from headway.wire.runs import RunRow
    from headway_tui.app import HeadwayApp

SMALL = 100
"""Below so many columns panes become tabs and columns drop."""


class Frame(Screen[None]):
    """A screen without its panes."""

    AUTO_FOCUS = None
    place = ""
    """Its place in the table of actions."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_line = Keys()
        self.toast = Toast()
        self.header = Header(self.where, self.lag)
        self._ticks = 0
        self._lines: list[Lines] = []

    @property
    def console_app(self) -> HeadwayApp:
        """The app."""
        return cast("HeadwayApp", self.app)  # pyright: ignore[reportUnknownMemberType] Textual leaves it open

    @property
    def small(self) -> bool:
        """True on a terminal of about 80 columns."""
        return self.size.width < SMALL

    # --- what a kind of it gives

    def where(self) -> str:
        """At the right end of the header."""
        return ""

    def spot(self) -> Spot:
        """What is seen here, so that it can be found again."""
        return Spot(self.place)

    def on_screen_resume(self) -> None:
        """The reader is here; not if he only passed on his way to another screen."""
        if self.app.screen is self:
            self.console_app.jumps.visited(self.spot())

    def lag(self) -> int:
        """Messages that wait to be looked at."""
        return 0

    def body(self) -> Iterable[Widget]:
        """Its panes."""
        return ()

    def settle(self) -> None:
        """Called by the clock before panes are painted."""

    def leave(self) -> bool:
        """True if there was something to close before the screen itself."""
        return False

    def reread(self) -> None:
        """Read everything anew."""

    def chosen_runs(self) -> list[tuple[str, str]]:
        """The runs that a command means: (id, what it is)."""
        return []

    def chosen_row(self) -> RunRow | None:
        """The run under the cursor, if its row is here."""
        return None

    def chosen_tags(self) -> dict[str, tuple[str, ...]]:
        """Tags of the runs whose rows are here, those under the cursor at least."""
        row = self.chosen_row()
        return {} if row is None else {row.run: row.tags}

    def chosen_checkpoint(self) -> int:
        """The checkpoint under the cursor; 0 = the last."""
        return 0

    def meant_query(self) -> str:
        """The query, if all runs that match it are meant; else empty."""
        return ""

    def wrote(self) -> None:
        """Something was changed from here."""

    def command_line(self) -> str:
        """The same as this screen shows, from a shell."""
        return "headway ls"

    # --- layout

    def on_mount(self) -> None:
        """Its panes are there: the clock paints them from its next tick on."""
        self._lines = list(self.query(Lines))

    def paint_now(self) -> None:
        """Something was waited for: it is seen before the clock's next tick."""
        app = self.console_app
        if self.is_attached and app.screen is self and not app.paused:
            app.paint()

    def paint(self) -> None:
        """Called by the clock."""
        if not self.is_attached:
            return
        self._ticks += 1
        self.settle()
        if self._ticks % 15 == 1:  # walking the tree at every tick would cost more than painting
            self._lines = list(self.query(Lines))
        for lines in self._lines:
            if lines.display:
                lines.paint()
        if self._ticks % 8 == 0:
            self.header.refresh()
            self.toast.refresh()

    def paint_keys(self) -> None:
        """The keys are others now."""
        self.keys_line.refresh()

    def on_descendant_focus(self) -> None:
        """Other pane, other keys."""
        self.paint_keys()

    def say(self, text: str, role: str = "muted") -> None:
        """In the last line."""
        self.toast.say(safe_line(text, 500), role)
