"""A list of runs with one query: typing it, what its values are, its order, and how it stands."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from headway.errors import HeadwayError
from headway.ids import time_of
from headway.looks import look
from headway.texts import age, plural
from headway.wire.runs import Facets, RunsPage, RunsQuery
from headway_tui.chrome import Note
from headway_tui.dialogs import Choice
from headway_tui.memory import View
from headway_tui.model.rows import RunsView
from headway_tui.model.texts import fit, safe
from headway_tui.query import (
    complete,
    flaw_of,
    hints,
    hints_of,
    looser,
    same_error,
    window,
    with_term,
)
from headway_tui.screens.base import Pane
from headway_tui.widgets.facets import FACETS, FacetLine
from headway_tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from textual.widget import Widget
    from textual.widgets import Input

    from headway.wire.runs import RunRow
    from headway_tui.counting import Counting
    from headway_tui.listing import RunsFeed, Sort
    from headway_tui.query import Hint

DAY = timedelta(days=1)
AS_TYPED = 0.12
"""Seconds without a key after which the list follows what is typed."""


def _now() -> datetime:
    return datetime.now(UTC)


class Filtered(Pane):
    """What a screen with a query line does; which rows it shows is its own."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.view = RunsView()
        self.now = _now
        self.filter_text = text
        self.as_of: datetime | None = None
        """The rows are those that were seen then: the engine has not answered yet."""
        self.feed: RunsFeed | None = None
        self.counting: Counting | None = None
        self.filter = Prompt(
            self.query_hints, flawed=flaw_of, lead="/", id="filter",
            placeholder="status:failed task:report-* since:2h words",
        )  # fmt: skip
        self.line = Note(self.query_line, id="query")
        self.foot = FacetLine(self.marked_words, lambda: self.facets_now(), self.narrow)
        self._before_filter = ""
        self._nearest = ""

    # --- what a kind of it gives

    def chosen(self) -> RunRow | None:
        """The row under the cursor."""
        return None

    def marked_words(self) -> list[tuple[str, str]]:
        """At the beginning of the line of facets."""
        return []

    def begin_list(self) -> None:
        """Another list comes: from its top, without marks."""

    def refresh_notes(self) -> None:
        """Counts have changed."""

    def sign(self, name: str) -> str:
        """A glyph of this terminal."""
        return name

    def beside_filter(self, *, shown: bool) -> None:
        """What gives way to the line that is typed."""

    def list_widget(self) -> Widget | None:
        """Where the focus goes when the filter is closed."""
        return None

    # --- how it stands

    def query_line(self, width: int) -> list[tuple[str, str]]:
        """The query, how many runs it means, the time that it covers."""
        words = safe(self.filter_text) or "all runs"
        state, role = self._state_words()
        feed = self.feed
        order = f"   sort: {feed.sort if feed else 'newest'}" if width >= 100 else ""
        time = window(self.filter_text, self.now())
        cut = self.sign("cut")
        right = f"{state}   {time}{order} "
        room = max(10, width - len(right) - 4)
        return [(" / ", "muted"), (fit(words, room, cut) + " ", "text"), (f"{state}   ", role),
                (f"{time}{order}", "muted")]  # fmt: skip

    def _state_words(self) -> tuple[str, str]:
        feed = self.feed
        if self.as_of is not None:
            told = feed.trouble if feed is not None else ""
            local = self.as_of.astimezone()
            day = "" if self.now() - self.as_of < DAY else f"{local:%Y-%m-%d} "
            return safe(f"as of {day}{local:%H:%M:%S}   {told or 'asking'}", 200), "warning"
        if feed is None or feed.loading:
            return safe((feed.trouble if feed else "") or "asking", 200), "muted"
        if feed.trouble:
            return safe(feed.trouble, 200), "warning"
        if feed.looked:
            at = datetime.fromtimestamp(time_of(feed.looked) / 1000, UTC)
            return f"{len(self.view.order):,} so far, looked back {age(at, self.now())}", "warning"
        if feed.total is None:
            many = f"{len(self.view.rows):,}{'+' if feed.more else ''} runs"
        else:
            many = f"{'about ' if feed.estimated else ''}{plural(feed.total, 'run')}"
        state = f"{many}   {self.sign('live')} live"
        if feed.digest:
            state = f"{many}   {self.sign('live')} digest of {feed.rate:,.0f} events/s"
        if offline := self.console_app.link.offline:
            state = f"{many}   offline"
        if self.view.new:
            state += f"   {len(self.view.new):,} new {self.sign('new')} gg"
        return state, "muted" if offline else "good"

    def counted(self) -> None:
        """Values were counted."""
        self.foot.refresh()
        if self.filter.has_focus:
            self.filter.refresh_hints()
        if self.command.has_focus:
            self.command.refresh_hints()

    def facets_now(self) -> Facets | None:
        """What was counted last of this list."""
        return self.counting.of(self.filter_text, FACETS) if self.counting else None

    def empty_words(self) -> str:
        """What an empty list says: the next step."""
        feed = self.feed
        if feed is None or feed.loading or feed.looked:
            link = self.console_app.link
            return "" if link.connected else " waiting for NATS"
        if self.filter_text:
            return f" no run matches{self._nearest}; / changes the filter, an empty one shows all"
        return " no run has been queued yet: `headway run TASK`, or `headway demo`"

    async def find_nearest(self) -> None:
        """Which term, dropped, leads to runs?"""
        text, self._nearest = self.filter_text, ""
        best = (0, "")
        for term, rest in looser(text)[:6]:
            try:
                ask = RunsQuery(query=rest, n=1, total=True)
                page = await self.console_app.link.ask("runs", ask, RunsPage)
            except HeadwayError:
                return
            best = max(best, (page.total or len(page.runs), term))
        if best[0] and text == self.filter_text:
            self._nearest = f"; nearest: drop {best[1]}: {plural(best[0], 'run')}"
            self.foot.refresh()

    # --- what is typed

    def query_hints(self, text: str) -> list[Hint]:
        """How a query may go on."""
        return hints(text, self.counting.values if self.counting else lambda _f, _b: [])

    def do_filter(self) -> None:
        """Type a filter."""
        self._before_filter = self.filter_text
        self.beside_filter(shown=False)
        self.filter.open(self.filter_text)

    def _close_filter(self) -> None:
        self.filter.close()
        self.beside_filter(shown=True)
        self.set_focus(self.list_widget())

    def on_prompt_left(self, event: Prompt.Left) -> None:
        """Escape: the filter as it was; the base class is asked by Textual itself."""
        if event.prompt is not self.filter:
            return
        event.stop()
        self._close_filter()
        if self.filter_text != self._before_filter:
            self.set_filter(self._before_filter)

    def on_input_changed(self, event: Input.Changed) -> None:
        """The list follows what is typed, once the fingers rest."""
        if event.input is self.filter and self.filter.has_focus:
            event.stop()
            self.run_worker(
                partial(self._as_typed, event.value.strip()), group="typed", exclusive=True
            )

    async def _as_typed(self, text: str) -> None:
        await asyncio.sleep(AS_TYPED)
        if self.filter.has_focus and text != self.filter_text and complete(text):
            self.set_filter(text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the filter: one that cannot be read stays open, and the list as it is."""
        if event.input is not self.filter:
            return
        event.stop()
        text = event.value.strip()
        if flaw_of(text) is None:
            self._close_filter()
            if text != self.filter_text:
                self.set_filter(text)
            self.console_app.jumps.visited(self.spot())

    def set_filter(self, text: str) -> None:
        """Another filter; one that cannot be read changes nothing and is said."""
        flaw = flaw_of(text)
        if flaw is not None:
            self.say(f"at {flaw.start + 1}: {flaw.words}", "bad")
            if self.feed is not None and self.feed.loading and not self.view.order:
                self.filter_text = ""
                self.feed.ask("")
            return
        self.filter_text = text
        self.begin_list()
        if self.feed is not None:
            self.feed.ask(text)
        if not self.filter.has_focus:  # what is being typed is no place yet
            self.console_app.jumps.visited(self.spot())
        self.refresh_notes()

    # --- other queries made of it

    def do_same_error(self) -> None:
        """Only this error."""
        row = self.chosen()
        if row is None or row.error is None:
            self.say("this run has no error", "warning")
        else:
            self.set_filter(same_error(self.filter_text, row.error.type))

    def narrow(self, field: str, value: str) -> None:
        """Only runs with this value."""
        self.set_filter(with_term(self.filter_text, field, value))

    def do_facets(self) -> None:
        """Choose among states and errors."""
        found = self.facets_now()
        options: list[tuple[str, Text]] = []
        for field in FACETS:
            for facet in (found.values.get(field, []) if found else [])[:20]:
                shape = look(facet.value) if field == "status" else look("failed")
                line = Text(f" {field:<7} {fit(safe(facet.value, 60), 36)} {facet.runs:>9,}",
                            self.console_app.palette[shape.role])  # fmt: skip
                options.append((f"{field}\n{facet.value}", line))
        if not options:
            self.say("nothing was counted yet", "warning")
            return

        def chosen(answer: str | None) -> None:
            if answer:
                self.narrow(*answer.split("\n", 1))

        title = "facets" + (" of the newest runs" if found and found.partly else "")
        self.app.push_screen(Choice(title, options), chosen)

    def saved_view(self) -> View:
        """Filter and order, to be kept."""
        return View(self.filter_text, self.feed.sort if self.feed else "newest")

    def show_view(self, view: View) -> None:
        """A kept one."""
        if self.feed is not None:
            self.feed.sort = "oldest" if view.sort == "oldest" else "newest"
        self.set_filter(view.query)

    # --- order

    def do_sort(self, argument: str = "") -> None:
        """The order; asks for it if none is given."""
        if argument:
            self._sorted(argument)
            return
        words = {"newest": " newest first, by id", "oldest": " oldest first, by id"}
        options = [(name, Text(text)) for name, text in words.items()]
        self.app.push_screen(Choice("sort", options), self._sorted)

    def _sorted(self, answer: str | None) -> None:
        sort: Sort | None = (
            "newest" if answer == "newest" else "oldest" if answer == "oldest" else None
        )
        if answer and sort is None:
            self.say(f"no order {answer!r}: newest, oldest", "warning")
        if sort is not None and self.feed is not None:
            self.begin_list()
            self.feed.ask(sort=sort)

    def complete_sort(self, begun: str) -> list[Hint]:
        """Both."""
        return hints_of(("newest", "oldest"), begun)
