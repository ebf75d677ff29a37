"""LogTail: a run's output, painted on a tick whatever its rate."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from rich.cells import cell_len
from rich.segment import Segment
from textual.message import Message
from textual.strip import Strip

from headway.texts import clock, span
from headway_tui.model.loglines import Line, matcher, shape, shown
from headway_tui.model.texts import fit, safe
from headway_tui.widgets.log_lines import LogLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events

    from headway_tui.model.logs import LogStore

_ROLES = {"D": "muted", "I": "text", "W": "warning", "E": "bad", "!": "warning", "-": "muted"}
SLICE = 0.03
"""Seconds that a search takes at once: then keys are heard before it goes on."""
CLOCKS = ("clock", "relative", "delta", "none")


class Source(Protocol):
    """Where lines come from that are not kept."""

    def want_older(self) -> None:
        """Those above the first one that is kept."""
        ...

    def want_newer(self) -> None:
        """Those below the last one that is kept."""
        ...

    def want_first(self) -> None:
        """The first ones of all, instead of what is kept."""
        ...

    def want_last(self) -> None:
        """The last ones of all, instead of what is kept; then what comes."""
        ...


class LogTail(LogLines):
    """Follows the end until the reader moves; then the text stands still."""

    class Beyond(Message):
        """There is no further hit in memory: backwards (-1), or forwards (+1)."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, id: str | None = None, store: LogStore | None = None) -> None:
        super().__init__(id=id, store=store)
        self.source: Source | None = None
        self.clock = "clock"
        self.wrap = False
        self.wanted = ""
        self.empty = ""
        """What is said where there is no line."""
        self.rules: dict[int, str] = {}
        """By epoch: what the rule above an attempt says."""
        self.test: Callable[[str], bool] | None = None
        """What is looked for."""
        self.searching: tuple[int, int, int] | None = None
        """A search under way: the line at which it goes on, its direction, the store's life."""
        self._wrapped: list[tuple[int, int]] = []
        """While lines are wrapped: for each row of the screen its line, and which part of it."""

    # --- which lines

    def do_keep_hits(self) -> None:
        """Only what the search finds, or all."""
        test = self.test
        if self.only is not None or test is None:
            self.keep(None)
        else:
            self.keep(lambda line: test(line.text), f"& {self.wanted}")

    def chosen(self) -> Line | None:
        """The line that is meant: the hit while it is seen, else the last text on the screen."""
        numbers = self._numbers()
        if self.hit is not None and self.hit in numbers:
            return self.store.line(self.hit)
        lines = (self.store.line(n) for n in reversed(numbers))
        return next((li for li in lines if li is not None and li.level not in "-!"), None)

    def do_whole_line(self) -> None:
        """A page with the whole line."""
        line = self.chosen()
        if line is not None:
            from headway_tui.model.details import of_line
            from headway_tui.pages import PageSheet

            title = f"{clock(line.at)} #{line.epoch}"
            self._app().push_screen(PageSheet(title, of_line(line.text)))

    def do_hide_like(self) -> None:
        """Hide lines that differ from the chosen one by numbers and quoted texts alone."""
        line = self.chosen()
        if line is None:
            return
        self.hidden[shape(line.text)] = 0
        following, hit = self.following, self.hit
        self.sift_anew(following=following)
        self.hit = None if hit is not None and self.store.line(hit) is line else hit

    # --- painting

    def settle(self) -> None:
        """One scroll offset and one refresh for all lines that came."""
        gone = self.sift()
        n = self.count()
        self._fit(n)
        if self.following:
            self.place_quietly(self._last_top())
        elif gone:
            self.place_quietly(max(0, int(self.scroll_y) - gone))
        self._wrapped = []

    def _fit(self, n: int) -> None:
        # A wrapped line takes several rows: each may be scrolled to the top.
        below = max(0, self.size.height - 1) if self.wrap and n > 0 else 0
        self.fit_rows(n + below)

    def _last_top(self) -> int:
        """The first line of the screen at whose bottom the last one is."""
        n, room = self.count(), self.size.height
        if not self.wrap:
            return max(0, n - room)
        top = n
        while top > 0 and (room := room - self._rows_of(top - 1)) >= 0:
            top -= 1
        return min(top, max(0, n - 1))

    def render_line(self, y: int) -> Strip:
        """One row of the screen: a line, or a part of one."""
        if not self.count() and y == 0:
            words = f"no line of {len(self.store.lines):,} is shown: {self.sifted()}"
            words = words if self.store.lines else self.empty
            return self.finished(Strip([self.text(f" {self.worded(words)}", "muted")]), 0)
        if not self.wrap:
            return super().render_line(y)
        if not self._wrapped:
            self._lay_out()
        width, base = self.room, self.rich_style
        index, part = self._wrapped[y] if y < len(self._wrapped) else (self.count(), 0)
        if index >= self.count():
            return Strip.blank(width, base)
        strip = Strip(self.row(index, width))
        if part:
            head = self._indent(index)
            begin = width + (part - 1) * (width - head)
            strip = Strip([Segment(" " * head), *strip.crop(begin, begin + width - head)])
        return self.finished(strip, index)

    def _indent(self, index: int) -> int:
        number = self.number(index)
        line = self.store.line(number)
        if line is None or line.level in "-!":
            return 0
        return min(cell_len(self._head(line, number)) + 2, self.room // 2)

    def _lay_out(self) -> None:
        """Which line is on which row."""
        rows: list[tuple[int, int]] = []
        height, n = self.size.height, self.count()
        if self.following:
            # The last line's end is at the bottom, wherever the first one has to be cut for that.
            for index in range(n - 1, -1, -1):
                rows[:0] = [(index, part) for part in range(self._rows_of(index))]
                if len(rows) >= height:
                    break
            rows = rows[-height:]
        else:
            for index in range(max(0, int(self.scroll_y)), n):
                rows += [(index, part) for part in range(self._rows_of(index))]
                if len(rows) >= height:
                    break
        self._wrapped = rows[:height] or [(n, 0)]

    def _rows_of(self, index: int) -> int:
        number, width = self.number(index), self.room
        line = self.store.line(number)
        if line is None or line.level in "-!":
            return 1
        over = cell_len(self._head(line, number)) + 2 + cell_len(shown(line)) - width
        return 1 + max(0, -(-over // max(1, width - self._indent(index))))

    def row(self, index: int, width: int) -> list[Segment]:
        """One line."""
        if index >= self.count():
            return []
        number = self.number(index)
        line = self.store.line(number)
        if line is None:
            return []
        if line.level == "-":
            words = safe(self.rules.get(line.epoch, line.text), 60)
            text = f" {words.replace('◆', self.sign('checkpoint'))} "
            return [self.text(text.center(width, self.sign("rule")), "muted")]
        if line.level == "!":
            return [self.text(f"   {self.sign('idle')} {shown(line)}", "warning")]
        role = _ROLES.get(line.level, "text")
        head = self.text(self._head(line, number), "muted")
        body = Segment(shown(line), self.palette.hit if number == self.hit else self.palette[role])
        return [head, Segment(f"{line.level} ", self.palette[role]), body]

    def _head(self, line: Line, number: int) -> str:
        if self.clock == "none":
            return f" #{line.epoch} "
        if self.clock == "relative":
            first = self.store.lines[0].at
            when = fit(span((line.at - first).total_seconds()), 7)
        elif self.clock == "delta":
            before = self.store.line(number - 1) or line
            when = fit(f"+{span((line.at - before.at).total_seconds())}", 8)
        else:
            when = clock(line.at)
        return f" {when} #{line.epoch} "

    # --- moving: lines have no cursor, the window moves

    def move(self, index: int) -> None:
        """The window to a line; at either end of what is kept the rest is asked for."""
        n = self.count()
        last = self._last_top()
        self._fit(n)
        self.following = index >= last and n > 0 and not self.store.newer
        self.jump(max(0, min(index, last)))
        self.cursor = int(self.scroll_y)
        self._wrapped = []
        self.refresh()
        if self.source is not None:
            if self.store.older and self.cursor <= self.size.height:
                self.source.want_older()
            if self.store.newer and self.cursor >= last - self.size.height:
                self.source.want_newer()
        self.post_message(self.Moved(self))

    def do_down(self) -> None:
        """A line down."""
        self.move(int(self.scroll_y) + 1)

    def do_up(self) -> None:
        """A line up; stops following."""
        self.move(int(self.scroll_y) - 1)

    def do_top(self) -> None:
        """To the first line there is."""
        if self.store.older and self.source is not None:
            self.source.want_first()
        self.move(0)
        self.following = False

    def do_bottom(self) -> None:
        """To the end, and stay there."""
        elsewhere = self.store.newer
        self.move(self.count())
        if elsewhere and self.source is not None:
            self.source.want_last()
            self.following = True

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

    def do_wrap(self) -> None:
        """Long lines over several rows, or cut at the edge."""
        self.wrap = not self.wrap
        self.left = 0
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
        self.wanted, self.test = text, matcher(text) if text else None
        self.hit = None
        return self.test is None or self._find(self.store.end - 1, -1)

    def _find(self, start: int, step: int) -> bool:
        """Show the next hit; True too if there may be one and the search goes on by itself."""
        assert self.test is not None
        self.searching = None
        until = monotonic() + SLICE
        found, rest = self.store.look(self.test, start, step, lambda: monotonic() > until)
        if found is not None:
            self.hit = found
            self.show_line(found)
        elif rest is not None:
            self.searching = rest, step, self.store.life
            self.call_later(self._go_on)
        return found is not None or rest is not None

    def _go_on(self) -> None:
        if self.searching is None:
            return
        start, step, life = self.searching
        if life != self.store.life:
            self.searching = None
        elif not self._find(start, step):
            self.post_message(self.Beyond(step))

    def do_next_hit(self) -> None:
        """The next hit below."""
        self._next(1)

    def do_last_hit(self) -> None:
        """The hit above."""
        self._next(-1)

    def _next(self, step: int) -> None:
        if self.test is None:
            return
        at, store = self.hit, self.store
        if at is None:
            numbers = self._numbers()
            at = numbers[0] - step if numbers else store.base
        inside = store.base <= at + step < store.end
        if not (inside and self._find(at + step, step)):
            self.post_message(self.Beyond(step))

    def show_hit(self, seq: int, step: int) -> bool:
        """The last (-1) or first (+1) hit in a chunk, by its sequence; False if there is none."""
        self.sift()
        rows = self.store.rows_of(seq)
        for number in rows if step > 0 else reversed(rows):
            line = self.store.line(number)
            if line is not None and self.test is not None and self.test(line.text):
                self.hit = number
                self.show_line(number)
                return True
        return False

    def do_pipe_pane(self, argument: str) -> None:
        """The lines that are kept and shown, into a command of the shell."""
        numbers = map(self.number, range(self.count()))
        lines = (self.store.line(n) for n in numbers)
        given = "".join(f"{line.text}\n" for line in lines if line is not None)
        self._app().pane_screen.pipe_through(argument, given.encode("utf-8", "replace"), "pipe")

    def show_line(self, number: int) -> None:
        """The window around a line, by its absolute number; following ends."""
        self.move(self.index_of(number) - self.size.height // 2)
        self.following = False

    def _numbers(self) -> list[int]:
        """Absolute numbers of the lines that are seen now."""
        if self.wrap:
            if not self._wrapped:
                self._lay_out()
            seen = [i for i in dict.fromkeys(i for i, _ in self._wrapped) if i < self.count()]
        else:
            top = int(self.scroll_y)
            seen = list(range(top, min(self.count(), top + self.size.height)))
        return [self.number(i) for i in seen]

    def on_screen(self) -> list[str]:
        """The texts that are seen now."""
        lines = (self.store.line(n) for n in self._numbers())
        return [shown(line) for line in lines if line is not None]
