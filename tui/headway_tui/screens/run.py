"""One run: its timeline, its output live, its saved states."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.containers import Horizontal, Vertical

from headway.errors import HeadwayError
from headway.wire.runs import RunAsk, RunDetail
from headway_tui.feeds import RunFeed
from headway_tui.logfeed import LogFeed
from headway_tui.model.jumps import Spot
from headway_tui.model.loglines import rule_of
from headway_tui.model.texts import safe
from headway_tui.query import same_error
from headway_tui.screens.run_panes import ID_LENGTH
from headway_tui.screens.run_words import RunWords
from headway_tui.spanfeed import SpanFeed
from headway_tui.widgets.prompt import Prompt
from headway_tui.widgets.tabs import TabLine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget
    from textual.widgets import Input

    from headway.wire.events import Event, SpanChunk
    from headway_tui.link import Link
    from headway_tui.widgets.lines import Lines


class RunScreen(RunWords):
    """Timeline above, output and state below; one of the two below on small terminals."""

    CSS = """
    RunScreen #facts { height: 1; }
    RunScreen #timeline-box { height: 45%; }
    RunScreen #lower { height: 1fr; }
    RunScreen #logs-box { width: 5fr; }
    RunScreen #state-box { width: 4fr; }
    RunScreen #error-box { height: 3; border: round $error; }
    RunScreen #error-box.-small { height: 1; border: none; }
    RunScreen #axis { height: 1; }
    """
    place = "run"

    def __init__(self, run: str, link: Link, *, logs: bool = False) -> None:
        """`logs`: the output alone at first."""
        super().__init__(run)
        self._logs_first = logs
        # Its end is asked for before the screen is made: the engine answers meanwhile.
        self.lines = LogFeed(link, run, self.logs.store, self._lines_came)
        self.lines.begin()
        self._came = False
        self.search = Prompt(
            lambda _: (), lead="/", id="search", placeholder="text, or /an expression/"
        )
        self.lower = Horizontal(self.logs_box, self.state_box, id="lower")
        self.error_box = Vertical(self.error_line, id="error-box")
        panes = [("timeline", self.waterfall), ("logs", self.logs), ("state", self.state)]
        self.tabs = TabLine(panes, self._is_shown, self._go_to)
        self._zoomed = False
        self._lower: Lines = self.logs

    # --- layout

    def body(self) -> Iterable[Widget]:
        """Facts, panes, the error."""
        yield self.facts
        yield self.tabs
        yield self.timeline_box
        yield self.lower
        yield self.search.line
        yield self.error_box

    def on_mount(self) -> None:
        """Follow the run."""
        if self._logs_first:
            self._lower, self._zoomed = self.logs, True
        self.set_focus(self.logs if self._logs_first else self.waterfall)
        link = self.console_app.link
        if link.as_of is not None:
            self.now = lambda: link.as_of or datetime.now(UTC)  # what was running, as it was
        self.feed = RunFeed(link, self.run_id, self._on_detail, self._on_event)
        self.logs.source = self.lines
        self.state.empty = "no checkpoint yet: until there is one, a crash starts over"
        self.state.show({}, b"", self.state.empty)
        self.error_box.display = False
        self.run_worker(self._follow, name="run", exit_on_error=True)

    async def _follow(self) -> None:
        assert self.feed is not None
        if len(self.run_id) < ID_LENGTH:
            link = self.console_app.link
            while not link.connected:
                link.changed.clear()
                await link.changed.wait()
            try:
                ask = RunAsk(self.run_id)
                found = await link.ask("run", ask, RunDetail)
            except HeadwayError as e:
                self.say(str(e), "bad")
                return
            self.run_id = self.feed.run_id = self.lines.run_id = found.row.run
        spans = SpanFeed(self.console_app.link, self.run_id, self._on_spans)
        self.run_worker(spans.run(), name="spans", exit_on_error=True)
        self.run_worker(self.lines.run(), name="lines", exit_on_error=True)
        await self.feed.run()

    def spot(self) -> Spot:
        """With its run."""
        return Spot(self.place, self.run_id)

    def on_resize(self) -> None:
        """Panes as the size allows."""
        self._arrange()

    def on_descendant_focus(self) -> None:
        """The pane with the focus is the one shown below on small terminals."""
        super().on_descendant_focus()
        if self.focused in {self.logs, self.state}:
            focused: Any = self.focused
            self._lower = focused
        self._arrange()

    def _arrange(self) -> None:
        boxes = {self.waterfall: self.timeline_box, self.logs: self.logs_box,
                 self.state: self.state_box}  # fmt: skip
        one = self.focused if self._zoomed else None
        for pane, box in boxes.items():
            fits = not self.small or pane is self.waterfall or pane is self._lower
            box.display = pane is one if one in boxes else fits
        self.timeline_box.styles.height = "100%" if one is self.waterfall else (
            "50%" if self.small else "45%"
        )  # fmt: skip
        self.lower.display = one is not self.waterfall
        self.tabs.display = self.small and one is None and self.size.height >= 16
        self.tabs.refresh()
        self.error_box.set_class(self.small, "-small")
        tiny = self.size.height < 16
        if tiny and one is None:
            self.timeline_box.display = self.focused is self.waterfall
            self.lower.display = not self.timeline_box.display
        if self.timeline_box.display and one is self.waterfall:
            self.timeline_box.styles.height = "1fr"
        for pane in boxes:
            pane.touch()

    def _is_shown(self, pane: Any) -> bool:
        return pane is self.waterfall or pane is self._lower

    def _go_to(self, pane: Any) -> None:
        if pane is not self.waterfall:
            self._lower = pane
            self.lower.display = self.logs_box.display = self.state_box.display = True
        self.set_focus(pane)
        self.call_after_refresh(self._arrange)

    def where(self) -> str:
        """Breadcrumbs."""
        return f"Runs > {safe(self.run_id, 26)}"

    # --- what is heard

    def _on_detail(self, detail: RunDetail) -> None:
        self.detail = detail
        self.facts.refresh()
        error = detail.row.error
        self.error_box.display = (
            error is not None and detail.row.status not in {"succeeded", "cancelled"}
            and self.size.height >= 20
        )  # fmt: skip
        self.error_line.refresh()
        if error is not None and error.type != self._same_of:
            self._same_of = error.type
            self.run_worker(partial(self._count_same, error.type), group="same", exclusive=True)
        self._want_state()

    def _on_event(self, event: Event) -> None:
        self.timeline.add(event)
        self.waterfall.touch()
        if event.kind == "started":
            self.logs.rules[event.epoch] = rule_of(event, self.timeline.number_of(event.epoch))
        if event.kind == "checkpoint":
            self._want_state()

    def _lines_came(self) -> None:
        self.logs.touch()
        if not self._came and self.is_attached:  # the first ones need not wait for a tick
            self._came = True
            self.call_after_refresh(self.paint_now)

    def _on_spans(self, epoch: int, chunk: SpanChunk) -> None:
        self.timeline.add_spans(epoch, chunk)
        self.waterfall.touch()

    # --- painting

    def settle(self) -> None:
        """Titles, and bars that grow."""
        live = self.detail is None or self.detail.row.ended_at is None
        if live and self._ticks % 4 == 0:  # 4 Hz of the clock's 15
            self.waterfall.touch()
        if self.waterfall.dirty:
            self.axis.refresh()
        if self._ticks % 8 == 0:
            self.facts.refresh()
        self._titles()

    # --- what the keys do

    def reread(self) -> None:
        """Ask for the row again."""
        if self.feed is not None:
            self.feed.again()

    def leave(self) -> bool:
        """A zoomed pane first becomes small again."""
        if self._zoomed:
            self.do_zoom_pane()
            return True
        return False

    def do_next_pane(self) -> None:
        """The next pane."""
        self._focus(1)

    def do_last_pane(self) -> None:
        """The pane before."""
        self._focus(-1)

    def _focus(self, step: int) -> None:
        panes: list[Any] = [self.waterfall, self.logs, self.state]
        at = panes.index(self.focused) if self.focused in panes else 0
        pane = panes[(at + step) % len(panes)]
        for box in (self.timeline_box, self.lower, self.logs_box, self.state_box):
            box.display = True  # what is not shown takes no focus
        self.set_focus(pane)
        self._lower = pane if pane is not self.waterfall else self._lower
        self.call_after_refresh(self._arrange)

    def do_span_lines(self) -> None:
        """Only the output of the time of the timeline's row, or all."""
        node = self.waterfall.chosen()
        if self.logs.only is not None or node is None:
            self.logs.keep(None)
            return
        start, end = node.start, node.end or self.now()
        self.logs.keep(lambda line: start <= line.at <= end, f"only {node.label}")

    def do_full_logs(self) -> None:
        """The output alone."""
        self._lower, self._zoomed = self.logs, True
        for box in (self.lower, self.logs_box):
            box.display = True
        self.set_focus(self.logs)
        self.call_after_refresh(self._arrange)

    def do_zoom_pane(self) -> None:
        """The focused pane alone, or all."""
        self._zoomed = not self._zoomed
        self._arrange()

    def do_search(self) -> None:
        """Search in the output."""
        self.search.open(self.logs.wanted)

    def on_prompt_left(self, event: Prompt.Left) -> None:
        """Escape in the search, or in the command line."""
        if event.prompt is not self.search:
            return  # the base class hears it by itself
        event.stop()
        self.search.close()
        self.set_focus(self.logs)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the search, or in the command line."""
        if event.input is not self.search:
            return  # the base class hears it by itself
        event.stop()
        self.search.close()
        self.set_focus(self.logs)
        try:
            if not self.logs.search(event.value):
                self.say(f"no line of {self.logs.store.end - self.logs.store.base:,} has"
                         f" {event.value!r}", "warning")  # fmt: skip
        except ValueError as e:
            self.say(str(e), "bad")

    def do_next_run(self) -> None:
        """The next run of the list."""
        self._neighbour(1)

    def do_last_run(self) -> None:
        """The run before."""
        self._neighbour(-1)

    def _neighbour(self, step: int) -> None:
        from headway_tui.screens.runs import RunsScreen

        below: Any = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else None
        if not isinstance(below, RunsScreen):
            return
        below.table.move(max(0, below.view.index_of(self.run_id)) + step)
        run = below.view.id_at(below.table.cursor)
        if run in {"", self.run_id}:
            self.say("no more runs in the list that way", "warning")
            return
        self.app.switch_screen(RunScreen(run, self.console_app.link))

    def do_same_error(self) -> None:
        """The list of runs with the same error."""
        error = self.detail.row.error if self.detail else None
        if error is None:
            self.say("this run has no error", "warning")
        else:
            self.console_app.do_go_runs(same_error("", error.type))

    def wrote(self) -> None:
        """What was changed is looked at again."""
        self.reread()
