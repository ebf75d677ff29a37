"""What every screen of the console is made of, and what it can say and copy of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.safe import safe_line
from headway_tui.contexts import as_typed
from headway_tui.screens.changing import Changing
from headway_tui.sending import kindly

if TYPE_CHECKING:
    from textual.app import ComposeResult


class Pane(Changing):
    """A screen of the console: header, its panes, keys, one line for commands and toasts."""

    def compose(self) -> ComposeResult:
        """Header, panes, keys, the last line."""
        yield self.header
        yield from self.body()
        yield self.keys_line
        yield self.command.hint_bar
        yield self.toast
        yield self.command.line

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

    def do_copy_cli(self) -> None:
        """The headless command."""
        app = self.console_app
        app.copy_text(as_typed(app.settings, self.command_line()))
