"""One run: its timeline, its output live, its saved states, its attempts, facts about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.wire.runs import RunAsk, RunDetail
from headway_tui.feeds import RunFeed
from headway_tui.logfeed import LogFeed
from headway_tui.model.jumps import Spot
from headway_tui.model.loglines import rule_of
from headway_tui.model.texts import safe
from headway_tui.screens.run_panes import ID_LENGTH
from headway_tui.screens.run_search import RunSearch
from headway_tui.spanfeed import SpanFeed

if TYPE_CHECKING:
    from headway.wire.events import Event, SpanChunk
    from headway_tui.link import Link


class RunScreen(RunSearch):
    """Reads and hears of one run, and feeds its panes."""

    CSS = """
    RunScreen #facts { height: 1; }
    RunScreen #timeline-box { height: 45%; }
    RunScreen #lower { height: 1fr; }
    RunScreen #logs-box { width: 5fr; }
    RunScreen #state-box, RunScreen #attempts-box, RunScreen #info-box { width: 4fr; }
    RunScreen #error-box { height: 3; border: round $error; border-title-color: $error; }
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

    def on_mount(self) -> None:
        """Follow the run."""
        self._zoomed = self._logs_first
        self.set_focus(self.logs if self._logs_first else self.waterfall)
        link = self.console_app.link
        if link.as_of is not None:
            self.now = lambda: link.as_of or datetime.now(UTC)  # what was running, as it was
        self.feed = RunFeed(link, self.run_id, self._on_detail, self._on_event)
        self.logs.source = self.lines
        self.state.show({}, b"", "asking")
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

    def where(self) -> str:
        """Breadcrumbs."""
        return f"Runs > {safe(self.run_id, 26)}"

    # --- what is heard

    def _on_detail(self, detail: RunDetail) -> None:
        self.detail = detail
        for line in (self.facts, self.retry_line, self.once_line):
            line.refresh()
        for pane in (self.info, self.attempts):
            pane.touch()
        error = detail.row.error
        self.error_box.display = (
            error is not None and detail.row.status not in {"succeeded", "cancelled"}
            and self.size.height >= 20
        )  # fmt: skip
        self.error_line.refresh()
        self._want_state()

    def _on_event(self, event: Event) -> None:
        self.timeline.add(event)
        self.waterfall.touch()
        self.attempts.touch()
        if event.kind in {"once", "resolved"}:
            self.once_line.refresh()
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

    # --- painting

    def settle(self) -> None:
        """Titles, bars that grow, and rows of spans."""
        live = self.detail is None or self.detail.row.ended_at is None
        if (live or self.timeline.changed) and self._ticks % 4 == 0:  # 4 Hz of the clock's 15
            self.waterfall.touch()
        if self.waterfall.dirty:
            self.axis.refresh()
        if self._ticks % 8 == 0:
            self.facts.refresh()
            self.place_header()
        if live and self._ticks % 8 == 0:
            self.retry_line.refresh()
            self.attempts.touch()
            self.info.touch()
        self._titles()

    # --- what the keys do

    def reread(self) -> None:
        """Ask for the row again."""
        if self.feed is not None:
            self.feed.again()

    def do_span_lines(self) -> None:
        """Only the output of the time of the timeline's row, or all."""
        node = self.waterfall.chosen()
        if self.logs.only is not None or node is None:
            self.logs.keep(None)
            return
        start, end = node.start, node.end or self.now()
        self.logs.keep(lambda line: start <= line.at <= end, f"only {node.label}")

    def wrote(self) -> None:
        """What was changed is looked at again."""
        self.reread()
