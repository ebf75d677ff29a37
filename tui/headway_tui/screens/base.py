"""What every screen is made of: header, its panes, keys, one line for commands and toasts."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.screen import Screen

from headway.errors import HeadwayError
from headway.safe import safe_line
from headway.states import TERMINAL
from headway.wire import encode
from headway_tui.actions import BY_ID, for_places, named, shown_keys
from headway_tui.aliases import commands
from headway_tui.chrome import Header, Keys, Toast
from headway_tui.contexts import as_typed
from headway_tui.model.jumps import Spot
from headway_tui.model.sheets import Meant
from headway_tui.piping import pipe
from headway_tui.query import Hint
from headway_tui.sending import kindly
from headway_tui.sheets import Facts
from headway_tui.widgets.lines import Lines
from headway_tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult
    from textual.widget import Widget
    from textual.widgets import Input

    from headway.replays.moving import Verb
    from headway.wire.replays import JobRow
    from headway.wire.runs import RunRow
    from headway_tui.app import HeadwayApp
    from headway_tui.model.drafts import Draft

ENDED = {s.status for s in TERMINAL}
SHOWN = 500
"""Lines that a command said which are shown."""
SMALL = 100
"""Below so many columns panes become tabs and columns drop."""


class Pane(Screen[None]):
    """A screen of the console."""

    AUTO_FOCUS = None
    place = ""
    """Its place in the table of actions."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_line = Keys()
        self.toast = Toast()
        self.command = Prompt(
            self._command_hints, history=self._typed, placeholder="a command; tab completes",
            id="command",
        )  # fmt: skip
        self.header = Header(self.where, self.lag)
        self._before: Widget | None = None
        self._ticks = 0
        self._lines: list[Lines] = []

    @property
    def console_app(self) -> HeadwayApp:
        """The app."""
        return cast("HeadwayApp", self.app)  # pyright: ignore[reportUnknownMemberType] Textual leaves it open

    @property
    def small(self) -> bool:
        """True on a terminal of about 80 columns."""
        return self.size.width < SMALL

    # --- what a kind of it gives

    def where(self) -> str:
        """At the right end of the header."""
        return ""

    def spot(self) -> Spot:
        """What is seen here, so that it can be found again."""
        return Spot(self.place)

    def on_screen_resume(self) -> None:
        """The reader is here; not if he only passed on his way to another screen."""
        if self.app.screen is self:
            self.console_app.jumps.visited(self.spot())

    def lag(self) -> int:
        """Messages that wait to be looked at."""
        return 0

    def body(self) -> Iterable[Widget]:
        """Its panes."""
        return ()

    def settle(self) -> None:
        """Called by the clock before panes are painted."""

    def leave(self) -> bool:
        """True if there was something to close before the screen itself."""
        return False

    def reread(self) -> None:
        """Read everything anew."""

    def chosen_runs(self) -> list[tuple[str, str]]:
        """The runs that a command means: (id, what it is)."""
        return []

    def open_run(self, run: str) -> None:
        """Open a run by its id or prefix."""
        from headway_tui.screens.run import RunScreen

        self.app.push_screen(RunScreen(run, self.console_app.link))

    def open_replay(
        self,
        draft: Draft | None = None,
        script: str = "",
        job: str = "",
        pair: tuple[str, str] | None = None,
    ) -> None:
        """The replay console: a draft, a script's file, a job, or two runs beside each other.

        Without any of them the draft as it was left.
        """
        from headway_tui.screens.replay import ReplayScreen

        while isinstance(self.app.screen, ReplayScreen):
            if draft is None and not (script or job or pair):
                return
            self.app.pop_screen()
        self.app.push_screen(ReplayScreen(draft, script, job, pair))

    def rec(self, argument: str) -> None:
        """What `:rec` says; the replay console knows how."""

    # --- layout

    def compose(self) -> ComposeResult:
        """Header, panes, keys, the last line."""
        yield self.header
        yield from self.body()
        yield self.keys_line
        yield self.command.hint_bar
        yield self.toast
        yield self.command.line

    def on_mount(self) -> None:
        """Its panes are there: the clock paints them from its next tick on."""
        self._lines = list(self.query(Lines))

    def paint_now(self) -> None:
        """Something was waited for: it is seen before the clock's next tick."""
        app = self.console_app
        if self.is_attached and app.screen is self and not app.paused:
            app.paint()

    def paint(self) -> None:
        """Called by the clock."""
        if not self.is_attached:
            return
        self._ticks += 1
        self.settle()
        if self._ticks % 15 == 1:  # walking the tree at every tick would cost more than painting
            self._lines = list(self.query(Lines))
        for lines in self._lines:
            if lines.display:
                lines.paint()
        if self._ticks % 8 == 0:
            self.header.refresh()
            self.toast.refresh()

    def paint_keys(self) -> None:
        """The keys are others now."""
        self.keys_line.refresh()

    def on_descendant_focus(self) -> None:
        """Other pane, other keys."""
        self.paint_keys()

    def say(self, text: str, role: str = "muted") -> None:
        """In the last line."""
        self.toast.say(safe_line(text, 500), role)

    # --- command line

    def ask_command(self, text: str = "") -> None:
        """Type a command."""
        self._before = self.focused
        self.toast.display = self.keys_line.display = False
        self.command.open(text)

    def _close_command(self) -> None:
        self.command.close()
        self.toast.display = self.keys_line.display = True
        if self._before is not None:
            self.set_focus(self._before)

    def _typed(self) -> list[str]:
        return self.console_app.memory.history

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the command line."""
        if event.input is self.command:
            event.stop()
            text = event.value.strip()
            self._close_command()
            if text:
                self.run_command(text)
        # The handlers of all kinds of a screen have been asked by now: this one is the last.
        self.console_app.give_back()

    def on_prompt_left(self, event: Prompt.Left) -> None:
        """Escape in the command line: it is closed, and nothing else."""
        if event.prompt is self.command:
            event.stop()
            self._close_command()
        self.console_app.give_back()

    def _command_hints(self, text: str) -> list[Hint]:
        app = self.console_app
        name, space, begun = text.partition(" ")
        if not space:
            have = [a for a in for_places(app.places(), app.actions) if a.name.startswith(name)]
            own = [Hint(f"{n} ", n) for n in sorted(app.options.aliases) if n.startswith(name)]
            return [Hint(f"{a.name} " if a.takes else a.name, a.name) for a in have] + own
        action = named(name, app.places(), app.actions)
        if action is None:
            return []
        for who in (self._before, self, app):
            complete = getattr(who, f"complete_{action.id}", None)
            if complete is not None:
                found: list[Hint] = complete(begun)
                return [h._replace(text=f"{name} {h.text}") for h in found]
        return []

    def run_command(self, text: str) -> None:
        """`name` or `name argument`, `!command`, or an alias of some of these."""
        app = self.console_app
        app.memory.typed(text)
        name, _, rest = text.partition(" ")
        if name in app.options.aliases:
            for line in commands(app.options.aliases, name, rest.strip()):
                app.pane_screen.carry_out(line)
        else:
            self.carry_out(text)

    def carry_out(self, text: str) -> None:
        """One command that is no alias."""
        app = self.console_app
        name, _, rest = text.partition(" ")
        if text.startswith("!"):
            name, rest = "!", text[1:]
        have = for_places(app.places(), app.actions)
        action = named(name, app.places(), app.actions)
        if rest.strip() and action is not None and not action.takes:
            # `:replay SCRIPT` means `replays`, which takes one, not `replay`, which does not.
            longer = [a for a in have if a.takes and a.name.startswith(name)]
            action = longer[0] if len(longer) == 1 else action
        if action is None:
            self.say(f"no command {name!r} here: ? lists them", "warning")
        elif rest.strip() and not action.takes:
            keys = shown_keys(action)
            self.say(
                f":{name} takes nothing" + (f" (its key is {keys})" if keys else ""), "warning"
            )
        else:
            app.do(action, rest.strip())

    def do_pipe(self, argument: str) -> None:
        """The chosen runs as JSON lines into a command; what it says is shown."""
        app = self.console_app
        if not app.options.shell:
            self.say("not done: this console is in a browser; commands run at home", "warning")
        elif not argument.strip():
            self.say("which command? `:!jq .task` gets the runs as JSON lines", "warning")
        else:
            work = self._pipe(argument.strip(), self.chosen_lines())
            self.run_worker(work, group="pipe", exclusive=True, exit_on_error=True)

    def chosen_lines(self) -> bytes:
        """The runs that a command means, as JSON lines."""
        row = self.chosen_row()
        return encode(row) + b"\n" if row is not None else b""

    async def _pipe(self, command: str, given: bytes) -> None:
        self.say(f"running: {safe_line(command, 200)}")
        try:
            said = await pipe(command, given)
        except OSError as e:
            self.say(f"not run: {e}", "bad")
            return
        lines = [(safe_line(line, 1000), "text") for line in said.text.splitlines()[:SHOWN]]
        code = "was ended after a minute" if said.code is None else f"ended with {said.code}"
        cut = "; this is the beginning" if said.cut or len(said.text.splitlines()) > SHOWN else ""
        lines.append((f"({code}{cut})", "muted" if said.code == 0 else "warning"))
        self.say(f"{len(lines) - 1} lines")
        self.app.push_screen(Facts(f"!{safe_line(command, 60)}", lines))

    # --- what changes runs

    def do_cancel(self) -> None:
        """Cancel, after a sheet."""
        self._write("cancel")

    def do_resume(self) -> None:
        """Resume, after a sheet; of a run that has ended a fork of its last checkpoint."""
        row = self.chosen_row()
        if row is not None and row.status in ENDED and len(self.chosen_runs()) == 1:
            self.do_fork()
        else:
            self._write("resume")

    def chosen_row(self) -> RunRow | None:
        """The run under the cursor, if its row is here."""
        return None

    def chosen_checkpoint(self) -> int:
        """The checkpoint under the cursor; 0 = the last."""
        return 0

    def do_fork(self) -> None:
        """Fork, after a sheet."""
        self._fork(edit=False)

    def do_edit_fork(self) -> None:
        """Edit the state in $EDITOR, then fork, after a sheet."""
        self._fork(edit=True)

    def _fork(self, *, edit: bool) -> None:
        from headway_tui.forking import fork

        runs = self.chosen_runs()
        if len(runs) != 1:
            self.say("a fork is made of one run: take the marks off, or use a replay", "warning")
            return
        app = self.console_app
        work = fork(app, runs[0][0], self.chosen_checkpoint(), edit=edit)
        app.run_worker(work, group="write", exit_on_error=True)

    def do_replay(self) -> None:
        """A draft of the chosen runs; nothing is started."""
        from headway_tui.model.drafts import new_draft

        runs = self.chosen_runs()
        if runs:
            self.open_replay(new_draft(ids=[run for run, _ in runs]))
        else:
            self.say("no run is meant: put the cursor on one, or mark some", "warning")

    def do_ack(self) -> None:
        """Acknowledge, after a sheet."""
        self._write("ack")

    def meant_query(self) -> str:
        """The query, if all runs that match it are meant; else empty."""
        return ""

    def _write(self, verb: Verb) -> None:
        runs, query = self.chosen_runs(), self.meant_query()
        if not runs:
            self.say("no run is meant: put the cursor on one, or mark some", "warning")
        elif query or len(runs) > 1:
            self.run_worker(self._many(verb, runs, query), group="write", exit_on_error=True)
        else:
            ids = [run for run, _ in runs]
            cli = BY_ID[verb].cli.format(run=ids[0])
            self.console_app.confirm(
                BY_ID[verb], Meant(len(runs), runs, cli), partial(self._each, verb, ids)
            )

    async def _many(self, verb: Verb, runs: list[tuple[str, str]], query: str) -> None:
        """Counted by the engine, then asked, then done by a job of the engine."""
        # Not before it is needed: nothing of it is on the first screen.
        from headway.replays.moving import meant, plans
        from headway_tui.writes import IDS, carried_out, outcome, start

        app = self.console_app
        link, ids = app.link, [run for run, _ in runs]
        self.say(f"counting what {verb} would do")
        try:
            found = await meant(link.ask, verb, query, () if query else ids)
        except HeadwayError as e:
            self.say(f"not done: {kindly(e)}", "bad")
            return
        count = len(found.runs)
        if not count:
            self.say(f"nothing to {verb}: none of them is in a state that it can move", "warning")
            return
        known = dict(runs)
        shown = [(run, known.get(run, "")) for run in found.runs[:10]]
        cli = quoted("headway", verb, "--query", query or f"id:{','.join(ids[:IDS])}")
        asked = Meant(count, shown, cli, query, 0 if query else len(runs) - count)

        async def work() -> None:
            try:
                for body in plans(verb, found, query or "marked runs"):
                    row = await start(link, body, self._unsure)
                    self._progress(row)
                    row = await carried_out(link, row, self._progress)
                    said = await outcome(link, verb, row)
                    app.pane_screen.say(said, "bad" if row.failed or row.waiting else "good")
            except HeadwayError as e:
                app.pane_screen.say(f"not done: {kindly(e)}; {verb} again does the rest", "bad")
            self.wrote()

        app.confirm(BY_ID[verb], asked, work)

    def _progress(self, row: JobRow) -> None:
        """A job that moves runs, in the last line."""
        over = row.items - row.waiting
        how = "" if row.state == "running" else f", {row.state}"
        self.console_app.pane_screen.say(
            f"{row.job} {row.name}: {over:,} of {row.items:,}{how}; it runs in the engine"
        )

    async def _each(self, verb: str, runs: list[str]) -> None:
        from headway_tui.writes import write

        done, refusal = 0, ""
        words = ""
        for run in runs:
            try:
                words = await write(self.console_app.link, verb, run, self._unsure)
                done += 1
            except HeadwayError as e:
                refusal = refusal or f"{run}: {kindly(e)}"
        if refusal:
            self.say(f"{verb}: {done} done, {len(runs) - done} not: {refusal}", "bad")
        else:
            self.say(words if done == 1 else f"{verb}: {done} runs", "good")
        self.wrote()

    def wrote(self) -> None:
        """Something was changed from here."""

    def _unsure(self, text: str) -> None:
        self.console_app.pane_screen.say(text, "warning")

    def do_raw(self) -> None:
        """The record of the run under the cursor as JSON."""
        row = self.chosen_row()
        if row is None:
            self.say("no run is meant: put the cursor on one", "warning")
        else:
            from headway_tui.model.details import of_record
            from headway_tui.pages import PageSheet

            self.app.push_screen(PageSheet(row.run, of_record(row)))

    def do_advice(self) -> None:
        """Judge the checkpoints of the task of the run under the cursor."""
        row = self.chosen_row()
        if row is None:
            self.say("no run is meant: put the cursor on one", "warning")
        else:
            self.say(f"looking at the last runs of {row.task}")
            self.run_worker(self._advise(row.task), group="advice", exclusive=True)

    async def _advise(self, task: str) -> None:
        from headway.advice import gather
        from headway_tui.model.advised import of_advice
        from headway_tui.pages import PageSheet

        try:
            told = await gather(self.console_app.link.ask, task)
        except HeadwayError as e:
            self.say(f"no advice: {kindly(e)}", "bad")
        else:
            self.app.push_screen(PageSheet(f"advice on {safe_line(task, 64)}", of_advice(told)))

    def do_copy_id(self) -> None:
        """The ids of the chosen runs."""
        self.console_app.copy_text("\n".join(run for run, _ in self.chosen_runs()))

    def do_copy_subject(self) -> None:
        """The subject of the run's events."""
        from headway import subjects

        ns = self.console_app.settings.namespace
        texts = [subjects.live_event(ns, run) for run, _ in self.chosen_runs()]
        self.console_app.copy_text("\n".join(texts))

    def command_line(self) -> str:
        """The same as this screen shows, from a shell."""
        return "headway ls"

    def do_copy_cli(self) -> None:
        """The headless command."""
        app = self.console_app
        app.copy_text(as_typed(app.settings, self.command_line()))


def quoted(*words: str) -> str:
    """Words as a shell takes them."""
    return " ".join(shlex.quote(w) for w in words)
