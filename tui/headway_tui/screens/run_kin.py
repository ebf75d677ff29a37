"""From a run to others: its forks, what it is compared with, the same error, its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from headway.errors import HeadwayError
from headway.wire.runs import ALIKE_HOURS, RunsPage, RunsQuery
from headway_tui.query import same_error, with_term
from headway_tui.screens.run_layout import RunLayout
from headway_tui.sending import kindly

if TYPE_CHECKING:
    from headway.wire.runs import RunRow


class RunKin(RunLayout):
    """Goes from the run to another one, or to a list of them."""

    def do_forks(self) -> None:
        """Its replays and forks: the only one itself, or the list of them."""
        kin = self.detail.kin if self.detail is not None else None
        if kin is None or not kin.forks:
            self.say("nobody has replayed or forked this run", "warning")
        elif kin.forks > 1:
            self.console_app.do_go_runs(f"origin:{self.run_id}")
        else:
            self.run_worker(self._only_fork(), group="kin", exclusive=True, exit_on_error=True)

    async def _only_fork(self) -> None:
        row = await self._first(f"origin:{self.run_id}")
        if row is not None:
            self.open_run(row.run)

    async def _first(self, query: str) -> RunRow | None:
        """The newest run that it means; None after it was said why there is none."""
        try:
            ask = RunsQuery(query=query, n=1)
            while True:
                page = await self.console_app.link.ask("runs", ask, RunsPage)
                if page.runs or not page.more:
                    break
                ask.after = page.next
        except HeadwayError as e:
            self.say(f"not read: {kindly(e)}", "bad")
            return None
        return page.runs[0] if page.runs else None

    # --- compare

    def do_compare(self) -> None:
        """Beside what it was made of, its newest fork, or the run of its task before it."""
        if self.detail is None:
            self.say("the run is not read yet", "warning")
        else:
            self.run_worker(self._compare(self.detail.row), group="kin", exclusive=True)

    async def _compare(self, row: RunRow) -> None:
        kin = self.detail.kin if self.detail is not None else None
        pairs: list[tuple[str, str, str]] = []
        if row.origin:
            pairs.append((row.origin, row.run, "what it was made of"))
        if kin is not None and kin.forks and (fork := await self._first(f"origin:{row.run}")):
            pairs.append((row.run, fork.run, "its newest fork"))
        if not pairs:
            made = f"{row.created_at:%Y-%m-%dT%H:%M:%SZ}"
            before = await self._first(f"{with_term('', 'task', row.task)} until:{made}")
            if before is None:
                self.say("nothing to compare it with: no fork, and no earlier run of its task")
                return
            pairs.append((before.run, row.run, "the run of its task before it"))
        if len(pairs) == 1:
            self.open_replay(pair=pairs[0][:2])
            return
        from headway_tui.dialogs import Choice

        options = [(str(i), Text(f"{words}  {a if a != row.run else b}"))
                   for i, (a, b, words) in enumerate(pairs)]  # fmt: skip

        def chosen(which: str | None) -> None:
            if which is not None:
                self.open_replay(pair=pairs[int(which)][:2])

        self.app.push_screen(Choice("compare with", options), chosen)

    # --- the list

    def do_same_error(self) -> None:
        """The list of runs with the same error."""
        row = self.detail.row if self.detail else None
        if row is not None and row.failure:
            query = with_term("", "failure", row.failure)
            self.console_app.do_go_runs(f"{query} since:{ALIKE_HOURS}h")
        elif row is not None and row.error is not None:
            self.console_app.do_go_runs(same_error("", row.error.type))
        else:
            self.say("this run has no error", "warning")

    def do_next_run(self) -> None:
        """The next run of the list."""
        self._neighbour(1)

    def do_last_run(self) -> None:
        """The run before."""
        self._neighbour(-1)

    def _neighbour(self, step: int) -> None:
        from headway_tui.screens.run import RunScreen
        from headway_tui.screens.runs import RunsScreen

        below: Any = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else None
        if not isinstance(below, RunsScreen):
            return
        below.table.move(max(0, below.view.index_of(self.run_id)) + step)
        run = below.view.id_at(below.table.cursor)
        if run in {"", self.run_id}:
            self.say("no more runs in the list that way", "warning")
            return
        self.app.switch_screen(RunScreen(run, self.console_app.link))
