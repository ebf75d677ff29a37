"""A list of runs in which some are marked: what a command means, and the rows as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headway.texts import plural
from headway.wire import encode
from headway_tui.model.marks import Marks
from headway_tui.model.sheets import shell
from headway_tui.model.texts import safe
from headway_tui.query import with_term
from headway_tui.screens.filtered import Filtered
from headway_tui.widgets.table import VTable

if TYPE_CHECKING:
    from headway.wire.runs import RunRow
    from headway_tui.model.cells import Cell

EVERY_RUN = "task:*"
"""All runs, for verbs that refuse an empty query."""


class Marking(Filtered):
    """The marked runs, else the one under the cursor; the screen lays the table out."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.marks = Marks()
        self.table = VTable(self._cells, self.view.count, id="table")

    def _cells(self, index: int) -> list[Cell] | None:
        raise TypeError("the screen says how a row looks")

    # --- what is meant

    def chosen(self) -> RunRow | None:
        """The row under the cursor."""
        return self.view.at(self.table.cursor)

    def chosen_row(self) -> RunRow | None:
        """The row under the cursor."""
        return self.chosen()

    def chosen_runs(self) -> list[tuple[str, str]]:
        """The marked ones, else the one under the cursor."""
        rows = self.view.rows
        runs = [r for r in rows if r in self.marks] if self.marks else []
        row = self.chosen()
        if not runs and row is not None:
            runs = [row.run]
        return [(r, f"{rows[r].task}  {rows[r].status}") for r in runs]

    def chosen_tags(self) -> dict[str, tuple[str, ...]]:
        """Of all rows that are here."""
        return {run: row.tags for run, row in self.view.rows.items()}

    def chosen_lines(self) -> bytes:
        """The marked runs whose rows are here, else the one under the cursor, as JSON lines."""
        rows = self.view.rows
        return b"".join(encode(rows[run]) + b"\n" for run, _ in self.chosen_runs())

    def meant_query(self) -> str:
        """The filter, if all that match are marked."""
        return (self.filter_text or EVERY_RUN) if self.marks.all else ""

    def recent(self) -> list[RunRow]:
        """The first rows."""
        return [self.view.rows[run] for run in self.view.order[:20]]

    def known(self) -> list[tuple[str, str, str]]:
        """Tasks and queues that were counted, for the palette: (title, what, query)."""
        found: dict[str, tuple[str, str, str]] = {}
        for facets in self.counting.known.values() if self.counting else ():
            for field in ("task", "queue"):
                for f in facets.values.get(field, []):
                    title = f"{field} {safe(f.value, 64)}"
                    found[title] = (title, plural(f.runs, "run"), with_term("", field, f.value))
        return list(found.values())

    def command_line(self) -> str:
        """The list, from a shell."""
        sort = ["--sort", "oldest"] if self.feed and self.feed.sort == "oldest" else []
        return shell(["headway", "ls", *([self.filter_text] if self.filter_text else []), *sort])

    # --- marks

    def do_mark(self) -> None:
        """Mark or not."""
        row = self.chosen()
        if self.marks.all:
            self.say("all that match are marked: u takes the marks off")
        elif row is not None:
            self.marks.toggle(row.run)
            self.table.move(self.table.cursor + 1)
            self.foot.refresh()

    def do_mark_range(self) -> None:
        """Begin a range, or end it."""
        self.marks.turn(self.table.cursor)
        self._extend_range()
        self.foot.refresh()

    def _extend_range(self) -> None:
        if self.marks.extend(self.table.cursor, self.view.id_at):
            self.table.touch()
            self.foot.refresh()

    def do_mark_all(self) -> None:
        """Mark all that match: by their ids if all are here, else by the query."""
        if self.feed is not None and self.feed.more:
            self.marks.mark_all()
            self.say("all that match are marked, loaded or not")
        else:
            self.marks.mark_these(self.view.order)
            self.say(f"{plural(len(self.marks), 'run')} marked")
        self.table.touch()
        self.foot.refresh()

    def do_replay(self) -> None:
        """A draft of the marked runs, or of the query where all that match are marked."""
        from headway_tui.model.drafts import new_draft

        if query := self.meant_query():
            self.open_replay(new_draft(query))
        else:
            super().do_replay()

    def do_compare(self) -> None:
        """Two marked runs, or the one under the cursor with what it was forked from."""
        rows = [self.view.rows[r] for r in self.view.order if r in self.marks.runs]
        row = self.chosen()
        if not rows and row is not None and row.origin:
            pair = (row.origin, row.run)
        elif len(rows) == 2:
            first, second = sorted(rows, key=lambda r: r.created_at)
            pair = (first.run, second.run)
        else:
            self.say("mark two runs, or put the cursor on a fork", "warning")
            return
        self.open_replay(pair=pair)

    def do_unmark(self) -> None:
        """No marks."""
        self.marks.clear()
        self.table.touch()
        self.foot.refresh()

    def wrote(self) -> None:
        """Rows change by their events; the marks have done what they were for."""
        self.do_unmark()

    # --- rows as text

    def do_export(self, argument: str) -> None:
        """Rows as JSON lines."""
        if not argument:
            self.say("to which file? `:export ~/runs.jsonl`", "warning")
            return
        rows = [r for run, r in self.view.rows.items() if not self.marks or run in self.marks]
        file = Path(argument).expanduser()
        try:
            file.write_bytes(b"".join(encode(row) + b"\n" for row in rows))
        except OSError as e:
            self.say(f"{file} was not written: {e.strerror}", "bad")
        else:
            self.say(f"{plural(len(rows), 'run')} written to {file}", "good")

    def do_copy_error(self) -> None:
        """The error of the run."""
        row = self.chosen()
        error = row.error if row is not None else None
        text = f"{error.type}: {error.message}\n{error.traceback}" if error is not None else ""
        self.console_app.copy_text(text)
