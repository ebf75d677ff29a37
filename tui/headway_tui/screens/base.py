"""What every screen is made of: header, its panes, keys, one line for commands and toasts."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, cast

from textual.screen import Screen
from textual.widgets import Input

from headway.errors import HeadwayError
from headway.safe import safe_line
from headway.states import TERMINAL
from headway_tui.actions import BY_ID, named
from headway_tui.chrome import Header, Keys, Toast
from headway_tui.sending import kindly
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult
    from textual.widget import Widget

    from headway.wire.commands import RunRow
    from headway_tui.app import HeadwayApp

ENDED = {s.status for s in TERMINAL}
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
        self.command = Input(id="command", placeholder="a command; tab completes")
        self.header = Header(self.where, self.lag)
        self._before: Widget | None = None
        self._ticks = 0

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

        self.app.push_screen(RunScreen(run))

    # --- layout

    def compose(self) -> ComposeResult:
        """Header, panes, keys, the last line."""
        yield self.header
        yield from self.body()
        yield self.keys_line
        yield self.toast
        self.command.display = False
        yield self.command

    def paint(self) -> None:
        """Called by the clock."""
        if not self.is_attached:
            return
        self._ticks += 1
        self.settle()
        for lines in self.query(Lines):
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

    def ask_command(self) -> None:
        """Type a command."""
        self._before = self.focused
        self.toast.display, self.command.display = False, True
        self.command.value = ""
        self.set_focus(self.command)

    def _close_command(self) -> None:
        self.toast.display, self.command.display = True, False
        if self._before is not None:
            self.set_focus(self._before)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the command line."""
        if event.input is self.command:
            event.stop()
            text = event.value.strip()
            self._close_command()
            if text:
                self.run_command(text)

    def key_escape(self) -> None:
        """Leave the command line."""
        if self.command.has_focus:
            self._close_command()

    def run_command(self, text: str) -> None:
        """`name` or `name argument`."""
        app = self.console_app
        name, _, rest = text.partition(" ")
        rest = rest.strip()
        if name == "theme" and rest:
            app.set_theme(rest)
        elif name == "run" and rest:
            self.open_run(rest)
        elif name == "runs":
            while len(app.screen_stack) > 1:
                app.pop_screen()
            first: Any = app.screen
            first.set_filter(rest)
        elif (action := named(name, app.places())) is not None:
            app.do(action)
        else:
            self.say(f"no command {name!r} here: ? lists them", "warning")

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
        """Replay, after a sheet."""
        self._write("replay")

    def do_ack(self) -> None:
        """Acknowledge, after a sheet."""
        self._write("ack")

    def _write(self, verb: str) -> None:
        runs = self.chosen_runs()
        if not runs:
            self.say("no run is meant: put the cursor on one, or mark some", "warning")
            return

        async def work() -> None:
            await self._each(verb, [run for run, _ in runs])

        self.console_app.confirm(BY_ID[verb], runs, work)

    async def _each(self, verb: str, runs: list[str]) -> None:
        from headway_tui.writes import write

        done, refused = 0, ""
        words = ""
        for run in runs:
            try:
                words = await write(self.console_app.link, verb, run, self._unsure)
                done += 1
            except HeadwayError as e:
                refused = refused or f"{run}: {kindly(e)}"
        if refused:
            self.say(f"{verb}: {done} done, {len(runs) - done} not: {refused}", "bad")
        else:
            self.say(words if done == 1 else f"{verb}: {done} runs", "good")
        self.reread()

    def _unsure(self, text: str) -> None:
        self.console_app.pane_screen.say(text, "warning")

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
        self.console_app.copy_text(self.command_line())


def quoted(*words: str) -> str:
    """Words as a shell takes them."""
    return " ".join(shlex.quote(w) for w in words)
