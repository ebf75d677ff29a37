"""What every screen can do to the runs it means: cancel, resume, fork, replay, ack, tag."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.states import TERMINAL
from headway_tui.actions import BY_ID
from headway_tui.model.sheets import Meant
from headway_tui.screens.commanding import Commanding
from headway_tui.sending import kindly

if TYPE_CHECKING:
    from headway.replays.moving import Verb
    from headway.wire.replays import JobRow
    from headway_tui.model.drafts import Draft

ENDED = {s.status for s in TERMINAL}


class Changing(Commanding):
    """Each after a sheet that asks."""

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

        async def work() -> None:
            if await fork(app, runs[0][0], self.chosen_checkpoint(), edit=edit):
                self.wrote()  # the run has one fork more

        app.run_worker(work(), group="write", exit_on_error=True)

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

    def do_tag(self, argument: str = "") -> None:
        """Change their tags, after a sheet; `argument`: what is typed there then."""
        from headway_tui.tagging import tag_many, tag_one

        runs, query, tags = self.chosen_runs(), self.meant_query(), self.chosen_tags()
        if not runs:
            self.say("no run is meant: put the cursor on one, or mark some", "warning")
        elif query or len(runs) > 1:
            work = tag_many(self, runs, query, tags, argument)
            self.run_worker(work, group="write", exit_on_error=True)
        else:
            run, what = runs[0]
            tag_one(self, run, what, [tags[run]] if run in tags else [], argument)

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
        from headway_tui.writes import IDS

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

        bodies = plans(verb, found, query or "marked runs")
        app.confirm(BY_ID[verb], asked, partial(self.carry, verb, bodies))

    async def carry(self, verb: Verb, bodies: list[bytes]) -> None:
        """Jobs of these plans, one after the other; how far they are and what came of them."""
        from headway_tui.writes import carried_out, outcome, start

        app = self.console_app
        try:
            for body in bodies:
                row = await start(app.link, body, self.unsure)
                self._progress(row)
                row = await carried_out(app.link, row, self._progress)
                said = await outcome(app.link, verb, row)
                app.pane_screen.say(said, "bad" if row.failed or row.waiting else "good")
        except HeadwayError as e:
            app.pane_screen.say(f"not done: {kindly(e)}; {verb} again does the rest", "bad")
        self.wrote()

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
                words = await write(self.console_app.link, verb, run, self.unsure)
                done += 1
            except HeadwayError as e:
                refusal = refusal or f"{run}: {kindly(e)}"
        if refusal:
            self.say(f"{verb}: {done} done, {len(runs) - done} not: {refusal}", "bad")
        else:
            self.say(words if done == 1 else f"{verb}: {done} runs", "good")
        self.wrote()

    def unsure(self, text: str) -> None:
        """A request has no answer yet: it is asked again."""
        self.console_app.pane_screen.say(text, "warning")


def quoted(*words: str) -> str:
    """Words as a shell takes them."""
    return " ".join(shlex.quote(w) for w in words)
