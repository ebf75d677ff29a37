"""What the replay console shows of jobs: the list, the items of one, an original and its fork."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from textual.containers import Vertical

from headway.errors import HeadwayError
from headway.looks import look
from headway.replays import report as judge
from headway.replays.compare import next_difference
from headway.texts import age, plural, took, tries
from headway_tui.chrome import Note
from headway_tui.comparison import Comparison
from headway_tui.model import drafts, jobs
from headway_tui.model.compared import VIEWS, Row, matrix_rows, numbers_line
from headway_tui.model.sheets import Sheet, texts
from headway_tui.model.texts import safe
from headway_tui.screens.base import Pane
from headway_tui.sheets import Decide
from headway_tui.widgets.replays import ItemsTable, JobsTable, Sides
from headway_tui.widgets.table import Cell, Column, TableHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.replays import Loaded
    from headway.wire.replays import JobItem, JobRow
    from headway_tui.jobfeed import JobFeed
    from headway_tui.model.drafts import Draft
    from headway_tui.widgets.lines import Lines

ITEMS = (
    Column(" ", 1), Column("  STATE", 7), Column("ORIGINAL", 12), Column(" ", 1),
    Column("FORK", 12), Column("FROM", 5), Column("TRY", 4, True), Column("TIME", 7, True),
    Column("OUTCOME", 26), Column("VS ORIGINAL", 0),
)  # fmt: skip
ITEMS_SMALL = (
    Column(" ", 1), Column("  STATE", 7), Column("ORIGINAL", 12), Column(" ", 1),
    Column("FORK", 12), Column("FROM", 5), Column("OUTCOME", 0),
)  # fmt: skip
JOBS = (
    Column(" ", 1), Column("JOB", 15), Column("STATE", 8), Column("RUNS", 7, True),
    Column("DONE", 7, True), Column("FAILED", 7, True), Column("AGE", 4, True), Column("NAME", 0),
)  # fmt: skip
QUIET = 0.05
"""Seconds for which the cursor stands before two runs are compared."""


class JobPanes(Pane):
    """The panes of a job, and what their keys do; the screen lays them out."""

    def __init__(self) -> None:
        super().__init__()
        self.draft: Draft = drafts.new_draft()
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.loaded: Loaded | None = None
        """A Python script: it is planned as it is, the form only shows it."""
        self.jobs = JobsTable(self._job_cells, lambda: len(self._list()), id="jobs")
        self.items = ItemsTable(self._item_cells, lambda: len(self._items()), id="items")
        self.items_head = TableHead(self.items)
        self.jobs_head = TableHead(self.jobs)
        self.sides = Sides(id="sides")
        self.bars = Note(self._bars)
        self.numbers = Note(self._numbers)
        self.feed: JobFeed | None = None
        self.comparison: Comparison | None = None
        self._compared = ("", "")
        self.compare_view = VIEWS[0]
        self._only_failures = False
        self._news = False
        """Something was read or heard of jobs since the last tick."""
        self.job_box = Vertical(
            self.bars, self.items_head, self.items, self.jobs_head, self.jobs,
            id="job-box", classes="pane",
        )  # fmt: skip
        self.compare_box = Vertical(self.numbers, self.sides, id="compare-box", classes="pane")

    # --- what the screen gives

    def told(self) -> None:
        """The draft is another one."""

    def lay_out(self) -> None:
        """Panes as the size allows."""

    def show_tab(self, tab: int) -> None:
        """The pane of this number can be seen."""

    @property
    def list_shown(self) -> bool:
        """The list of jobs, in place of one of them."""
        return not self.draft.job

    # --- painting

    def _bars(self, width: int) -> list[tuple[str, str]]:
        feed = self.feed
        row = feed.row if feed else None
        if self.list_shown:
            trouble = safe(feed.trouble, 200) if feed else ""
            return [(f" {trouble or 'no replay job yet: D shows what one would do'}", "muted")]
        if feed is None or row is None:
            return [(f" {safe(feed.trouble if feed else '', 200) or 'asking'}", "muted")]
        sign = self.items.sign
        parts: list[tuple[str, str]] = []
        signs = (sign("bar"), sign("failed"), sign("wait"))
        wide = 8 if self.small else 20
        canary = feed.detail.pace.canary if feed.detail is not None else 0
        if 0 < canary < row.items:
            c = jobs.canary_counts(feed.items, canary)
            parts.append((f" canary {canary}: ", "muted"))
            parts.append((jobs.bar(c, wide, *signs), "warning"))
            running = f" {c.running} running" if c.running else ""
            parts.append((f" {c.good + c.bad} done{running}  ", "text"))
        c = jobs.counts(row)
        parts.append((f" all {row.items:,}: ", "muted"))
        parts.append((jobs.bar(c, wide, *signs), "info"))
        marks = [(c.good, "succeeded"), (c.bad, "failed"), (c.running, "running"),
                 (c.waiting, "queued")]  # fmt: skip
        for many, status in marks:
            shape = look(status)
            glyph = shape.ascii if self.console_app.ascii_only else shape.glyph
            parts.append((f"  {many:,} {glyph}", shape.role))
        return parts

    def _numbers(self, width: int) -> list[tuple[str, str]]:
        if self.comparison is None:
            return [(" put the cursor on an item whose fork has started", "muted")]
        told = numbers_line(self.comparison.numbers)
        return [(self.items.plain(text), role) for text, role in told]

    # --- lists

    def _heard(self) -> None:
        self._news = True
        self.items.touch()
        self.jobs.touch()

    def on_lines_moved(self, event: Lines.Moved) -> None:
        """Another item, another comparison."""
        if event.lines is self.items:
            self.want_compare()

    def _list(self) -> list[JobRow]:
        return self.feed.list if self.feed else []

    def _items(self) -> list[JobItem]:
        items = self.feed.items if self.feed else []
        if not self._only_failures:
            return items
        return [i for i in items if i.state in jobs.FINAL and i.status not in jobs.GOOD]

    def _job_cells(self, index: int) -> list[Cell] | None:
        row = self._list()[index]
        mark = self.items.sign("cursor") if index == self.jobs.cursor else " "
        role = {"done": "good", "stopped": "bad", "running": "info"}.get(row.state, "warning")
        return [
            Cell(mark, "accent"), Cell(safe(row.job, 20)), Cell(row.state, role),
            Cell(f"{row.items:,}"), Cell(f"{row.succeeded:,}", "good"),
            Cell(f"{row.failed:,}", "bad" if row.failed else "muted"),
            Cell(age(row.at, self.now()), "muted"), Cell(safe(row.name or row.actor, 200), "muted"),
        ]  # fmt: skip

    def _item_cells(self, index: int) -> list[Cell] | None:
        items = self._items()
        if index >= len(items) or self.feed is None:
            return None
        item, rows = items[index], self.feed.rows
        fork, original = rows.get(item.fork), rows.get(item.run)
        mode = self.feed.row.mode if self.feed.row is not None else "fork"
        status = item.status or (fork.status if fork and item.state == "started" else "")
        status = status or {"waiting": "queued", "refused": "failed"}.get(item.state, "queued")
        if mode != "fork":  # the run itself: where it is now
            status = original.status if original is not None else ""
        shape = look(status)
        glyph = shape.ascii if self.console_app.ascii_only else shape.glyph
        mark = self.items.sign("cursor") if index == self.items.cursor else " "
        made = item.state in ("started", "ended")
        said = jobs.outcome(item, fork, mode)
        start_ = f"{self.items.sign('checkpoint')}{item.checkpoint}" if item.checkpoint else "start"
        cells = [
            Cell(mark, "accent"), Cell(f"{glyph} {shape.word}", shape.role),
            Cell(_tail(item.run)), Cell(self.items.sign("fork") if mode == "fork" else "", "muted"),
            Cell(_tail(item.fork) if made and mode == "fork" else "-"),
            Cell(start_ if mode == "fork" else "-", "mark"),
        ]  # fmt: skip
        if self.small:
            return [*cells, Cell(said.text, said.role)]
        time = took(fork, self.now()) if fork is not None else "-"
        was = jobs.against(original, fork) if mode == "fork" else jobs.Words("")
        return [
            *cells, Cell(tries(fork) if fork is not None else "-", "muted"), Cell(time, "muted"),
            Cell(said.text, said.role), Cell(self.items.plain(was.text), was.role),
        ]  # fmt: skip

    def _chosen_item(self) -> JobItem | None:
        items = self._items()
        return items[self.items.cursor] if self.items.cursor < len(items) else None

    def chosen_runs(self) -> list[tuple[str, str]]:
        """The fork of the item under the cursor."""
        item = self._chosen_item()
        return [] if item is None else [(item.fork, item.status or item.state)]

    # --- the job

    def open_job(self, job: str) -> None:
        """Follow a job; empty = the list of them."""
        assert self.feed is not None
        self.draft.job = job
        self.comparison, self._compared = None, ("", "")
        self.sides.show([])
        self.numbers.refresh()
        self.told()
        self.lay_out()
        work = partial(self.feed.follow, job) if job else self.feed.jobs
        self.run_worker(work, group="job", exclusive=True, exit_on_error=True)

    def do_jobs_list(self) -> None:
        """The list, or back to the job."""
        before = self.feed.row.job if self.feed and self.feed.row else ""
        self.open_job(before if self.list_shown else "")
        self.set_focus(self.jobs if self.list_shown else self.items)

    def do_open_job(self) -> None:
        """Follow the one under the cursor."""
        rows = self._list()
        if self.jobs.cursor < len(rows):
            self.open_job(rows[self.jobs.cursor].job)
            self.set_focus(self.items)

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """A double click opens."""
        if event.lines is self.jobs:
            self.do_open_job()
        elif event.lines is self.items:
            self.do_open_fork()

    def do_open_fork(self) -> None:
        """The fork, or the original of an item that has none yet."""
        item = self._chosen_item()
        if item is not None:
            self.open_run(item.fork if item.state in ("started", "ended") else item.run)

    def do_only_failures(self) -> None:
        """Failed items alone, or all."""
        self._only_failures = not self._only_failures
        self.items.cursor = 0
        self.items.touch()
        self.want_compare()

    def do_approve(self) -> None:
        """After a canary or a hold."""
        self._steer("approve", "start what is left")

    def do_hold(self) -> None:
        """Hold, or go on."""
        row = self.feed.row if self.feed else None
        if row is not None and row.state == "held":
            self._steer("approve", "go on with what is left")
        else:
            self._steer("hold", "start nothing more until it is approved")

    def do_stop_job(self) -> None:
        """For good."""
        self._steer("stop", "end it: nothing more starts, what runs goes on")

    def _steer(self, how: str, words: str) -> None:
        row = self.feed.row if self.feed else None
        if row is None or self.list_shown:
            self.say("no job is open: J lists them, enter opens one", "warning")
            return
        left = plural(row.waiting, "run")
        lines = [f"{row.job}: {words}.", f"{left} of {row.items:,} wait, {row.running:,} run."]
        sheet = Sheet(how, texts(lines), (), f"headway replay {how} {row.job}")

        async def work() -> None:
            assert self.feed is not None
            if await self.app.push_screen_wait(Decide(sheet)) is None:
                self.say("left as it is")
                return
            try:
                now = await self.feed.steer(how)
            except HeadwayError as e:
                self.say(str(e), "bad")
                return
            if now is not None:
                ended = f"{now.succeeded} succeeded, {now.failed} failed so far"
                self.draft.decided(self.now(), how, f"{now.job}: {ended}")
                self.told()
                self.say(f"{now.job}: {now.state}", "good")

        self.run_worker(work, group="steer", exclusive=True, exit_on_error=True)

    # --- compare

    def compare_runs(self, original: str, fork: str) -> None:
        """Two runs, whatever the job."""
        if (original, fork) != self._compared:
            self._compared = (original, fork)
            self.run_worker(self._compare, group="compare", exclusive=True, exit_on_error=True)

    def want_compare(self) -> None:
        """Compare the item under the cursor, if it is another one or has moved."""
        item = self._chosen_item()
        if item is None or self.list_shown or item.state not in ("started", "ended"):
            return
        if item.fork == item.run:
            self.sides.show([Row(" ", "the run itself was moved: there are no two to compare",
                                 role="muted", wide=True)])  # fmt: skip
            return
        # A fork that has moved is compared anew.
        fork = self.feed.rows.get(item.fork) if self.feed else None
        state = f"{item.state}{fork.n if fork else 0}"
        if (item.run, item.fork + state) != self._compared:
            self._compared = (item.run, item.fork + state)
            self.run_worker(self._compare, group="compare", exclusive=True, exit_on_error=True)

    async def _compare(self) -> None:
        await asyncio.sleep(QUIET)  # whoever walks through the items means the one where he stops
        client = self.console_app.link.client
        if client is None:
            self._compared = ("", "")
            return
        original, fork = self._compared[0], self._compared[1][:26]
        try:
            self.comparison = await Comparison.read(client, original, fork)
        except HeadwayError as e:
            self.sides.show([Row(" ", safe(str(e), 300), role="warning", wide=True)])
            return
        self.numbers.refresh()
        await self._show_view()

    async def _show_view(self) -> None:
        client = self.console_app.link.client
        if client is None:
            return
        if self.compare_view == "checks":
            job = self.draft.job
            try:
                check = self.loaded.check if self.loaded is not None else None
                rows = matrix_rows(await judge(client, job, check)) if job else []
            except HeadwayError as e:
                rows = [Row(" ", safe(str(e), 300), role="warning", wide=True)]
            self.sides.show(rows or [Row(" ", "no job is open", role="muted", wide=True)])
        elif self.comparison is not None:
            self.sides.show(await self.comparison.rows(client, self.compare_view))

    def do_next_view(self) -> None:
        """The next view of the comparison."""
        self.compare_view = VIEWS[(VIEWS.index(self.compare_view) + 1) % len(VIEWS)]
        self.sides.cursor = 0
        self.sides.jump(0)
        self.run_worker(self._show_view, group="view", exclusive=True, exit_on_error=True)

    def do_next_hit(self) -> None:
        """The next difference."""
        self._difference(1)

    def do_last_hit(self) -> None:
        """The difference before."""
        self._difference(-1)

    def _difference(self, step: int) -> None:
        at = next_difference([r.mark for r in self.sides.rows], self.sides.cursor, step)
        if at is None:
            self.say("nothing here is different")
        else:
            self.sides.move(at)


def _tail(run: str) -> str:
    """The part of an id in which runs of one minute differ."""
    return safe(run[4:16], 12)
