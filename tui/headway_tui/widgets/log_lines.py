"""Which lines of a run's output are shown: by level, by what is kept or hidden; as they come."""

from __future__ import annotations

from bisect import bisect_left
from time import monotonic
from typing import TYPE_CHECKING

from headway.texts import plural
from headway_tui.model.loglines import LEVELS, Line, shape
from headway_tui.model.logs import LogStore
from headway_tui.model.texts import safe
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable


SLICE = 0.04
"""Seconds that a tick takes to sift lines."""
_LOOKS = 256
"""Lines that are sifted between two looks at the clock."""


class LogLines(Lines):
    """A sieve over a store; the absolute numbers of what passes are kept."""

    place = "logs"
    has_cursor = False

    def __init__(self, *, id: str | None = None, store: LogStore | None = None) -> None:
        super().__init__(id=id)
        self.store = store or LogStore()
        self.following = True
        self.least = "D"
        self.hit: int | None = None
        """The absolute number of the line that a search found last."""
        self.only: Callable[[Line], bool] | None = None
        """Lines that are shown at all; None = every one."""
        self.only_words = ""
        self.hidden: dict[str, int] = {}
        """Shapes of lines that are not shown, and how many there were."""
        self._kept: list[int] | None = None
        self._seen = 0
        self._base = 0
        self._life = 0

    # --- which lines

    def count(self) -> int:
        """Lines that pass the level."""
        return len(self.store.lines) if self._kept is None else len(self._kept)

    def number(self, index: int) -> int:
        """The absolute number of a shown line."""
        return self.store.base + index if self._kept is None else self._kept[index]

    def failed(self, first: int, after: int) -> bool:
        """Is an error among these lines?"""
        if after > self.count():
            return False
        return self.store.has_error(self.number(first), self.number(after - 1) + 1)

    def _passes(self, line: Line) -> bool:
        if line.level in "-!":
            return True
        if LEVELS.find(line.level) < LEVELS.index(self.least):
            return False
        if self.hidden and (like := shape(line.text)) in self.hidden:
            self.hidden[like] += 1
            return False
        return self.only is None or self.only(line)

    def sift(self) -> int:
        """Keep up with the store; how many shown lines went at the head, below 0 if some came."""
        store = self.store
        if store.life != self._life:
            self._life, self._base, self._seen = store.life, store.base, store.base
            self._kept = None if self._kept is None else []
            self.hit = None
        gone = store.base - self._base
        self._base = store.base
        if self._kept is None:
            return gone
        kept = self._kept
        del kept[bisect_left(kept, store.end) :]
        if gone > 0:
            gone = bisect_left(kept, store.base)
            del kept[:gone]
        elif gone < 0:
            above = self._passing(store.base, store.base - gone)
            kept[:0] = above
            gone = -len(above)
        first = min(max(self._seen, store.base), store.end)
        self._seen = max(first, kept[-1] + 1) if kept else first
        until = monotonic() + SLICE
        while self._seen < store.end:
            after = min(store.end, self._seen + _LOOKS)
            kept += self._passing(self._seen, after)
            self._seen = after
            if after < store.end and monotonic() > until:
                self.touch()  # the rest with the next tick: keys are heard before that
                break
        return gone

    def _passing(self, first: int, after: int) -> list[int]:
        lines, base = self.store.lines, self.store.base
        return [n for n in range(first, after) if self._passes(lines[n - base])]

    def do_level(self, argument: str = "") -> None:
        """This level, or the next one."""
        wanted = argument[:1].upper()
        if not wanted or wanted not in LEVELS:
            wanted = LEVELS[(LEVELS.index(self.least) + 1) % len(LEVELS)]
        self.least = wanted
        self.sift_anew()

    def keep(self, only: Callable[[Line], bool] | None, words: str = "") -> None:
        """Show only such lines, or all again; `words` say which."""
        self.only, self.only_words = only, words if only else ""
        self.sift_anew()

    def do_show_hidden(self) -> None:
        """Show again what was hidden."""
        self.hidden.clear()
        self.sift_anew(following=self.following)

    def sifted(self) -> str:
        """What is not shown, in words; empty = all is."""
        least = "" if self.least == "D" else f"{self.least}+"
        only = safe(self.only_words, 30)
        like = f"{plural(sum(self.hidden.values()), 'line')} hidden" if self.hidden else ""
        return "  ".join(w for w in (least, only, like) if w)

    def sift_anew(self, *, following: bool = True) -> None:
        """All anew; the reader stays at his line unless he follows the end."""
        top = self.number(min(int(self.scroll_y), self.count() - 1)) if self.count() else 0
        self.hidden = dict.fromkeys(self.hidden, 0)
        every = self.least == "D" and self.only is None and not self.hidden
        self._kept = None if every else []
        self._base, self._seen = self.store.base, self.store.base
        self.following = following
        if not following:
            self.sift()
            self.place_quietly(self.index_of(top))
        self.touch()

    def index_of(self, number: int) -> int:
        """Where a line is among those shown, or the one after it."""
        if self._kept is None:
            return number - self.store.base
        return bisect_left(self._kept, number)
