"""The replay console: select and edit, plan, job, compare; tabs on small terminals.

What is put together here is a script of the SDK, what is started is its plan, and what is recorded
is the file that does the same from a shell.
"""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING

from textual.containers import Horizontal, Vertical

from headway.errors import HeadwayError
from headway.replays import Loaded, make_plan
from headway.replays.jobs import start
from headway.texts import plural
from headway_tui.chrome import Note
from headway_tui.contexts import place
from headway_tui.draftfile import kept
from headway_tui.jobfeed import JobFeed
from headway_tui.model import drafts, jobs
from headway_tui.model.compared import VIEWS
from headway_tui.model.jobs import Words, plan_words, wrapped
from headway_tui.model.sheets import Sheet, count_field, texts
from headway_tui.model.texts import fit, right, safe
from headway_tui.screens.replay_draft import DraftPanes
from headway_tui.screens.replay_job import ITEMS, ITEMS_SMALL, JOBS
from headway_tui.sheets import Decide

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from headway.replays import Planned
    from headway_tui.model.drafts import Draft
    from headway_tui.widgets.lines import Lines

TABS = ("Select", "Plan", "Follow", "Compare")


class ReplayScreen(DraftPanes):
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
        self.tabs = Note(self._tabs, go=[partial(self._focus, i) for i in range(len(TABS))])
        self.script_line = Note(self._script_line)
        self.cli_line = Note(lambda _: [(f" $ {safe(self.command_line(), 300)}", "accent")])
        self._zoomed = False
        self._titled: dict[Vertical, tuple[str, str]] = {}
        self._tab = 0
        self.draft_box = Vertical(self.form, self.field, id="draft-box", classes="pane")
        self.plan_box = Vertical(self.plan, id="plan-box", classes="pane")
        self.top = Horizontal(self.draft_box, self.plan_box, id="top")

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
        self.feed = JobFeed(app.link, self._heard)
        self.field.display = False
        file = self.file()
        if self._given is None:
            self.draft = kept(file) or self.draft
        elif (before := kept(file)) is not None and before.dirty:
            file.replace(file.with_suffix(".before"))
            self.say(f"the draft before is in {file.with_suffix('.before')}")
        if self._script:
            self.open_script(self._script)
        self.told()
        self.plan_hint()
        self.set_focus(self.form)
        if self._pair is not None:
            self.open_job("")
            self.compare_runs(*self._pair)
            self.call_after_refresh(self._focus, 3)
        else:
            self.open_job(self._job or self.draft.job)

    def on_resize(self) -> None:
        """Panes as the size allows."""
        self.lay_out()

    def on_descendant_focus(self) -> None:
        """The pane with the focus is the one that is shown on small terminals."""
        super().on_descendant_focus()
        for i, panes in enumerate(self._panes()):
            if self.focused in panes:
                self._tab = i
        self.lay_out()

    def told(self) -> None:
        """The draft is another one: kept on disk, painted."""
        super().told()
        self.script_line.refresh()
        self.cli_line.refresh()

    def show_tab(self, tab: int) -> None:
        """The pane of this number, on small terminals alone."""
        self._tab = tab
        self.lay_out()

    def _panes(self) -> list[tuple[Lines, ...]]:
        return [(self.form,), (self.plan,), (self.items, self.jobs), (self.sides,)]

    def lay_out(self) -> None:
        """Panes as the size allows."""
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
        self.items.columns = ITEMS_SMALL if self.small else ITEMS
        self.jobs.columns = JOBS
        listed = self.list_shown
        for widget in (self.jobs, self.jobs_head):
            widget.display = listed
        for widget in (self.items, self.items_head):
            widget.display = not listed
        self.bars.display = not listed or not self.jobs.count()
        for pane in (self.form, self.plan, self.items, self.jobs, self.sides):
            pane.touch()

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
        row = self.feed.row if self.feed else None
        if self._news:
            self._news = False
            self.bars.refresh()
            self.bars.display = not self.list_shown or not self.jobs.count()
            self.want_compare()
        elif self.list_shown:
            if self._ticks % 15 == 0 and self.jobs.count():
                self.jobs.touch()  # their ages
        elif self._ticks % 8 == 0 and row is not None and row.running:
            self.items.touch()  # their times
        self._titles()

    def _titles(self) -> None:
        row = self.feed.row if self.feed else None
        title = "jobs" if self.list_shown else f"job {safe(self.draft.job, 20)}"
        if row is not None and not self.list_shown:
            title += f"   {self.form.plain(jobs.state_words(row).text)}"
        small = self.small
        self._retitle(self.draft_box, "select & edit", "enter change   space choose   e $EDITOR")
        self._retitle(self.plan_box, "plan", "" if small else "D dry run   S start…")
        listed = "enter open   J back to the job" if self.list_shown else (
            "" if small else "a approve   h hold   X stop   E only failures   J jobs"
        )  # fmt: skip
        self._retitle(self.job_box, title, listed)
        views = " ".join(v.upper() if v == self.compare_view else v for v in VIEWS)
        self._retitle(self.compare_box, f"compare: {views}", "v view   n/N next difference")

    def _retitle(self, box: Vertical, title: str, subtitle: str) -> None:
        # Setting a title paints: only where it is another one.
        if self._titled.get(box) != (title, subtitle):
            self._titled[box] = title, subtitle
            box.border_title = self.form.plain(title)
            box.border_subtitle = self.form.plain(subtitle)

    def _script_line(self, width: int) -> list[tuple[str, str]]:
        star = "*" if self.draft.dirty else ""
        steps = ""
        if self.draft.recording:
            names = ", ".join(dict.fromkeys(d.what for d in self.draft.decisions))
            steps = f"  ({plural(len(self.draft.decisions), 'decision')} recorded: {names})"
        left = f" script: {safe(self.draft.file, 80)}{star}{steps}"
        keys = "w save " if self.small else "w save   W save as   y c copy the line "
        return [(fit(left, width - len(keys) - 1, self.form.sign("cut")), "text"),
                (f" {keys}", "muted")]  # fmt: skip

    def command_line(self) -> str:
        """The same from a shell."""
        if self._pair is not None and self._tab == 3:
            return f"headway replay compare {self._pair[0]} {self._pair[1]}"
        file, planned = shlex.quote(self.draft.file), self.planned
        if planned is None:
            return drafts.run_line(file, "")
        count = len(planned.plan.items) if planned.plan.clear else 0
        return drafts.run_line(file, planned.name, count)

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
            self.plan.say([Words("no plan", "bad"), *wrapped(str(e), "bad")])
            return None
        fresh = self.planned is None or self.planned.name != planned.name
        self.planned = planned
        self.plan.say(plan_words(planned))
        if fresh:
            count = len(planned.plan.items)
            self.draft.decided(self.now(), "plan", f"{planned.name[:12]}, {plural(count, 'run')}")
        self.told()
        return planned

    async def _decide(self, keys: dict[str, int]) -> list[str]:
        """Ask key by key; the answers stand in the draft from then on."""
        again: list[str] = []
        for key, many in keys.items():
            lines = [f"once {safe(key, 60)} is done in {plural(many, 'run')}.", "",
                     "enter: it MAY HAPPEN AGAIN in the forks", "esc: it stays done"]  # fmt: skip
            sheet = Decide(Sheet("once", texts(lines)), "it may happen again", changes=False)
            if await self.app.push_screen_wait(sheet) is not None:
                again.append(key)
        if self.loaded is None:
            script = drafts.answered(self.draft.script, again)
            self.take(script, "edit", f"once = {script.replay.once}")
        return again

    def do_start_plan(self) -> None:
        """Ask for the number of runs, then start."""
        self.run_worker(self._start, group="plan", exclusive=True, exit_on_error=True)

    async def _start(self) -> None:
        planned = self.planned or await self._dry_run()
        if planned is None:
            return
        plan = planned.plan
        count, where = len(plan.items), place(self.console_app.settings)
        again = sum(planned.again.values())
        said = [
            f"{plural(count, 'run')} start on {safe(where, 80)}", "",
            *(self.plan.plain(w.text) for w in plan_words(planned)[1:9]),
        ]  # fmt: skip
        if again:
            said.insert(
                1, f"{plural(again, 'effect')} MAY HAPPEN AGAIN: {', '.join(planned.again)}"
            )
        sheet = Sheet("start plan", texts(said), count_field(count, 1), self.command_line())
        if await self.app.push_screen_wait(Decide(sheet)) is None:
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
        self.open_job(row.job)
        self.set_focus(self.items)
        self.say(f"{row.job} started: it runs in the engine, also without this console", "good")

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """A double click opens."""
        if event.lines is self.form:
            self.do_edit_field()

    # --- panes

    def do_compare(self) -> None:
        """To the comparison."""
        self.do_tab_4()

    def _focus(self, tab: int) -> None:
        self._tab = tab % 4
        for box in (self.draft_box, self.plan_box, self.top, self.job_box, self.compare_box):
            box.display = True  # what is not shown takes no focus
        panes = [self.form, self.plan, self.jobs if self.list_shown else self.items, self.sides]
        self.set_focus(panes[self._tab])
        self.call_after_refresh(self.lay_out)

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
        self.lay_out()

    def leave(self) -> bool:
        """A zoomed pane first becomes small again."""
        if self._zoomed:
            self.do_zoom_pane()
            return True
        return False

    def reread(self) -> None:
        """Read the job, or the list, anew."""
        self.open_job(self.draft.job)
