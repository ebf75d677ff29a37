"""The list of runs with its filter and a preview."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.widgets import Input

from headway.looks import look
from headway_tui.chrome import Note, runs_words
from headway_tui.feeds import RunsFeed
from headway_tui.model.rows import RunsView
from headway_tui.model.texts import age, plural, safe, span
from headway_tui.query import BadFilter, filter_of
from headway_tui.screens.base import Pane, quoted
from headway_tui.widgets.lines import Lines
from headway_tui.widgets.table import Cell, Column, TableHead, VTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.segment import Segment
    from textual.widget import Widget

    from headway.wire.commands import RunRow

_WIDE = (
    Column(" ", 1), Column("  STATE", 7), Column("RUN", 14), Column("TASK", 18),
    Column("TRY", 5, True), Column("LAST CHECKPOINT", 17), Column("TIME", 7, True),
    Column("AGE", 4, True), Column("QUEUE", 9), Column("TAGS / ERROR", 0),
)  # fmt: skip
_SMALL = (
    Column(" ", 1), Column("  STATE", 7), Column("RUN", 10), Column("TASK", 14),
    Column("TRY", 4, True), Column("CKPT", 5), Column("AGE", 4, True), Column("ERROR", 0),
)  # fmt: skip
_NARROW = (Column(" ", 1), Column("  STATE", 7), Column("RUN", 10), Column("TASK", 0))


def _now() -> datetime:
    return datetime.now(UTC)


class Preview(Lines):
    """Facts of the run under the cursor."""

    has_cursor = False
    can_focus = False

    def __init__(self) -> None:
        super().__init__(id="preview")
        self.facts: list[tuple[str, str]] = []

    def count(self) -> int:
        """Lines."""
        return len(self.facts)

    def row(self, index: int, width: int) -> list[Segment]:
        """One line."""
        text, role = self.facts[index]
        return [self.text(f" {text}", role)]


class RunsScreen(Pane):
    """Rows keep their place; new runs are counted and taken in with `gg`."""

    CSS = """
    RunsScreen #query { height: 1; }
    RunsScreen #table { height: 1fr; }
    RunsScreen #preview-box { height: 10; }
    RunsScreen #preview { height: 1fr; }
    """
    place = "runs"

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.view = RunsView()
        self.now = _now
        self.filter_text = text
        self.flaw = ""
        self.marks: set[str] = set()
        self.table = VTable(self._cells, lambda: len(self.view.order), id="table")
        self.feed: RunsFeed | None = None
        self.filter = Input(
            value=text, id="filter", placeholder="status:failed task:report-* since:2h words"
        )
        self.line = Note(self._query_line, id="query")
        self.foot = Note(self._foot_line)
        self.preview = Preview()
        self.box = Vertical(self.preview, id="preview-box", classes="pane")
        self.head = TableHead(self.table)
        self._shown = ""

    # --- layout

    def body(self) -> Iterable[Widget]:
        """Query, list, preview."""
        yield self.line
        self.filter.display = False
        yield self.filter
        yield self.head
        yield self.table
        yield self.foot
        yield self.box

    def on_mount(self) -> None:
        """Focus the list; the feed waits for the link."""
        self.set_focus(self.table)
        app = self.console_app
        self.feed = RunsFeed(app.link, self.view, self.table.touch)
        self.table.on_top = self._take_in
        self.set_filter(self.filter_text)
        self.run_worker(self.feed.run, name="runs", exit_on_error=True)

    def on_resize(self) -> None:
        """Columns drop on small terminals."""
        width, height = self.size
        self.table.columns = _NARROW if width < 60 else _SMALL if self.small else _WIDE
        self.box.styles.height = 6 if height < 30 else 11
        tiny = height < 16
        self.box.styles.display = "none" if tiny or not self._preview else "block"
        self.foot.styles.display = self.line.styles.display = "none" if height < 8 else "block"
        self.head.refresh()
        self.table.touch()

    _preview = True

    def where(self) -> str:
        """The screens there are."""
        return "1 Runs"

    def lag(self) -> int:
        """Runs of which an event is missing."""
        return len(self.view.gaps)

    # --- painting

    def settle(self) -> None:
        """New rows, ages, the preview."""
        if self.view.changed:
            self.view.changed = False
            self.table.touch()
            self._refresh_notes()
        elif self._ticks % 15 == 0:
            self.table.touch()
            self._refresh_notes()
        self._preview_of(self.chosen())

    def _refresh_notes(self) -> None:
        self.line.refresh()
        self.foot.refresh()
        self._shown = ""

    def _query_line(self, width: int) -> list[tuple[str, str]]:
        text = self.filter_text or "all runs"
        feed = self.feed
        if self.flaw:
            state, role = self.flaw, "bad"
        elif feed is None or feed.loading:
            state, role = (feed.trouble if feed else "") or "asking", "muted"
        else:
            many = runs_words(len(self.view.order), more=feed.more)
            state, role = f"{many}   {self._sign('live')} live", "good"
            if self.view.new:
                state += f"   {len(self.view.new)} new {self._sign('new')} gg"
        room = width - len(text) - len(state) - 5
        return [(" / ", "muted"), (safe(text), "text"), (" " * max(2, room), "text"),
                (safe(state, 200), role)]  # fmt: skip

    def _sign(self, name: str) -> str:
        return self.table.sign(name)

    def _foot_line(self, width: int) -> list[tuple[str, str]]:
        if not self.view.order:
            return [(self._empty(), "muted")]
        marked = f" {len(self.marks)} marked (space)   " if self.marks else " "
        counts = self.feed.counts if self.feed else {}
        pieces: list[tuple[str, str]] = [(marked, "accent")]
        for status, count in counts.items():
            if count:
                shape = look(status)
                glyph = shape.ascii if self.console_app.ascii_only else shape.glyph
                pieces.append((f"{glyph} {shape.word} {count:,}   ", shape.role))
        return pieces

    def _empty(self) -> str:
        feed = self.feed
        if feed is None or feed.loading:
            link = self.console_app.link
            return "" if link.connected else " waiting for NATS"
        if self.filter_text:
            return " no run matches; / changes the filter, an empty one shows all"
        return " no run has been queued yet: `headway run TASK`, or `./ops/demo`"

    def _cells(self, index: int) -> list[Cell] | None:
        row = self.view.at(index)
        if row is None:
            return None
        now = self.now()
        shape = look(row.status)
        ascii_only = self.console_app.ascii_only
        glyph = shape.ascii if ascii_only else shape.glyph
        mark = self._sign("marked") if row.run in self.marks else " "
        if index == self.table.cursor:
            mark = self._sign("cursor")
        state = Cell(f"{glyph} {shape.word}", shape.role)
        cells = [Cell(mark, "accent"), state]
        tries = f"{row.attempt}/{row.max_attempts}" if row.max_attempts else str(row.attempt)
        point = f"{self._sign('checkpoint')}{row.checkpoint}" if row.checkpoint else "-"
        if len(self.table.columns) == len(_NARROW):
            return [*cells, Cell(safe(row.run[4:14])), Cell(safe(row.task, 64))]
        if len(self.table.columns) == len(_SMALL):
            return [
                *cells, Cell(safe(row.run[4:14])), Cell(safe(row.task, 64)), Cell(tries, "muted"),
                Cell(point, "mark"), Cell(age(row.created_at, now), "muted"), self._last(row, now),
            ]  # fmt: skip
        named = f"{point} {safe(row.checkpoint_name, 40)}" if row.checkpoint else point
        return [
            *cells, Cell(safe(row.run[:14])), Cell(safe(row.task, 64)), Cell(tries, "muted"),
            Cell(named, "mark"), Cell(_took(row, now), "muted"),
            Cell(age(row.created_at, now), "muted"), Cell(safe(row.queue, 64), "muted"),
            self._last(row, now),
        ]  # fmt: skip

    def _last(self, row: RunRow, now: datetime) -> Cell:
        if row.status == "retrying" and row.due_at is not None:
            left = max(0.0, (row.due_at - now).total_seconds())
            return Cell(f"next in {span(left)}  {safe(row.error.type if row.error else '', 60)}",
                        "warning")  # fmt: skip
        if row.error is not None and row.status not in {"succeeded", "cancelled"}:
            flag = f"{self._sign('dead')} " if row.failure and not row.acked else ""
            return Cell(flag + safe(f"{row.error.type}: {row.error.message}", 200), "bad-soft")
        if row.reason and row.status in {"review", "queued", "waiting"}:
            return Cell(safe(row.reason, 200), "warning")
        return Cell(safe(" ".join(row.tags), 200), "muted")

    def _preview_of(self, row: RunRow | None) -> None:
        key = f"{row.run} {row.n}" if row is not None else "-"
        if key == self._shown or not self._preview:
            return
        self._shown = key
        self.box.border_title = safe(row.run, 26) if row else ""
        self.box.border_subtitle = "" if self.small else "p hide   enter open"
        self.preview.facts = facts_of(row, self.now()) if row else []
        self.preview.touch()

    # --- what is meant

    def chosen(self) -> RunRow | None:
        """The row under the cursor."""
        return self.view.at(self.table.cursor)

    def chosen_row(self) -> RunRow | None:
        """The row under the cursor."""
        return self.chosen()

    def chosen_runs(self) -> list[tuple[str, str]]:
        """The marked ones, else the one under the cursor."""
        runs = [r for r in self.view.order if r in self.marks]
        row = self.chosen()
        if not runs and row is not None:
            runs = [row.run]
        rows = self.view.rows
        return [(r, f"{rows[r].task}  {rows[r].status}") for r in runs]

    def command_line(self) -> str:
        """The list, from a shell."""
        query = filter_of(self.filter_text, self.now()) if not self.flaw else None
        words = ["headway", "ls"]
        if query is not None:
            for status in query.status:
                words += ["--status", status]
            for flag, value in (("--task", query.task), ("--queue", query.queue),
                                ("--text", query.text)):  # fmt: skip
                words += [flag, value] if value else []
            for tag in query.tags:
                words += ["--tag", tag]
            since = [w[6:] for w in self.filter_text.split() if w.startswith("since:")]
            words += ["--since", since[-1]] if since else []
        return quoted(*words)

    # --- what the keys do

    def on_lines_moved(self, event: Lines.Moved) -> None:
        """Near the end of what is loaded the next page is asked for."""
        if event.lines is self.table and self.feed is not None:
            if self.table.cursor > len(self.view.order) - 2 * max(10, self.table.size.height):
                self.run_worker(self.feed.next_page, group="page", exit_on_error=True)
            self._preview_of(self.chosen())

    def on_lines_chosen(self) -> None:
        """A double click opens."""
        self.do_open()

    def _take_in(self) -> None:
        if self.view.new:
            self.reread()

    def reread(self) -> None:
        """The first page anew."""
        if self.feed is not None:
            self.feed.ask()

    def do_open(self) -> None:
        """The run under the cursor."""
        row = self.chosen()
        if row is not None:
            self.open_run(row.run)

    def do_preview(self) -> None:
        """Show or hide the preview."""
        self._preview = not self._preview
        self._shown = ""
        self.on_resize()

    def do_mark(self) -> None:
        """Mark or not."""
        row = self.chosen()
        if row is not None:
            self.marks.symmetric_difference_update({row.run})
            self.table.move(self.table.cursor + 1)
            self.foot.refresh()

    def do_mark_all(self) -> None:
        """Mark all that are listed."""
        self.marks = set(self.view.order)
        more = self.feed is not None and self.feed.more
        self.say(f"{plural(len(self.marks), 'run')} marked"
                 + (": those that are loaded, not all that match" if more else ""))  # fmt: skip
        self.table.touch()
        self.foot.refresh()

    def do_unmark(self) -> None:
        """No marks."""
        self.marks.clear()
        self.table.touch()
        self.foot.refresh()

    def do_same_error(self) -> None:
        """Only this error."""
        row = self.chosen()
        if row is not None and row.error is not None:
            self.set_filter(f"status:{row.status} {row.error.type}")

    def do_copy_error(self) -> None:
        """The error of the run."""
        row = self.chosen()
        error = row.error if row is not None else None
        text = f"{error.type}: {error.message}\n{error.traceback}" if error is not None else ""
        self.console_app.copy_text(text)

    def do_filter(self) -> None:
        """Type a filter."""
        self.line.display, self.filter.display = False, True
        self.filter.value = self.filter_text
        self.set_focus(self.filter)

    def _close_filter(self) -> None:
        self.line.display, self.filter.display = True, False
        self.set_focus(self.table)

    def key_escape(self) -> None:
        """Leave the filter as it was, or the command line."""
        if self.filter.has_focus:
            self._close_filter()
        super().key_escape()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the filter, or in the command line."""
        if event.input is self.filter:
            event.stop()
            self._close_filter()
            self.set_filter(event.value.strip())
        else:
            super().on_input_submitted(event)

    def set_filter(self, text: str) -> None:
        """Another filter; a bad one keeps the last good list and says what is wrong."""
        self.filter_text = text
        try:
            query = filter_of(text, self.now())
        except BadFilter as e:
            self.flaw = f"at {e.at + 1}: {e}"
            self.line.refresh()
            return
        self.flaw = ""
        self.marks.clear()
        self.table.cursor = 0
        if self.feed is not None:
            self.feed.ask(query)
        self._refresh_notes()


def _took(row: RunRow, now: datetime) -> str:
    if row.started_at is None:
        return "-"
    return span(((row.ended_at or now) - row.started_at).total_seconds())


def facts_of(row: RunRow, now: datetime) -> list[tuple[str, str]]:
    """A run in some lines: (text, role)."""
    shape = look(row.status)
    facts = [f"{row.status}", f"attempt {row.attempt} of {row.max_attempts}" if row.attempt else "",
             f"agent {row.agent}" if row.agent else "", f"queue {row.queue}",
             f"version {row.version}" if row.version else ""]  # fmt: skip
    lines = [(safe("   ".join(f for f in facts if f), 300), shape.role)]
    if row.error is not None and row.status != "succeeded":
        lines.append((safe(f"{row.error.type}: {row.error.message}", 500), "bad"))
        trace = [t for t in row.error.traceback.splitlines() if t.strip()][-4:]
        lines += [(safe(t, 300), "muted") for t in trace]
    if row.reason:
        lines.append((safe(f"reason {row.reason}", 300), "warning"))
    if row.checkpoint:
        lines.append((safe(f"checkpoint {row.checkpoint} {row.checkpoint_name}", 300), "mark"))
    made = f"made {age(row.created_at, now)} ago   took {_took(row, now)}"
    if row.tags:
        made += f"   tags {' '.join(row.tags)}"
    if row.origin:
        made += f"   replays {row.origin}"
    lines.append((safe(made, 300), "muted"))
    return lines
