"""The panes of a run's screen: what they hold, which state they show, what is copied of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headway.errors import HeadwayError
from headway.texts import size
from headway.wire import BlobRef
from headway.wire.runs import StateAnswer, StateAsk
from headway_tui.model.states import read
from headway_tui.model.texts import safe
from headway_tui.model.timeline import Timeline
from headway_tui.screens.base import Pane
from headway_tui.widgets.log_tail import LogTail
from headway_tui.widgets.state_pane import StatePane
from headway_tui.widgets.waterfall import Waterfall

if TYPE_CHECKING:
    from headway.wire.runs import RunDetail, RunRow
    from headway_tui.widgets.lines import Lines

ID_LENGTH = 26
STATE_LIMIT = 1024 * 1024
"""Bytes of a state that are fetched to be shown; a larger one is fetched when it is asked for."""
FETCHED = 64 * 1024 * 1024
"""Bytes of a state that can be asked for."""


class RunPanes(Pane):
    """Timeline, output and state of one run; the screen lays them out and feeds them."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run_id = run
        self.now = lambda: datetime.now(UTC)
        self.detail: RunDetail | None = None
        self.timeline = Timeline()
        self.waterfall = Waterfall(self.timeline, lambda: self.now(), id="timeline")
        self.logs = LogTail(id="logs")
        self.state = StatePane(id="state")
        self.number = 0
        """The checkpoint whose state is shown; 0 = the last."""
        self._wanted = 0
        self._against = 0
        """The checkpoint with which it is compared; 0 = the one before it."""
        self._states: dict[int, StateAnswer] = {}

    # --- states

    def on_lines_moved(self, event: Lines.Moved) -> None:
        """The timeline's row chooses the state."""
        if event.lines is self.waterfall:
            self._wanted = self.waterfall.checkpoint_at()
            self._want_state()

    def on_state_pane_against(self, event: StatePane.Against) -> None:
        """Compare with another checkpoint."""
        self._against = event.number
        if self.number:
            self.run_worker(
                partial(self._load, self.number), group="state", exclusive=True, exit_on_error=True
            )

    def before(self) -> int:
        """The checkpoint with which the shown one is compared; 0 = none."""
        return self._against or self.number - 1

    def _last(self) -> int:
        numbers = [e.data.get("number") for e in self.timeline.events.values()
                   if e.kind == "checkpoint"]  # fmt: skip
        return max((n for n in numbers if isinstance(n, int)), default=0)

    def _want_state(self) -> None:
        number = self._wanted or self._last()
        if number and (number != self.number or "new" not in self.state.bodies):
            self.number = number
            self.run_worker(
                partial(self._load, number), group="state", exclusive=True, exit_on_error=True
            )
        elif not number and self.detail is not None:
            over = self.detail.row.ended_at is not None
            words = "it made no checkpoint" if over else "no checkpoint: a crash starts over"
            self.state.show(self._bodies(), b"", words)

    def _bodies(self) -> dict[str, Any]:
        detail, bodies = self.detail, dict[str, Any]()
        if detail is not None and bytes(detail.payload):
            bodies["payload"] = read(bytes(detail.payload))
        if detail is not None and bytes(detail.result):
            bodies["result"] = read(bytes(detail.result))
        return bodies

    async def _load(self, number: int) -> None:
        # Whoever walks through the timeline means the row where he stops.
        await asyncio.sleep(0.05)
        try:
            new = await self._state_of(number)
            before = self._against or number - 1
            old = await self._state_of(before) if before else None
        except HeadwayError as e:
            self.state.show(self._bodies(), b"", safe(str(e), 300))
            return
        if self._against and old is None:
            self.say(f"checkpoint {self._against} is not kept", "warning")
        if new is None:
            self.state.show(self._bodies(), b"", f"checkpoint {number} is not kept any more")
            return
        bodies = self._bodies()
        if not bytes(new.state):
            row = new.row
            rest = "enter fetches it" if row.size <= FETCHED else "`headway export` has it"
            words = f"{size(row.size)}, sha {row.sha256[:8]}, in the blob store: {rest}"
            self.state.show(bodies, b"", words)
            return
        bodies["new"] = read(bytes(new.state))
        if old is not None and bytes(old.state):
            bodies["old"] = read(bytes(old.state))
        self.state.show(bodies, bytes(new.state))

    async def _state_of(self, number: int) -> StateAnswer | None:
        if number in self._states:
            return self._states[number]
        link = self.console_app.link
        try:
            ask = StateAsk(self.run_id, number)
            answer = await link.ask("state", ask, StateAnswer)
        except HeadwayError as e:
            if e.code in {"not_found", "no_such_run"}:
                return None
            raise
        if answer.key:
            answer.state = msgspec.Raw()
            if answer.row.size <= STATE_LIMIT:
                await self._fetch(answer)
        self._states[number] = answer
        return answer

    async def _fetch(self, answer: StateAnswer) -> None:
        """Its body, from where large ones lie; raises HeadwayError."""
        client = self.console_app.link.client
        if client is not None:
            ref = BlobRef(answer.key, answer.row.size, answer.row.sha256)
            answer.state = msgspec.Raw(await client.fetch_blob(ref))

    def on_state_pane_wanted(self) -> None:
        """The state is large, and the reader wants it."""
        answer = self._states.get(self.number)
        if answer is not None and answer.key and answer.row.size <= FETCHED:
            work = partial(self._fetch_and_show, answer)
            self.run_worker(work, group="state", exclusive=True, exit_on_error=True)

    async def _fetch_and_show(self, answer: StateAnswer) -> None:
        self.say(f"fetching {size(answer.row.size)}")
        try:
            await self._fetch(answer)
        except HeadwayError as e:
            self.say(f"not fetched: {e}", "bad")
            return
        await self._load(answer.row.number)

    def do_next_checkpoint(self) -> None:
        """The next checkpoint."""
        self._step_checkpoint(1)

    def do_last_checkpoint(self) -> None:
        """The checkpoint before."""
        self._step_checkpoint(-1)

    def _step_checkpoint(self, step: int) -> None:
        number = max(1, min(self._last(), self.number + step))
        self._wanted = number
        self.waterfall.to_checkpoint(number)
        self._wanted = number
        self._want_state()

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """A double click on a row of the timeline."""
        if event.lines is self.waterfall:
            self.waterfall.do_details()

    # --- what is meant

    def chosen_runs(self) -> list[tuple[str, str]]:
        """This run."""
        row = self.detail.row if self.detail else None
        if row is None:  # its row is on its way, its id is known
            return [(self.run_id, "")] if len(self.run_id) == ID_LENGTH else []
        return [(row.run, f"{row.task}  {row.status}")]

    def chosen_row(self) -> RunRow | None:
        """This run's."""
        return self.detail.row if self.detail is not None else None

    def chosen_checkpoint(self) -> int:
        """The one whose state is shown."""
        return self.number

    def command_line(self) -> str:
        """The run, from a shell."""
        return f"headway show {self.run_id}"

    # --- copying

    def do_copy_error(self) -> None:
        """Error and trace."""
        error = self.detail.row.error if self.detail else None
        text = f"{error.type}: {error.message}\n{error.traceback}" if error is not None else ""
        self.console_app.copy_text(text)

    def do_copy_payload(self) -> None:
        """The payload."""
        body = bytes(self.detail.payload) if self.detail else b""
        self.console_app.copy_text(body.decode("utf-8", "replace"))

    def do_copy_result(self) -> None:
        """The result."""
        body = bytes(self.detail.result) if self.detail else b""
        self.console_app.copy_text(body.decode("utf-8", "replace"))

    def do_copy_state(self) -> None:
        """The shown state."""
        self.console_app.copy_text(self.state.raw.decode("utf-8", "replace"))

    def do_copy_lines(self) -> None:
        """The lines on screen."""
        self.console_app.copy_text("\n".join(self.logs.on_screen()))

    def do_copy_log(self) -> None:
        """All lines."""
        self.console_app.copy_text("\n".join(line.text for line in self.logs.store.lines))
