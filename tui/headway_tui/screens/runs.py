"""The list of runs with its filter, facets, marks and a preview."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from textual.containers import Horizontal, Vertical

from headway.errors import HeadwayError
from headway.texts import plural
from headway.wire.runs import RunAsk, RunDetail
from headway_tui.counting import Counting
from headway_tui.listing import RunsFeed
from headway_tui.model.cells import Cell
from headway_tui.model.jumps import Spot
from headway_tui.model.runlist import WIDE, Paper, cells_of, columns_for, facts_of, story_of
from headway_tui.model.texts import safe
from headway_tui.recall import keep, recalled
from headway_tui.screens.marking import Marking
from headway_tui.widgets.facets import FACETS
from headway_tui.widgets.preview import Preview
from headway_tui.widgets.sites import SitesLine
from headway_tui.widgets.table import TableHead, VTable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from textual.widget import Widget

    from headway.wire.runs import RunRow
    from headway_tui.widgets.lines import Lines

LINGERED = 0.15
"""Seconds on a row after which its story is asked for."""
COUNT_EVERY = 75
"""Ticks between two counts of a list in which something happens: 5 s."""
REMEMBER_EVERY = 900
"""Ticks between two writes of the rows that the next start begins with: a minute."""
SIDE = 52
"""Columns of the preview beside the list."""


class RunsScreen(Marking):
    """Rows keep their place; new runs are counted and taken in with `gg`."""

    CSS = """
    RunsScreen #query { height: 1; }
    RunsScreen #split { height: 1fr; layout: vertical; }
    RunsScreen #left { height: 1fr; width: 1fr; }
    RunsScreen #table { height: 1fr; }
    RunsScreen #preview-box { height: 10; }
    RunsScreen #preview { height: 1fr; }
    """
    place = "runs"

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.preview = Preview()
        self.box = Vertical(self.preview, id="preview-box", classes="pane")
        self.head = TableHead(self.table)
        self.split = Horizontal(id="split")
        self._first_filter = text
        self._rows_file: Path | None = None
        self._shown = ""
        self._row, self._row_at = "", 0
        self._to_bottom = False
        self._to_top = False
        self._answers: int = 0
        self._heard: int = 0
        self._story: tuple[tuple[str, str], list[tuple[str, str]]] = (("", ""), [])
        """Of which run, in which status, and what only the whole run tells."""
        self._preview = True
        self._side = False
        self._wide = True
        self.sites = SitesLine(lambda: self.now(), self.on_resize)

    # --- layout

    def body(self) -> Iterable[Widget]:
        """Query, list, preview."""
        yield self.line
        yield self.filter.line
        yield self.sites
        with self.split:
            with Vertical(id="left"):
                yield self.head
                yield self.filter.hint_bar
                yield self.table
                yield self.foot
            yield self.box

    def on_mount(self) -> None:
        """Focus the list; the feed waits for the link."""
        self.set_focus(self.table)
        self.table.on_top, self.table.on_bottom = self._take_in, self._go_to_bottom
        self._begin()

    def begin_anew(self) -> None:
        """Everything of the connection before is forgotten; the app has another link by now."""
        self._remember()
        self.workers.cancel_node(self)
        self.view.clear()
        self.as_of, self._answers, self._story = None, 0, (("", ""), [])
        self.filter_text = self._first_filter = ""
        self._begin()
        self.table.touch()

    def _begin(self) -> None:
        app = self.console_app
        self.feed = RunsFeed(app.link, self.view, self.table.touch)
        self.counting = Counting(app.link, self.counted)
        self._recall()
        self.set_filter(self.filter_text)
        self.run_worker(self.feed.run, name="runs", exit_on_error=True)
        self.run_worker(self.counting.run, name="counts", exit_on_error=True)

    def _recall(self) -> None:
        """What was seen last, until the engine says what is."""
        self._rows_file = file = self.console_app.rows_file
        if file is not None and (found := recalled(file, self.filter_text)) is not None:
            self.table.columns = columns_for(self.app.size.width)  # it is painted before a resize
            self.view.snapshot(found.rows)
            self.as_of = found.as_of

    def _remember(self) -> None:
        """For the next start: the list that it begins with."""
        file, feed = self._rows_file, self.feed
        if file is None or feed is None or feed.loading or self.as_of is not None:
            return
        if self.filter_text == self._first_filter and feed.sort == "newest":
            rows = (self.view.rows[run] for run in self.view.order)
            keep(file, self.filter_text, self.now(), rows)

    def on_unmount(self) -> None:
        """The next start begins with what is seen now."""
        self._remember()

    def on_resize(self) -> None:
        """Columns drop on small terminals; below 60x16 there is only the list."""
        width, height = self.size
        side = self._side and width >= 100
        least = width < 60 or height < 16
        self.box.display = self._preview and not least
        self.split.styles.layout = "horizontal" if side else "vertical"
        self.box.styles.width = SIDE if side else "100%"
        self.box.styles.height = "100%" if side else 6 if height < 30 else 11
        self.foot.display = self.line.display = not least
        self.sites.display = bool(self.sites.rows) and not least
        self.header.display = self.toast.display = not least or self.command.line.display
        beside = SIDE if side and self.box.display else 0
        self.table.columns = columns_for(width - beside, sites=bool(self.sites.rows))
        self._wide = width - beside >= WIDE
        self.head.refresh()
        self.table.touch()

    def spot(self) -> Spot:
        """With its filter."""
        return Spot(self.place, self.filter_text)

    def where(self) -> str:
        """Its title in the table of actions."""
        return "Runs"

    def lag(self) -> int:
        """Runs of which an event is missing, or that may have come to the list."""
        return len(self.view.gaps) + len(self.view.maybe)

    # --- painting

    def settle(self) -> None:
        """New rows, ages, the preview, counts."""
        feed = self.feed
        if self.view.changed:
            self.view.changed = False
            self._keep_place()
            self.table.touch()
            self.refresh_notes()
        elif self._ticks % 15 == 0:
            self.table.touch()
            self.refresh_notes()
        if feed is not None and self.counting is not None:
            first = feed.answers != self._answers
            if first or (self.view.events != self._heard and self._ticks % COUNT_EVERY == 0):
                self._answers, self._heard = feed.answers, self.view.events
                self.as_of = None if first else self.as_of
                self.counting.want(self.filter_text, FACETS)
                if first and not self.view.order and not feed.more and self.filter_text:
                    self.run_worker(self.find_nearest(), group="nearest", exclusive=True)
        if self._ticks % REMEMBER_EVERY == 0:
            self._remember()
        self._preview_of(self.chosen())

    def _keep_place(self) -> None:
        """Rows may have come in above: the cursor stays on its run."""
        if self._to_bottom and (self.view.bottom or (self.feed and not self.feed.more)):
            self._to_bottom = False
            self.table.move(self.view.count() - 1)
            return
        if self._to_top:
            if self.feed is not None and not self.feed.loading:
                self._to_top = False
                self.table.move(0)
            return
        at = self.view.index_of(self._row) if self._row else -1
        by = at - self._row_at
        if at >= 0 and by:
            # By that much, not to that row: keys may have moved it on, of which nobody has heard.
            self._row_at = at
            self.table.cursor += by
            self.table.settle()
            self.table.place_quietly(max(0, int(self.table.scroll_y) + by))

    def refresh_notes(self) -> None:
        """Counts have changed."""
        self.line.refresh()
        self.foot.refresh()
        self._shown = ""

    def sign(self, name: str) -> str:
        """A glyph of this terminal."""
        return self.table.sign(name)

    def marked_words(self) -> list[tuple[str, str]]:
        """How many are marked; what an empty list says."""
        if not self.view.order:
            return [(self.empty_words(), "muted")]
        alive, _ = self.console_app.link.agents_now()
        queued = (self.feed.counts if self.feed else {}).get("queued", 0)
        if not alive and queued and self.console_app.link.connected:
            return [(f" no agent is connected, {plural(queued, 'run')} wait: headway agent   ",
                     "warning")]  # fmt: skip
        return [(self.marks.words(), "accent")]

    def _paper(self) -> Paper:
        return Paper(self.now(), self.console_app.ascii_only, self._wide, cut=self.sites.cut)

    def _cells(self, index: int) -> list[Cell] | None:
        columns = self.table.columns
        row = self.view.at(index)
        if row is None:
            if index != len(self.view.order):
                return None
            blank = [Cell("") for _ in columns[:-1]]
            return [*blank, Cell(f"{self.sign('idle')} not read yet: scroll on", "muted")]
        mark = self.sign("marked") if row.run in self.marks else " "
        if index == self.table.cursor:
            mark = self.sign("cursor")
        return cells_of(row, columns, mark, self._paper())

    def _preview_of(self, row: RunRow | None) -> None:
        key = f"{row.run} {row.n}" if row is not None else "-"
        if key == self._shown or not self._preview:
            return
        self._shown = key
        self.box.border_title = safe(row.run, 26) if row else ""
        self.box.border_subtitle = "" if self.small else "p hide   P side   enter open"
        told = row is not None and self._story[0] == (row.run, row.status)
        story = self._story[1] if told else []
        if row is not None and not told and self._story[0][0] == row.run:
            self._ask_story(row)  # it has moved since: why it is there is another matter now
        facts = facts_of(row, self.now()) if row else []
        self.preview.facts = [*facts[:1], *story, *facts[1:]]
        self.preview.touch()

    def _ask_story(self, row: RunRow) -> None:
        self.run_worker(
            partial(self._tell, row.run, row.status), group="tell", exclusive=True,
            exit_on_error=True,
        )  # fmt: skip

    async def _tell(self, run: str, status: str) -> None:
        """The story of a run on which the reader stays."""
        await asyncio.sleep(LINGERED)
        try:
            ask = RunAsk(run)
            detail = await self.console_app.link.ask("run", ask, RunDetail)
        except HeadwayError:
            return
        self._story = ((run, status), story_of(detail, self._paper()))
        self._shown = ""
        self._preview_of(self.chosen())

    # --- what the keys do

    def on_lines_moved(self, event: Lines.Moved) -> None:
        """Near the end of what is loaded the next page is asked for."""
        if event.lines is not self.table or self.feed is None:
            return
        at, top = self.table.cursor, len(self.view.order)
        margin = 3 * max(10, self.table.size.height)
        if at < top:
            self.feed.want(at + margin)
        elif at - top < margin:
            self.feed.want_bottom(len(self.view.bottom) + margin)
        self._row, self._row_at = self.view.id_at(at), at
        self._extend_range()
        row = self.chosen()
        self._preview_of(row)
        if row is not None and self._preview and self._story[0][0] != row.run:
            self._ask_story(row)

    def on_lines_chosen(self) -> None:
        """A double click opens."""
        self.do_open()

    def _take_in(self) -> None:
        if self.view.new:
            self._to_top = True
            self.reread()

    def _go_to_bottom(self) -> None:
        if self.feed is not None and self.feed.more and not self.view.bottom:
            self._to_bottom = True
            self.feed.want_bottom(4 * max(10, self.table.size.height))

    def reread(self) -> None:
        """The first page anew."""
        if self.feed is not None:
            self.feed.ask()

    def do_open(self) -> None:
        """The run under the cursor."""
        row = self.chosen()
        if row is not None:
            self.open_run(row.run)

    def do_full_logs(self) -> None:
        """Its output, on the whole screen."""
        row = self.chosen()
        if row is not None:
            from headway_tui.screens.run import RunScreen

            self.app.push_screen(RunScreen(row.run, self.console_app.link, logs=True))

    def do_preview(self) -> None:
        """Show or hide the preview."""
        self._preview = not self._preview
        self._shown = ""
        self.on_resize()

    def do_preview_side(self) -> None:
        """Beside the list or below it."""
        if self.small:
            self.say(
                f"beside the list it needs 100 columns, these are {self.size.width}", "warning"
            )
            return
        self._side, self._preview, self._shown = not self._side, True, ""
        self.on_resize()

    # --- what the filter asks for

    def begin_list(self) -> None:
        """Another list: from its top, without marks."""
        self.do_unmark()
        self.table.cursor, self._row, self._row_at, self._nearest = 0, "", 0, ""
        self._to_top = True
        self.table.place_quietly(0)

    def beside_filter(self, *, shown: bool) -> None:
        """The query and the head of the table."""
        self.line.display = self.head.display = shown
        if shown:
            self.on_resize()

    def list_widget(self) -> VTable:
        """The table."""
        return self.table
