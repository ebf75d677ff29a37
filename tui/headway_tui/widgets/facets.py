"""FacetLine: states and errors of the list with their counts; a click on one filters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.cells import cell_len

from headway.looks import look
from headway_tui.chrome import Bar
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.segment import Segment

    from headway.wire.runs import Facets

FACETS = ("status", "error")


class FacetLine(Bar):
    """Words of the screen first, then as many values as fit."""

    def __init__(
        self,
        words: Callable[[], list[tuple[str, str]]],
        facets: Callable[[], Facets | None],
        chosen: Callable[[str, str], None],
    ) -> None:
        super().__init__()
        self._words, self._facets, self._chosen = words, facets, chosen

    def pieces(self, width: int) -> list[Segment]:
        """The line; where each value stands is kept for clicks."""
        out = [self.text(text, role) for text, role in self._words()]
        at = sum(cell_len(s.text) for s in out)
        found = self._facets()
        if found is None:
            return out
        ascii_only = self.console_app.ascii_only
        if found.partly:
            note = f"of the newest {found.matched:,}:  "
            out.append(self.text(note, "muted"))
            at += len(note)
        for field in FACETS:
            for facet in found.values.get(field, []):
                if field == "status":
                    shape = look(facet.value)
                    glyph = shape.ascii if ascii_only else shape.glyph
                    text, role = f"{glyph} {shape.word} {facet.runs:,}", shape.role
                else:
                    text, role = f"{safe(facet.value, 30)} x{facet.runs:,}", "bad-soft"
                cells = cell_len(text)
                if at + cells > width:
                    return out
                self.spot(out, text, partial(self._chosen, field, facet.value))
                out += [self.text(text, role), self.text("  ")]
                at += cells + 2
        return out
