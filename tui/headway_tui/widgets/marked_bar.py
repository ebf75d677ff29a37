"""Marks in a scrollbar: where in all rows the failures lie, seen or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.segment import Segment, Segments
from rich.style import Style
from textual.scrollbar import ScrollBarRender

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rich.console import Console, ConsoleOptions, RenderResult
    from textual.scrollbar import ScrollBar

MARK = "━"


class _Marked(ScrollBarRender):
    """The bar as always, with a sign over the cells of the marks."""

    marks: Collection[int] = ()
    look = Style()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for bar in super().__rich_console__(console, options):
            if isinstance(bar, Segments):
                for cell in self.marks:
                    if cell < len(bar.segments):
                        under = bar.segments[cell].style or Style()
                        back = under.color if under.reverse else under.bgcolor
                        style = Style(
                            color=self.look.color, bgcolor=back, bold=True, meta=under.meta
                        )
                        bar.segments[cell] = Segment(MARK, style)
            yield bar


def with_marks(
    bar: ScrollBar, marks: Callable[[int], Collection[int]], look: Callable[[], Style]
) -> None:
    """Have this scrollbar show marks: `marks` gives the cells of a bar of so many cells."""

    def render(**how: Any) -> _Marked:
        made = _Marked(**how)
        made.marks, made.look = marks(bar.size.height), look()
        return made

    some: Any = bar  # Textual allows another renderer for one bar, but types it as a class
    some.renderer = render


def spread(marked: Callable[[int, int], bool], count: int, height: int) -> frozenset[int]:
    """Cells of a bar of `height` for rows of which `marked(first, after)` says there is one."""
    if count <= 0 or height <= 0:
        return frozenset()
    found: set[int] = set()
    for cell in range(height):
        first = cell * count // height
        after = max(first + 1, (cell + 1) * count // height)
        if marked(first, after):
            found.add(cell)
    return frozenset(found)
