"""The replay console: select and edit, plan, job, compare; tabs on small terminals.

What is put together here is a script of the SDK, what is started is its plan, and what is recorded
is the file that does the same from a shell.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import subprocess
import tempfile
import textwrap
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from headway.errors import HeadwayError
from headway.looks import look
from headway.replays import Loaded, load, make_plan, parse
from headway.replays import report as judge
from headway.replays.compare import next_difference
from headway.replays.jobs import start
from headway_tui.chrome import Note
from headway_tui.comparison import Comparison
from headway_tui.draftfile import draft_file, keep, kept, save
from headway_tui.jobfeed import JobFeed
from headway_tui.model import drafts, jobs
from headway_tui.model.compared import VIEWS, Row, matrix_rows, numbers_line
from headway_tui.model.jobs import Words, plan_words
from headway_tui.model.texts import age, fit, plural, right, safe, span
from headway_tui.screens.base import Pane
from headway_tui.sheets import Ask
from headway_tui.widgets.replays import Form, ItemsTable, JobsTable, Sides, WordLines
from headway_tui.widgets.table import Cell, Column, TableHead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from textual.widget import Widget

    from headway.replays import Planned
    from headway.wire.replays import JobItem, JobRow
    from headway_tui.model.drafts import Draft
    from headway_tui.widgets.lines import Lines

_ITEMS = (
    Column(" ", 1), Column("  STATE", 7), Column("ORIGINAL", 12), Column(" ", 1),
    Column("FORK", 12), Column("FROM", 5), Column("TRY", 4, True), Column("TIME", 7, True),
    Column("OUTCOME", 26), Column("VS ORIGINAL", 0),
)  # fmt: skip
_ITEMS_SMALL = (
    Column(" ", 1), Column("  STATE", 7), Column("ORIGINAL", 12), Column(" ", 1),
    Column("FORK", 12), Column("FROM", 5), Column("OUTCOME", 0),
)  # fmt: skip
_JOBS = (
    Column(" ", 1), Column("JOB", 15), Column("STATE", 8), Column("RUNS", 7, True),
    Column("DONE", 7, True), Column("FAILED", 7, True), Column("AGE", 4, True), Column("NAME", 0),
)  # fmt: skip
TABS = ("Select", "Plan", "Follow", "Compare")
QUIET = 0.05
"""Seconds for which the cursor stands before two runs are compared."""


class ReplayScreen(Pane):
    """Four panes, or one of them with tabs above."""

    CSS = """
    ReplayScreen #top { height: 17; }
    ReplayScreen #draft-box { width: 58%; }
    ReplayScreen #plan-box { width: 1fr; }
    ReplayScreen #job-box { height: 11; }
    ReplayScreen #compare-box { height: 1fr; }
    ReplayScreen #draft, ReplayScreen #plan, ReplayScreen #jobs, ReplayScreen #items,
    ReplayScreen #sides { height: 1fr; }
    """
    place = "replay"

    def __init__(
        self,
        draft: Draft | None = None,
        script: str = "",
        job: str = "",
        pair: tuple[str, str] | None = None,
    ) -> None:
        """`draft`: in place of the one that was kept; `script`: a file; `job`: one to follow.

        `pair`: two runs to compare.
        """
        super().__init__()
        self._given, self._script, self._job, self._pair = draft, script, job, pair
        self.draft = draft or drafts.new_draft()
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.loaded: Loaded | None = None
        """A Python script: it is planned as it is, the form only shows it."""
        self.planned: Planned | None = None
        self.form = Form(lambda: self.draft, id="draft")
        self.plan = WordLines(id="plan")
        self.field = Input(id="field")
        self.jobs = JobsTable(self._job_cells, lambda: len(self._list()), id="jobs")
        self.items = ItemsTable(self._item_cells, lambda: len(self._items()), id="items")
        self.items_head = TableHead(self.items)
        self.jobs_head = TableHead(self.jobs)
        self.sides = Sides(id="sides")
        self.bars = Note(self._bars)
        self.numbers = Note(self._numbers)
        self.tabs = Note(self._tabs)
        self.script_line = Note(self._script_line)
        self.cli_line = Note(lambda _: [(f" $ {safe(self.command_line(), 300)}", "accent")])
        self.feed: JobFeed | None = None
        self.comparison: Comparison | None = None
        self._compared = ("", "")
        self.compare_view = VIEWS[0]
        self._only_failures = False
        self._zoomed = False
        self._tab = 0
        self._asked: Callable[[str], None] = self._take_field
        self.draft_box = Vertical(self.form, self.field, id="draft-box", classes="pane")
        self.plan_box = Vertical(self.plan, id="plan-box", classes="pane")
        self.top = Horizontal(self.draft_box, self.plan_box, id="top")
        self.job_box = Vertical(
            self.bars, self.items_head, self.items, self.jobs_head, self.jobs,
            id="job-box", classes="pane",
        )  # fmt: skip
        self.compare_box = Vertical(self.numbers, self.sides, id="compare-box", classes="pane")

    # --- layout

    def body(self) -> Iterable[Widget]:
        """Tabs, four panes, the script and its line."""
        yield self.tabs
        yield self.top
        yield self.job_box
        yield self.compare_box
        yield self.script_line
        yield self.cli_line

    def on_mount(self) -> None:
        """The draft as it was left, and the jobs."""
        app = self.console_app
        self.feed = JobFeed(app.link, self.items.touch)
        self.field.display = False
        file = self._file()
        if self._given is None:
            self.draft = kept(file) or self.draft
        elif (before := kept(file)) is not None and before.dirty:
            file.replace(file.with_suffix(".before"))
            self.say(f"the draft before is in {file.with_suffix('.before')}")
        if self._script:
            self._open_script(self._script)
        self._told()
        self._plan_hint()
        self.set_focus(self.form)
        if self._pair is not None:
            self._open_job("")
            self.compare_runs(*self._pair)
            self.call_after_refresh(self._focus, 3)
        else:
            self._open_job(self._job or self.draft.job)

    def _file(self) -> Path:
        return draft_file(self.console_app.settings.namespace)

    def on_resize(self) -> None:
        """Panes as the size allows."""
        self._arrange()

    def on_descendant_focus(self) -> None:
        """The pane with the focus is the one that is shown on small terminals."""
        super().on_descendant_focus()
        for i, panes in enumerate(self._panes()):
            if self.focused in panes:
                self._tab = i
        self._arrange()

    def _panes(self) -> list[tuple[Lines, ...]]:
        return [(self.form,), (self.plan,), (self.items, self.jobs), (self.sides,)]

    def _arrange(self) -> None:
        boxes = [self.draft_box, self.plan_box, self.job_box, self.compare_box]
        alone = self.small or self._zoomed or self.size.height < 30
        tiny = self.size.height < 12
        for i, box in enumerate(boxes):
            box.display = not alone or i == self._tab
        self.top.display = not alone or self._tab < 2
        self.tabs.display = alone and not tiny
        self.script_line.display = self.cli_line.display = not tiny
        self.top.styles.height = "1fr" if alone else 17
        self.job_box.styles.height = "1fr" if alone else 11
        self.draft_box.styles.width = "100%" if alone else "58%"
        self.items.columns = _ITEMS_SMALL if self.small else _ITEMS
        self.jobs.columns = _JOBS
        listed = self._list_shown()
        for widget in (self.jobs, self.jobs_head):
            widget.display = listed
        for widget in (self.items, self.items_head, self.bars):
            widget.display = not listed
        for pane in (self.form, self.plan, self.items, self.jobs, self.sides):
            pane.touch()

    def _list_shown(self) -> bool:
        return not self.draft.job

    def where(self) -> str:
        """Breadcrumbs, and whether it is recorded."""
        star = "*" if self.draft.dirty else ""
        rec = f"   {self.form.sign('live')} REC {len(self.draft.decisions)}"
        return f"Replay > {safe(self.draft.file, 60)}{star}{rec if self.draft.recording else ''}"

    def _tabs(self, width: int) -> list[tuple[str, str]]:
        told = [
            (f" [{i + 1}] {name} ", "accent" if i == self._tab else "muted")
            for i, name in enumerate(TABS)
        ]
        room = width - sum(len(text) for text, _ in told)
        return [*told, (right(self.where().removeprefix("Replay > "), room), "text")]

    # --- painting

    def settle(self) -> None:
        """Titles, and what follows from the rows."""
        if self.items.dirty:
            self.bars.refresh()
            self._want_compare()
        if self._ticks % 8 == 0:
            self.items.touch()
        self._titles()

    def _titles(self) -> None:
        row = self.feed.row if self.feed else None
        title = "jobs" if self._list_shown() else f"job {safe(self.draft.job, 20)}"
        if row is not None and not self._list_shown():
            title += f"   {self.form.plain(jobs.state_words(row).text)}"
        small = self.small
        self._retitle(self.draft_box, "select & edit", "enter change   space choose   e $EDITOR")
        self._retitle(self.plan_box, "plan", "" if small else "D dry run   S start…")
        listed = "enter open   J back to the job" if self._list_shown() else (
            "" if small else "a approve   h hold   X stop   E only failures   J jobs"
        )  # fmt: skip
        self._retitle(self.job_box, title, listed)
        views = " ".join(v.upper() if v == self.compare_view else v for v in VIEWS)
        self._retitle(self.compare_box, f"compare: {views}", "v view   n/N next difference")

    def _retitle(self, box: Vertical, title: str, subtitle: str) -> None:
        # Setting a title paints: only where it is another one.
        title, subtitle = self.form.plain(title), self.form.plain(subtitle)
        if str(box.border_title or "") != title:
            box.border_title = title
        if str(box.border_subtitle or "") != subtitle:
            box.border_subtitle = subtitle

    def _script_line(self, width: int) -> list[tuple[str, str]]:
        star = "*" if self.draft.dirty else ""
        steps = ""
        if self.draft.recording:
            names = ", ".join(dict.fromkeys(d.what for d in self.draft.decisions))
            steps = f"  ({plural(len(self.draft.decisions), 'decision')} recorded: {names})"
        left = f" script: {safe(self.draft.file, 80)}{star}{steps}"
        keys = "w save " if self.small else "w save   W save as   y c copy the line "
        return [(fit(left, width - len(keys), self.form.sign("cut")), "text"), (keys, "muted")]

    def command_line(self) -> str:
        """The same from a shell."""
        plan = self.planned.name if self.planned is not None else ""
        return drafts.run_line(shlex.quote(self.draft.file), plan)

    def _bars(self, width: int) -> list[tuple[str, str]]:
        feed = self.feed
        row = feed.row if feed else None
        if feed is None or row is None:
            return [(f" {safe(feed.trouble if feed else '', 200) or 'asking'}", "muted")]
        sign = self.form.sign
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
        return [(self.form.plain(text), role) for text, role in told]

    # --- lists

    def _list(self) -> list[JobRow]:
        return self.feed.list if self.feed else []

    def _items(self) -> list[JobItem]:
        items = self.feed.items if self.feed else []
        if not self._only_failures:
            return items
        return [i for i in items if i.state in jobs.FINAL and i.status != "succeeded"]

    def _job_cells(self, index: int) -> list[Cell] | None:
        row = self._list()[index]
        mark = self.form.sign("cursor") if index == self.jobs.cursor else " "
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
        status = item.status or (fork.status if fork and item.state == "started" else "")
        status = status or {"waiting": "queued", "refused": "failed"}.get(item.state, "queued")
        shape = look(status)
        glyph = shape.ascii if self.console_app.ascii_only else shape.glyph
        mark = self.form.sign("cursor") if index == self.items.cursor else " "
        made = item.state in ("started", "ended")
        said = jobs.outcome(item, fork)
        start_ = f"{self.form.sign('checkpoint')}{item.checkpoint}" if item.checkpoint else "start"
        cells = [
            Cell(mark, "accent"), Cell(f"{glyph} {shape.word}", shape.role),
            Cell(_tail(item.run)), Cell(self.form.sign("fork"), "muted"),
            Cell(_tail(item.fork) if made else "-"), Cell(start_, "mark"),
        ]  # fmt: skip
        if self.small:
            return [*cells, Cell(said.text, said.role)]
        tries = f"{fork.attempt}/{fork.max_attempts}" if fork and fork.max_attempts else "-"
        took = "-"
        if fork is not None and fork.started_at is not None:
            took = span(((fork.ended_at or self.now()) - fork.started_at).total_seconds())
        was = jobs.against(original, fork)
        return [
            *cells, Cell(tries, "muted"), Cell(took, "muted"), Cell(said.text, said.role),
            Cell(self.form.plain(was.text), was.role),
        ]  # fmt: skip

    def _chosen_item(self) -> JobItem | None:
        items = self._items()
        return items[self.items.cursor] if self.items.cursor < len(items) else None

    def chosen_runs(self) -> list[tuple[str, str]]:
        """The fork of the item under the cursor."""
        item = self._chosen_item()
        return [] if item is None else [(item.fork, item.status or item.state)]

    # --- the draft

    def _told(self) -> None:
        """The draft is another one: kept on disk, painted."""
        if (flaw := keep(self.draft, self._file())) and self.is_attached:
            self.say(flaw, "warning")
        self.form.touch()
        for line in (self.script_line, self.cli_line, self.header):
            line.refresh()

    def _change(self, field: str, text: str) -> None:
        if self.loaded is not None and self.loaded.edit is not None:
            self.say("a Python script is edited in its file: e opens it", "warning")
            return
        try:
            script = drafts.with_text(self.draft.script, field, text)
        except HeadwayError as e:
            self.say(str(e), "bad")
            return
        self._take(script, "select" if field == "query" else "edit",
                   f"{field} = {drafts.shown(drafts.Draft(script), field)}")  # fmt: skip

    def _take(self, script: Any, what: str, detail: str) -> None:
        self.draft.script, self.draft.dirty = script, True
        self.draft.decided(self.now(), what, detail)
        self.planned = None
        self._plan_hint()
        self._told()

    def _plan_hint(self) -> None:
        why = drafts.opened(self.draft)
        hint = f"  {why}" if why else "  D shows what would start; nothing is sent"
        self.plan.say([Words("no plan yet", "muted"), Words(hint, "warning" if why else "muted")])

    def do_edit_field(self) -> None:
        """Type another value."""
        field = self.form.field
        self._ask(drafts.text_of(self.draft, field.id), field.help, self._take_field)

    def _ask(self, value: str, hint: str, then: Callable[[str], None]) -> None:
        self._asked = then
        self.field.placeholder = hint
        self.field.value = value
        self.field.display = True
        if self.small or self._zoomed:
            self._tab = 0
            self._arrange()
        self.set_focus(self.field)
        self.say(hint)

    def _take_field(self, text: str) -> None:
        self._change(self.form.field.id, text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the field, or in the command line."""
        if event.input is not self.field:
            super().on_input_submitted(event)
            return
        event.stop()
        self._close_field()
        self._asked(event.value)

    def _close_field(self) -> None:
        self.field.display = False
        self.set_focus(self.form)

    def key_escape(self) -> None:
        """Leave the field as it was."""
        if self.field.has_focus:
            self._close_field()

    def do_choose(self) -> None:
        """The next choice."""
        field = self.form.field
        if choice := drafts.next_choice(self.draft, field.id):
            self._change(field.id, choice)
        else:
            self.do_edit_field()

    def do_clear_field(self) -> None:
        """As it is without a word."""
        self._change(self.form.field.id, "")

    def do_new_draft(self) -> None:
        """Begin anew."""
        file = self._file()
        if self.draft.dirty and file.exists():
            file.replace(file.with_suffix(".before"))
            self.say(f"the draft before is in {file.with_suffix('.before')}")
        self.draft, self.loaded, self.planned = drafts.new_draft(), None, None
        self._plan_hint()
        self._told()
        self._arrange()

    def do_edit_script(self) -> None:
        """The whole script in $EDITOR."""
        made = self._written()
        text = self._in_editor(made.text)
        if text is None or text == made.text:
            return
        try:
            script = parse(text, "the edited script", os.environ | made.secrets)
        except HeadwayError as e:
            self.say(str(e), "bad")
            return
        self._take(script, "edit", "script, in an editor")

    def _in_editor(self, text: str) -> str | None:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        with tempfile.TemporaryDirectory(prefix="headway-") as folder:
            file = Path(folder) / self.draft.file.rpartition("/")[2]
            file.write_text(text, "utf-8")
            try:
                with self.app.suspend():
                    code = subprocess.call([*shlex.split(editor), str(file)])
            except (OSError, SuspendNotSupported) as e:
                self.say(f"$EDITOR {editor!r}: {e or 'this terminal cannot be lent'}", "bad")
                return None
            if code:
                self.say(f"{editor} ended with {code}: nothing was changed", "warning")
                return None
            return file.read_text("utf-8")

    def _written(self) -> Any:
        return drafts.written(self.draft, getpass.getuser(), self.now())

    def do_view_runs(self) -> None:
        """The runs that the query means, in the list."""
        select = self.draft.script.select
        text = select.query or "id:" + ",".join(select.ids[:100])
        self.run_command(f"runs {text}")

    # --- the script

    def _open_script(self, path: str) -> None:
        try:
            loaded = load(path if path.endswith((".toml", ".py")) else f"{path}{drafts.SUFFIX}")
        except (HeadwayError, OSError) as e:
            self.say(str(e), "bad")
            return
        path = path if path.endswith((".toml", ".py")) else f"{path}{drafts.SUFFIX}"
        self.loaded = loaded if path.endswith(".py") else None
        self.draft = drafts.Draft(loaded.script, path)
        self.planned = None

    def do_save_script(self) -> None:
        """Write it to its file."""
        self._save(self.draft.file)

    def do_save_script_as(self) -> None:
        """Write it to another file."""
        self._ask(self.draft.file, f"file name, as x{drafts.SUFFIX}", self._save)

    def _save(self, path: str) -> None:
        path = path.strip()
        if self.loaded is not None:
            self.say("a Python script stays in its own file", "warning")
            return
        if not path.endswith(".toml"):
            path = f"{path}{drafts.SUFFIX}"
        made = self._written()
        if flaw := save(made.text, path, own=path == self.draft.path):
            self.say(flaw, "bad")
            return
        self.draft.path, self.draft.dirty = path, False
        self._told()
        hidden = ", ".join(f"${name}" for name in made.secrets)
        self.say(f"saved: {path}" + (f"; from the environment: {hidden}" if hidden else ""), "good")

    def do_record(self) -> None:
        """Record, or stop recording."""
        self.draft.recording = not self.draft.recording
        if self.draft.recording:
            self.draft.decisions = []
            if not drafts.opened(self.draft):
                shown = drafts.shown(self.draft, "query")
                self.draft.decided(self.now(), "select", f"query = {shown}")
        self._told()
        self.say("recording: @ ends it, w saves" if self.draft.recording else "not recording")

    def rec(self, argument: str) -> None:
        """`start [NAME]`, or `save`."""
        verb, _, name = argument.partition(" ")
        if verb == "start":
            if name.strip():
                self._change("name", name.strip())
            if not self.draft.recording:
                self.do_record()
        elif verb == "save":
            self.do_save_script()
        else:
            self.say("`:rec start [NAME]` records, `:rec save` writes the script", "warning")

    # --- the plan

    def do_dry_run(self) -> None:
        """Plan; nothing is sent."""
        self.plan.say([Words("planning ...", "muted")])
        self.run_worker(self._dry_run, group="plan", exclusive=True, exit_on_error=True)

    async def _dry_run(self) -> Planned | None:
        client = self.console_app.link.client
        if client is None or not self.console_app.link.connected:
            self.plan.say([Words("there is no link to NATS: D again when it is back", "bad")])
            return None
        try:
            loaded = self.loaded or Loaded(self.draft.script)
            planned = await make_plan(client, loaded, self._decide)
        except HeadwayError as e:
            self.planned = None
            self.plan.say([Words("no plan", "bad"), *(Words(f"  {x}", "bad") for x in _wrap(e))])
            return None
        fresh = self.planned is None or self.planned.name != planned.name
        self.planned = planned
        self.plan.say(plan_words(planned))
        if fresh:
            count = len(planned.plan.items)
            self.draft.decided(self.now(), "plan", f"{planned.name[:12]}, {plural(count, 'run')}")
        self._told()
        return planned

    async def _decide(self, keys: dict[str, int]) -> list[str]:
        """Ask key by key; the answers stand in the draft from then on."""
        again: list[str] = []
        for key, many in keys.items():
            lines = [f"once {safe(key, 60)} is done in {plural(many, 'run')}.", "",
                     "enter: it MAY HAPPEN AGAIN in the forks", "esc: it stays done"]  # fmt: skip
            if await self.app.push_screen_wait(Ask("once", lines)):
                again.append(key)
        if self.loaded is None:
            script = drafts.answered(self.draft.script, again)
            self._take(script, "edit", f"once = {script.replay.once}")
        return again

    def do_start_plan(self) -> None:
        """Ask for the number of runs, then start."""
        self.run_worker(self._start, group="plan", exclusive=True, exit_on_error=True)

    async def _start(self) -> None:
        planned = self.planned or await self._dry_run()
        if planned is None:
            return
        plan = planned.plan
        count, settings = len(plan.items), self.console_app.settings
        where = f"{settings.namespace} at {settings.shown_url}"
        again = sum(planned.again.values())
        said = [
            f"{plural(count, 'run')} start on {safe(where, 80)}", "",
            *(self.plan.plain(w.text) for w in plan_words(planned)[1:9]), "",
            f"$ {self.command_line()}",
        ]  # fmt: skip
        if again:
            said.insert(
                1, f"{plural(again, 'effect')} MAY HAPPEN AGAIN: {', '.join(planned.again)}"
            )
        if not await self.app.push_screen_wait(Ask("start plan", said, count)):
            self.say("nothing was started")
            return
        now = await self._dry_run()
        if now is None or now.name != planned.name:
            if now is not None:
                self.say("the runs have changed meanwhile: look at the new plan, then S", "warning")
            return
        client = self.console_app.link.client
        try:
            assert client is not None
            row = await start(client, planned.body)
        except HeadwayError as e:
            self.say(f"not known to have started: {e}; S again asks for the same plan", "bad")
            return
        self.draft.decided(self.now(), "start", f"{row.job}, canary {plan.pace.canary or 'none'}")
        self._open_job(row.job)
        self.set_focus(self.items)
        self.say(f"{row.job} started: it runs in the engine, also without this console", "good")

    # --- the job

    def _open_job(self, job: str) -> None:
        assert self.feed is not None
        self.draft.job = job
        self.comparison, self._compared = None, ("", "")
        self.sides.show([])
        self.numbers.refresh()
        self._told()
        self._arrange()
        work = partial(self.feed.follow, job) if job else self.feed.jobs
        self.run_worker(work, group="job", exclusive=True, exit_on_error=True)

    def do_jobs_list(self) -> None:
        """The list, or back to the job."""
        before = self.feed.row.job if self.feed and self.feed.row else ""
        self._open_job(before if self._list_shown() else "")
        self.set_focus(self.jobs if self._list_shown() else self.items)

    def do_open_job(self) -> None:
        """Follow the one under the cursor."""
        rows = self._list()
        if self.jobs.cursor < len(rows):
            self._open_job(rows[self.jobs.cursor].job)
            self.set_focus(self.items)

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """A double click opens."""
        if event.lines is self.jobs:
            self.do_open_job()
        elif event.lines is self.items:
            self.do_open_fork()
        elif event.lines is self.form:
            self.do_edit_field()

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
        if row is None or self._list_shown():
            self.say("no job is open: J lists them, enter opens one", "warning")
            return
        left = plural(row.waiting, "run")
        lines = [f"{row.job}: {words}.", f"{left} of {row.items:,} wait, {row.running:,} run.", "",
                 f"$ headway replay {how} {row.job}"]  # fmt: skip

        async def work() -> None:
            assert self.feed is not None
            if not await self.app.push_screen_wait(Ask(how, lines)):
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
                self._told()
                self.say(f"{now.job}: {now.state}", "good")

        self.run_worker(work, group="steer", exclusive=True, exit_on_error=True)

    # --- compare

    def compare_runs(self, original: str, fork: str) -> None:
        """Two runs, whatever the job."""
        if (original, fork) != self._compared:
            self._compared = (original, fork)
            self.run_worker(self._compare, group="compare", exclusive=True, exit_on_error=True)

    def _want_compare(self) -> None:
        item = self._chosen_item()
        if item is None or self._list_shown() or item.state not in ("started", "ended"):
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

    def do_compare(self) -> None:
        """To the comparison."""
        self.do_tab_4()

    # --- panes

    def _focus(self, tab: int) -> None:
        self._tab = tab % 4
        for box in (self.draft_box, self.plan_box, self.top, self.job_box, self.compare_box):
            box.display = True  # what is not shown takes no focus
        panes = [self.form, self.plan, self.jobs if self._list_shown() else self.items, self.sides]
        self.set_focus(panes[self._tab])
        self.call_after_refresh(self._arrange)

    def do_next_pane(self) -> None:
        """The next pane."""
        self._focus(self._tab + 1)

    def do_last_pane(self) -> None:
        """The pane before."""
        self._focus(self._tab - 1)

    def do_tab_1(self) -> None:
        """Select and edit."""
        self._focus(0)

    def do_tab_2(self) -> None:
        """The plan."""
        self._focus(1)

    def do_tab_3(self) -> None:
        """The job."""
        self._focus(2)

    def do_tab_4(self) -> None:
        """The comparison."""
        self._focus(3)

    def do_zoom_pane(self) -> None:
        """The pane alone, or all."""
        self._zoomed = not self._zoomed
        self._arrange()

    def leave(self) -> bool:
        """A zoomed pane first becomes small again."""
        if self._zoomed:
            self.do_zoom_pane()
            return True
        return False

    def reread(self) -> None:
        """Read the job, or the list, anew."""
        self._open_job(self.draft.job)


def _tail(run: str) -> str:
    """The part of an id in which runs of one minute differ."""
    return safe(run[4:16], 12)


def _wrap(error: HeadwayError) -> list[str]:
    return textwrap.wrap(safe(str(error), 600), 60)
