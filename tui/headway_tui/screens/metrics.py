"""Metrics: what all engines and agents did, second by second."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textual.containers import Vertical

from headway.texts import plural, span
from headway_tui.boards import MetricsFeed
from headway_tui.chrome import Note
from headway_tui.model.metrics import WINDOWS, Curve, MetricsView
from headway_tui.model.texts import safe
from headway_tui.screens.base import Pane
from headway_tui.widgets.panels import Curves

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

_WORDS = {60: "1m", 900: "15m", 3600: "1h"}


def _now() -> datetime:
    return datetime.now(UTC)


class MetricsScreen(Pane):
    """Nine curves over a window, what runs used of models, and what was dropped."""

    CSS = """
    MetricsScreen .pane { height: 1fr; }
    MetricsScreen Curves { height: 1fr; }
    """
    place = "metrics"

    def __init__(self) -> None:
        super().__init__()
        self.now = _now
        self.view = MetricsView()
        self.window = WINDOWS[1]
        self.curves = Curves(self._curves, id="curves")
        self.engines = Note(self._engines, id="engines")
        self.used = Note(self._used, id="used")
        self.drops = Note(self._drops, id="drops")
        self.box = Vertical(
            self.curves, self.used, self.engines, self.drops, id="box", classes="pane"
        )
        self.feed: MetricsFeed | None = None
        self._seconds = 0

    def body(self) -> Iterable[Widget]:
        """One box."""
        yield self.box

    def on_mount(self) -> None:
        """The feed waits for the link."""
        self.feed = MetricsFeed(self.console_app.link, self.view, self._heard)
        self.set_focus(self.curves)
        self.run_worker(self.feed.run, name="metrics", exit_on_error=True)

    def _heard(self) -> None:
        # An hour is a lot to merge, and moves by a cell a minute.
        self._seconds += 1
        if self.window <= WINDOWS[1] or self._seconds % 4 == 0:
            self._touch()

    def _touch(self) -> None:
        self.curves.touch()

    def on_resize(self) -> None:
        """All anew."""
        self._touch()

    def where(self) -> str:
        """The place at the right of the header."""
        return "Metrics"

    def settle(self) -> None:
        """The frame says which window it is."""
        if not self.curves.dirty:
            return
        held = self.view.held(self.now(), self.window)
        word = _WORDS[self.window]
        self.box.border_title = f"metrics  {word}"
        short = f"{span(held)} so far   " if held < self.window - 2 else ""
        self.box.border_subtitle = f"{short}w window {'/'.join(_WORDS.values())}"
        self.used.display = bool(self.view.used)
        self.used.refresh()
        self.engines.refresh()
        self.drops.refresh()

    def _curves(self) -> list[Curve]:
        return self.view.curves(self.now(), self.window)

    def _used(self, width: int) -> list[tuple[str, str]]:
        return [(f" {self.view.used_words(_WORDS[self.window])}", "text")]

    def _engines(self, width: int) -> list[tuple[str, str]]:
        feed, link = self.feed, self.console_app.link
        if feed is not None and feed.trouble:
            return [(safe(f" {feed.trouble}", 300), "warning")]
        if feed is None or feed.loading:
            return [(" asking" if link.connected else " waiting for NATS", "muted")]
        live = self.view.live(self.now())
        if not live:
            return [(" no engine is heard: `headway engine`, or `headway up`", "warning")]
        names = ", ".join(safe(name, 40) for name in live)
        text = f" {plural(len(live), 'engine')}, all namespaces added up: {names}"
        return [(text, "muted")]

    def _drops(self, width: int) -> list[tuple[str, str]]:
        lines, dropped, spans = self.view.totals
        if gone := self.console_app.link.unshipped():
            was = "was" if gone == 1 else "were"
            words = f" {plural(gone, 'run')} {was} removed before the hub had confirmed it all"
            more = ": RUNS was nearly full. Raise edge.runs_bytes, or mend the link"
            return [(words, "warning"), (more if width >= 100 else "", "muted")]
        role = "warning" if dropped or spans else "muted"
        text = f" of {lines:,} log lines {dropped:,} were dropped, and {spans:,} spans"
        more = "   since each agent's start; dropped = over its rate" if width >= 100 else ""
        return [(text, role), (more, "muted")]

    # --- what the keys do

    def do_window(self, argument: str = "") -> None:
        """The window that is called so, or the next one."""
        if argument:
            self.show_window(argument)
        else:
            self._show(WINDOWS[(WINDOWS.index(self.window) + 1) % len(WINDOWS)])

    def _show(self, window: int) -> None:
        self.window = window
        if self.feed is not None:
            self.feed.window = window
        self._touch()

    def reread(self) -> None:
        """Everything anew."""
        if self.feed is not None:
            self.feed.ask()

    def command_line(self) -> str:
        """The nearest thing in a shell."""
        return "headway metrics" + (" --last 60" if self.window == WINDOWS[0] else "")

    def show_window(self, word: str) -> None:
        """The window that is called so."""
        found = [seconds for seconds, known in _WORDS.items() if known == word]
        if not found:
            self.say(f"no window {word!r}: {', '.join(_WORDS.values())}", "warning")
            return
        self._show(found[0])
