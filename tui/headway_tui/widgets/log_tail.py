"""LogTail: a run's output, painted on a tick whatever its rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.geometry import Size

from headway.texts import clock, span
from headway_tui.model.logs import LEVELS, Line, LogStore, matcher, shown
from headway_tui.model.texts import fit
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events

_ROLES = {"D": "muted", "I": "text", "W": "warning", "E": "bad", "!": "warning", "-": "muted"}
CLOCKS = ("clock", "relative", "none")


class LogTail(Lines):
    """Follows the end until the reader moves; then the text stands still."""

    place = "logs"
    has_cursor = False

    def __init__(self, *, id: str | None = None, store: LogStore | None = None) -> None:
        super().__init__(id=id)
        self.store = store or LogStore()
        self.following = True
        self.least = "D"
        self.clock = "clock"
        self.hit = -1
        self.wanted = ""
        self._test: Callable[[str], bool] | None = None
        self.only: Callable[[Line], bool] | None = None
        """Lines that are shown at all; None = every one."""
        self.only_words = ""
        self._kept: list[int] | None = None
        self._seen = 0
        self._base = 0

    # --- which lines

    def count(self) -> int:
        """Lines that pass the level."""
        return len(self.store.lines) if self._kept is None else len(self._kept)

    def number(self, index: int) -> int:
        """The absolute number of a shown line."""
        return self.store.base + index if self._kept is None else self._kept[index]

    def _sift(self) -> int:
        """Keep up with the store; how many shown lines went at the head."""
        gone = self.store.base - self._base
        self._base = self.store.base
        if self._kept is None:
            return gone
        out = 0
        if gone:
            while out < len(self._kept) and self._kept[out] < self.store.base:
                out += 1
            del self._kept[:out]
        least = LEVELS.index(self.least)
        for number in range(max(self._seen, self.store.base), self.store.end):
            line = self.store.lines[number - self.store.base]
            if line.level in "-!" or (
                LEVELS.find(line.level) >= least and (self.only is None or self.only(line))
            ):
                self._kept.append(number)
        self._seen = self.store.end
        return out

    def do_level(self, argument: str = "") -> None:
        """This level, or the next one."""
        wanted = argument[:1].upper()
        if not wanted or wanted not in LEVELS:
            wanted = LEVELS[(LEVELS.index(self.least) + 1) % len(LEVELS)]
        self.least = wanted
        self._sift_anew()

    def keep(self, only: Callable[[Line], bool] | None, words: str = "") -> None:
        """Show only such lines, or all again; `words` say which."""
        self.only, self.only_words = only, words if only else ""
        self._sift_anew()

    def do_keep_hits(self) -> None:
        """Only what the search finds, or all."""
        test = self._test
        if self.only is not None or test is None:
            self.keep(None)
        else:
            self.keep(lambda line: test(line.text), f"& {self.wanted}")

    def _sift_anew(self) -> None:
        self._kept = None if self.least == "D" and self.only is None else []
        self._seen = self.store.base
        self.following = True
        self.touch()

    # --- painting

    def settle(self) -> None:
        """One scroll offset and one refresh for all lines that came."""
        gone = self._sift()
        n, height = self.count(), self.size.height
        self.virtual_size = Size(self.room, n)
        if self.following:
            self.place_quietly(max(0, n - height))
        elif gone:
            self.place_quietly(max(0, int(self.scroll_y) - gone))

    def row(self, index: int, width: int) -> list[Segment]:
        """One line."""
        number = self.number(index)
        line = self.store.line(number)
        if line is None:
            return []
        if line.level == "-":
            text = f" {line.text} "
            return [self.text(text.center(width, self.sign("rule")), "muted")]
        if line.level == "!":
            return [self.text(f"   {self.sign('idle')} {shown(line)}", "warning")]
        role = _ROLES.get(line.level, "text")
        head = self.text(self._head(line), "muted")
        body = Segment(shown(line), self.palette.hit if number == self.hit else self.palette[role])
        return [head, Segment(f"{line.level} ", self.palette[role]), body]

    def _head(self, line: Line) -> str:
        if self.clock == "none":
            return f" #{line.epoch} "
        if self.clock == "relative":
            first = self.store.lines[0].at
            when = fit(span((line.at - first).total_seconds()), 7)
        else:
            when = clock(line.at)
        return f" {when} #{line.epoch} "

    # --- moving: lines have no cursor, the window moves

    def move(self, index: int) -> None:
        """The window to a line."""
        n, height = self.count(), max(1, self.size.height)
        last = max(0, n - height)
        self.virtual_size = Size(self.room, n)
        self.following = index >= last and n > 0
        self.jump(max(0, min(index, last)))
        self.cursor = int(self.scroll_y)
        self.refresh()
        self.post_message(self.Moved(self))

    def do_down(self) -> None:
        """A line down."""
        self.move(int(self.scroll_y) + 1)

    def do_up(self) -> None:
        """A line up; stops following."""
        self.move(int(self.scroll_y) - 1)

    def do_bottom(self) -> None:
        """To the end, and stay there."""
        self.move(self.count())

    do_follow = do_bottom

    def do_half_down(self) -> None:
        """Half a page down."""
        self.move(int(self.scroll_y) + self.size.height // 2)

    def do_half_up(self) -> None:
        """Half a page up."""
        self.move(int(self.scroll_y) - self.size.height // 2)

    def do_page_down(self) -> None:
        """A page down."""
        self.move(int(self.scroll_y) + self.size.height)

    def do_page_up(self) -> None:
        """A page up."""
        self.move(int(self.scroll_y) - self.size.height)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel: whoever reads above is not torn to the end."""
        event.stop()
        self.move(int(self.scroll_y) - 3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel."""
        event.stop()
        self.move(int(self.scroll_y) + 3)

    def do_clock(self) -> None:
        """Another way to show times."""
        self.clock = CLOCKS[(CLOCKS.index(self.clock) + 1) % len(CLOCKS)]
        self.touch()

    def do_clear(self) -> None:
        """Drop what is shown."""
        self.store.clear()
        self.following = True
        self.touch()

    def do_goto(self, argument: str) -> None:
        """The first line at or after a local time of day, on the day of the last line."""
        parts = argument.split(":")
        if not self.store.lines or not all(p.isdigit() for p in parts) or not 2 <= len(parts) <= 3:
            return
        hour, minute, second = (int(p) for p in (*parts, "0")[:3])
        if hour < 24 and minute < 60 and second < 60:
            day = self.store.lines[-1].at.astimezone()
            at = day.replace(hour=hour, minute=minute, second=second, microsecond=0)
            self.show_line(self.store.near(at))

    def do_minute_on(self) -> None:
        """A minute later."""
        self._minute(1)

    def do_minute_back(self) -> None:
        """A minute earlier."""
        self._minute(-1)

    def _minute(self, step: int) -> None:
        if self.count():
            at = self.number(min(int(self.scroll_y), self.count() - 1))
            self.show_line(self.store.minute(at, step))

    # --- searching

    def search(self, text: str) -> bool:
        """From the last line backwards; False if nothing has it. Raises ValueError."""
        self.wanted, self._test = text, matcher(text) if text else None
        self.hit = -1
        return self._test is None or self._find(self.store.end - 1, -1)

    def _find(self, start: int, step: int) -> bool:
        assert self._test is not None
        found = self.store.find(self._test, start, step)
        if found is None:
            return False
        self.hit = found
        self.show_line(found)
        return True

    def do_next_hit(self) -> None:
        """The next hit below."""
        if self._test is not None and self.hit + 1 < self.store.end:
            self._find(self.hit + 1, 1)

    def do_last_hit(self) -> None:
        """The hit above."""
        if self._test is not None and self.hit > self.store.base:
            self._find(self.hit - 1, -1)

    def show_line(self, number: int) -> None:
        """The window around a line, by its absolute number; following ends."""
        if self._kept is None:
            index = number - self.store.base
        else:
            from bisect import bisect_left

            index = bisect_left(self._kept, number)
        self.move(index - self.size.height // 2)
        self.following = False

    def on_screen(self) -> list[str]:
        """The texts that are seen now."""
        top = int(self.scroll_y)
        numbers = [self.number(i) for i in range(top, min(self.count(), top + self.size.height))]
        lines = (self.store.line(n) for n in numbers)
        return [shown(line) for line in lines if line is not None]
