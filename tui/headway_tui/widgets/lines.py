"""The base of all live widgets: virtual rows, a cursor, and painting by a clock.

Data changes call `touch`; the app's clock calls `paint`. Nothing is laid out or styled but the rows
on screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from headway.looks import MARKS, in_ascii
from headway_tui.themes import ROLES, Palette
from headway_tui.widgets.marked_bar import spread, with_marks

if TYPE_CHECKING:
    from textual import events
    from textual.geometry import Region

_STALE = Style(dim=True)
"""Rows of which nobody says whether they are still true."""
_DEFAULT = Palette(ROLES["headway-dark"])


class Lines(ScrollView, can_focus=True):
    """Rows by number. A kind of it says how many there are and how one looks."""

    DEFAULT_CSS = """
    Lines { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; overflow-x: hidden;
            background: $background; }
    """

    place = ""
    """Its place in the table of actions."""
    has_cursor = True

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, lines: Lines) -> None:
            super().__init__()
            self.lines = lines

    class Chosen(Message):
        """A row was double-clicked."""

        def __init__(self, lines: Lines) -> None:
            super().__init__()
            self.lines = lines

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = 0
        self.dirty = True
        self.paints = 0
        self.left = 0
        self._looks: tuple[int, Style] | None = None
        self._marks: frozenset[int] = frozenset()

    def on_mount(self) -> None:
        """The scrollbar says where the failures are."""
        with_marks(self.vertical_scrollbar, lambda _: self._marks, lambda: self.palette["bad"])

    # --- what a kind of it gives

    def count(self) -> int:
        """Rows there are."""
        raise TypeError("a kind of Lines says how many rows it has")

    def row(self, index: int, width: int) -> list[Segment]:
        """One row; it is cut or padded to the width afterwards."""
        raise TypeError("a kind of Lines draws its rows")

    def failed(self, first: int, after: int) -> bool:
        """Is there a failure among these rows? It is marked in the scrollbar."""
        return False

    # --- painting

    def _app(self) -> Any:
        return cast("Any", self).app

    @property
    def palette(self) -> Palette:
        """Styles of the theme in force."""
        return getattr(self._app(), "palette", _DEFAULT)

    def sign(self, name: str) -> str:
        """A sign, in ASCII where only that is to be used."""
        return MARKS[name][bool(getattr(self._app(), "ascii_only", False))]

    def worded(self, text: str) -> str:
        """A text of ours, its signs in ASCII where only that is to be used."""
        return in_ascii(text) if getattr(self._app(), "ascii_only", False) else text

    def touch(self) -> None:
        """Something changed: the next tick paints."""
        self.dirty = True

    def paint(self) -> None:
        """Called by the clock."""
        if not self.dirty or not self.is_attached or self.size.height == 0:
            return
        self.dirty = False
        self.paints += 1
        self.settle()
        marks = spread(self.failed, self.count(), self.size.height)
        if marks != self._marks:
            self._marks = marks
            self.vertical_scrollbar.refresh()
        self.refresh()

    def settle(self) -> None:
        """Make scrolling fit the rows there are."""
        n = self.count()
        self.cursor = max(0, min(self.cursor, n - 1))
        self.fit_rows(n)

    def fit_rows(self, n: int) -> None:
        """So many rows can be scrolled through.

        Setting `virtual_size` lays out the whole screen anew and paints it twice; that is needed
        only where the scrollbar comes or goes, or where there are fewer rows than before.
        """
        kind: Any = ScrollView
        size, old = Size(self.room, n), self.virtual_size
        barred: bool = self.show_vertical_scrollbar
        same = barred == (n > self.container_size.height) and n >= old.height
        if not same or self.styles.overflow_y != "auto":
            self.virtual_size = size
        elif size != old:
            self.set_reactive(kind.virtual_size, size)
            if barred:
                bar: Any = self.vertical_scrollbar
                bar.window_virtual_size = n

    @property
    def room(self) -> int:
        """Cells of a row: the scrollbar is not among them."""
        return self.scrollable_content_region.width

    def render_lines(self, crop: Region) -> list[Strip]:
        """Textual asks for a part; what is the same for all its lines is worked out once."""
        self._looks = (self.room, self.rich_style)
        try:
            return super().render_lines(crop)
        finally:
            self._looks = None

    def render_line(self, y: int) -> Strip:
        """Textual asks for one line of the screen."""
        width, base = self._looks or (self.room, self.rich_style)
        index = int(self.scroll_y) + y
        if not 0 <= index < self.count():
            return Strip.blank(width, base)
        strip = Strip(self.row(index, width))
        return self.finished(strip.crop(self.left) if self.left else strip, index)

    def finished(self, strip: Strip, index: int) -> Strip:
        """A row in its width, with the cursor and what all rows have."""
        width, base = self._looks or (self.room, self.rich_style)
        strip = strip.adjust_cell_length(width)
        if self.has_cursor and index == self.cursor and self.has_focus_within:
            strip = strip.apply_style(self.palette.cursor)
        if getattr(self._app(), "stale", False):
            strip = strip.apply_style(_STALE)
        return strip.apply_style(base)

    def text(self, text: str, role: str = "text") -> Segment:
        """A piece of a row in the colour of a role."""
        return Segment(text, self.palette[role])

    # --- moving

    def jump(self, y: float) -> None:
        """Scroll to a row without animation, now."""
        self.scroll_to(y=y, animate=False, immediate=True, force=True)

    def move(self, index: int) -> None:
        """The cursor to a row; scrolls only when it leaves the window."""
        n = self.count()
        self.fit_rows(n)
        self.cursor = max(0, min(index, n - 1))
        top, height = int(self.scroll_y), max(1, self.size.height)
        if self.cursor < top:
            self.jump(self.cursor)
        elif self.cursor >= top + height:
            self.jump(self.cursor - height + 1)
        self.refresh()
        self.post_message(self.Moved(self))

    def do_down(self) -> None:
        """A row down."""
        self.move(self.cursor + 1)

    def do_up(self) -> None:
        """A row up."""
        self.move(self.cursor - 1)

    def do_top(self) -> None:
        """The first row."""
        self.move(0)

    def do_bottom(self) -> None:
        """The last row."""
        self.move(self.count() - 1)

    def do_half_down(self) -> None:
        """Half a page down."""
        self.move(self.cursor + self.size.height // 2)

    def do_half_up(self) -> None:
        """Half a page up."""
        self.move(self.cursor - self.size.height // 2)

    def do_page_down(self) -> None:
        """A page down."""
        self.move(self.cursor + self.size.height)

    def do_page_up(self) -> None:
        """A page up."""
        self.move(self.cursor - self.size.height)

    def do_side_right(self) -> None:
        """Sideways."""
        self.left += 8
        self.refresh()

    def do_side_left(self) -> None:
        """Sideways."""
        self.left = max(0, self.left - 8)
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """A click takes the cursor there, a double click opens."""
        if self.has_cursor and 0 <= (at := int(self.scroll_y) + event.y) < self.count():
            self.move(at)
            if event.chain == 2:
                self.post_message(self.Chosen(self))

    def on_resize(self) -> None:
        """Another size: all is painted anew."""
        self.touch()

    def watch_has_focus(self, value: bool) -> None:
        """The cursor is seen where the focus is."""
        super().watch_has_focus(value)
        self.refresh()

    def place_quietly(self, y: int) -> None:
        """Scroll without the watchers, which would paint: the tick paints once."""
        kind: Any = ScrollView
        y = max(0, min(y, self.max_scroll_y))
        self.set_reactive(kind.scroll_y, float(y))
        self.set_reactive(kind.scroll_target_y, float(y))
        bar: Any = self.vertical_scrollbar
        bar.position = y
