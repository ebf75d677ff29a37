"""Search on a run's screen: in the focused pane, in output that is not in memory, and pipes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway_tui.logsearch import Stored, find_stored
from headway_tui.model.texts import safe
from headway_tui.screens.run_kin import RunKin
from headway_tui.widgets.finding import Finding

if TYPE_CHECKING:
    from textual.widgets import Input
    from textual.worker import Worker

    from headway_tui.widgets.log_tail import LogTail
    from headway_tui.widgets.prompt import Prompt


class RunSearch(RunKin):
    """Finds in panes, and beyond them."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self._searched: LogTail | Finding = self.logs
        self._beyond: Worker[None] | None = None

    def do_search(self) -> None:
        """Search in the focused pane; from the timeline in the output."""
        focused: Any = self.focused
        self._searched = focused if isinstance(focused, Finding) else self.logs
        self._stop()
        self.search.open(self._searched.wanted)

    def on_prompt_left(self, event: Prompt.Left) -> None:
        """Escape in the search, or in the command line."""
        if event.prompt is not self.search:
            return  # the base class hears it by itself
        event.stop()
        self.search.close()
        self.go_to(self._searched)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the search, or in the command line."""
        if event.input is not self.search:
            return  # the base class hears it by itself
        event.stop()
        self.search.close()
        self.go_to(self._searched)
        try:
            found = self._searched.search(event.value)
        except ValueError as e:
            self.say(str(e), "bad")
            return
        if found:
            self.say("searching; esc stops" if self.logs.searching else "")
            return
        if isinstance(self._searched, Finding):
            self._not_in(self._searched, event.value)
        elif not self._search_on(-1):
            self.say(self._none(), "warning")

    def _none(self) -> str:
        count = self.logs.store.end - self.logs.store.base
        return f"no line of {count:,} has {self.logs.wanted!r}"

    def _not_in(self, pane: Finding, wanted: str) -> None:
        where = ""
        if pane is self.state and self.state.view != "raw" and self.state.has(wanted):
            where = ", but the state has it: v shows it as a tree, or raw"
        self.say(f"no row of this view has {wanted!r}{where}", "warning")

    # --- beyond what is in memory

    def on_log_tail_beyond(self, event: LogTail.Beyond) -> None:
        """No further hit in memory that way."""
        if not self._search_on(event.step):
            what = "no further line that way" if self.logs.hit is not None else self._none()
            self.say(what, "warning")

    def _search_on(self, step: int) -> bool:
        """Go on in what is stored; False if all there is that way is in memory."""
        store, test = self.logs.store, self.logs.test
        seq = store.first_seq if step < 0 else store.last_seq
        if test is None or not seq or not (store.older if step < 0 else store.newer):
            return False
        self._stop()
        link = self.console_app.link
        work = partial(self._search, find_stored(link, self.run_id, test, seq, step, self._looked))
        self._beyond = self.run_worker(work(), group="beyond", exclusive=True, exit_on_error=True)
        return True

    def _looked(self, lines: int, at: str) -> None:
        self.say(f"searching what is stored: {lines:,} lines, at {at}; esc stops")

    async def _search(self, work: Any) -> None:
        try:
            found: Stored | None = await work
            if found is not None:
                await self.lines.go_to(found.seq)
        except HeadwayError as e:
            self.say(f"the search was not finished: {e}", "bad")
            return
        finally:
            self._beyond = None
        if found is None:
            self.say(f"nothing else that is stored has {safe(self.logs.wanted, 60)!r}", "warning")
        elif not self.logs.show_hit(found.seq, found.step):
            self.say("the line that was found is not kept any more", "warning")
        else:
            self.say(f"found after {found.lines:,} lines; n N go on", "good")

    def _stop(self) -> bool:
        """End a search that goes on; False if there was none."""
        work, self._beyond = self._beyond, None
        inside, self.logs.searching = self.logs.searching, None
        if work is not None:
            work.cancel()
        return work is not None or inside is not None

    def leave(self) -> bool:
        """A search is ended before anything else."""
        if self._stop():
            self.say("the search was stopped")
            return True
        return super().leave()
