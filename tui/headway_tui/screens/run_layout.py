"""How the five panes of a run's screen share the terminal: as many as fit are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.containers import Horizontal, Vertical

from headway_tui.model.bands import band_of
from headway_tui.screens.run_words import RunWords
from headway_tui.widgets.prompt import Prompt
from headway_tui.widgets.tabs import TabLine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from headway_tui.widgets.lines import Lines

TINY = 16
"""Lines below which one pane is all there is room for."""


class RunLayout(RunWords):
    """Timeline above; below it output, and one of state, attempts and info beside it.

    On a small terminal one of these four is below, and tabs say which.
    """

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.search = Prompt(
            lambda _: (), lead="/", id="search", placeholder="text, or /an expression/"
        )
        self.boxes: dict[Lines, Vertical] = {
            self.waterfall: self.timeline_box, self.logs: self.logs_box,
            self.state: self.state_box, self.attempts: self.attempts_box, self.info: self.info_box,
        }  # fmt: skip
        self.lower = Horizontal(*list(self.boxes.values())[1:], id="lower")
        self.error_box = Vertical(self.error_line, id="error-box")
        self.error_box.border_title = "error"
        names = ("Timeline", "Logs", "State", "Attempts", "Info")
        self.tabs = TabLine(list(zip(names, self.boxes, strict=True)), self._is_shown, self.go_to)
        self._zoomed = False
        self._lower: Lines = self.logs
        """What is below the timeline on a small terminal."""
        self._right: Lines = self.state
        """What is beside the output on others."""

    def body(self) -> Iterable[Widget]:
        """Facts, panes, the error."""
        yield self.facts
        yield self.tabs
        yield self.timeline_box
        yield self.lower
        yield self.search.line
        yield self.error_box

    def on_resize(self) -> None:
        """Panes as the size allows."""
        self.share()

    def on_descendant_focus(self) -> None:
        """The pane with the focus is seen."""
        super().on_descendant_focus()
        self._meant(self.focused)
        self.share()

    def _meant(self, pane: Any) -> None:
        if pane in self.boxes and pane is not self.waterfall:
            self._lower = pane
            self._right = pane if pane is not self.logs else self._right

    def share(self) -> None:
        """What is shown, and how high."""
        focused: Any = self.focused
        one = focused if self._zoomed and focused in self.boxes else None
        tiny = self.size.height < TINY
        if one is None and tiny:
            one = focused if focused in self.boxes else self.waterfall
        for pane, box in self.boxes.items():
            box.display = pane is one if one is not None else self._is_shown(pane)
        self.timeline_box.styles.height = "1fr" if one is self.waterfall else (
            "50%" if self.small else "45%"
        )  # fmt: skip
        self.lower.display = one is not self.waterfall
        self.tabs.display = self.small and one is None
        self.tabs.refresh()
        self.error_box.set_class(self.small, "-small")
        for note in (self.retry_line, self.once_line):
            note.display = self.state_box.size.height >= 10 or not self.small
        self.place_header()
        for pane in self.boxes:
            pane.touch()

    def place_header(self) -> None:
        """On a small terminal the facts say what the header says, unless there is a band."""
        link = self.console_app.link
        calm = band_of(link.facts(self.console_app.behind))[0] == "none" and not link.offline
        self.header.display = not (self.small and calm)

    def _is_shown(self, pane: Widget) -> bool:
        shown = {self.waterfall, self._lower} if self.small else {
            self.waterfall, self.logs, self._right}  # fmt: skip
        return pane in shown

    def go_to(self, pane: Any) -> None:
        """The focus to a pane, which is seen then."""
        self._meant(pane)
        for box in (self.lower, self.boxes[pane]):
            box.display = True  # what is not shown takes no focus
        self.set_focus(pane)
        self.call_after_refresh(self.share)

    # --- what the keys do

    def do_next_pane(self) -> None:
        """The next pane."""
        self._focus(1)

    def do_last_pane(self) -> None:
        """The pane before."""
        self._focus(-1)

    def _focus(self, step: int) -> None:
        panes = [p for p in self.boxes if self.small or self._is_shown(p)]
        focused: Any = self.focused
        at = panes.index(focused) if focused in panes else 0
        self.go_to(panes[(at + step) % len(panes)])

    def do_pane_timeline(self) -> None:
        """To the timeline."""
        self.go_to(self.waterfall)

    def do_pane_logs(self) -> None:
        """To the output."""
        self.go_to(self.logs)

    def do_pane_state(self) -> None:
        """To the state."""
        self.go_to(self.state)

    def do_pane_attempts(self) -> None:
        """To the attempts."""
        self.go_to(self.attempts)

    def do_pane_info(self) -> None:
        """To the facts."""
        self.go_to(self.info)

    def do_zoom_pane(self) -> None:
        """The focused pane alone, or all."""
        self._zoomed = not self._zoomed
        self.share()

    def do_full_logs(self) -> None:
        """The output alone."""
        self._zoomed = True
        self.go_to(self.logs)

    def leave(self) -> bool:
        """A zoomed pane first becomes small again."""
        if self._zoomed:
            self.do_zoom_pane()
            return True
        return super().leave()
