"""One run: its timeline, its output live, its saved states."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from textual.containers import Horizontal, Vertical

from headway.budgets import told
from headway.errors import HeadwayError
from headway.looks import look
from headway.texts import plural, span
from headway.wire import BlobRef
from headway.wire.runs import RunAsk, RunDetail, RunRow, RunsPage, RunsQuery, StateAnswer, StateAsk
from headway_tui.chrome import Note
from headway_tui.feeds import RunFeed
from headway_tui.model.states import counted, read
from headway_tui.model.texts import fit, safe
from headway_tui.model.timeline import Timeline
from headway_tui.query import same_error
from headway_tui.screens.base import Pane
from headway_tui.spanfeed import SpanFeed
from headway_tui.widgets.log_tail import LogTail
from headway_tui.widgets.prompt import Prompt
from headway_tui.widgets.state_pane import StatePane
from headway_tui.widgets.tabs import TabLine
from headway_tui.widgets.waterfall import Waterfall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget
    from textual.widgets import Input

    from headway.wire.events import Event, LogChunk, SpanChunk
    from headway_tui.widgets.lines import Lines

ID_LENGTH = 26
STATE_LIMIT = 1024 * 1024
"""Bytes of a state that are fetched to be shown; of a larger one only its size is told."""


class RunScreen(Pane):
    """Timeline above, output and state below; one of the two below on small terminals."""

    CSS = """
    RunScreen #facts { height: 1; }
    RunScreen #timeline-box { height: 45%; }
    RunScreen #lower { height: 1fr; }
    RunScreen #logs-box { width: 5fr; }
    RunScreen #state-box { width: 4fr; }
    RunScreen #error-box { height: 3; border: round $error; }
    RunScreen #error-box.-small { height: 1; border: none; }
    RunScreen #axis { height: 1; }
    """
    place = "run"

    def __init__(self, run: str, *, logs: bool = False) -> None:
        """`logs`: the output alone at first."""
        super().__init__()
        self.run_id = run
        self._logs_first = logs
        self.now = lambda: datetime.now(UTC)
        self.detail: RunDetail | None = None
        self.timeline = Timeline()
        self.waterfall = Waterfall(self.timeline, lambda: self.now(), id="timeline")
        self.logs = LogTail(id="logs")
        self.state = StatePane(id="state")
        self.facts = Note(self._facts, id="facts")
        self.axis = Note(lambda _: [(self.waterfall.axis(), "muted")], id="axis")
        self.error_line = Note(self._error)
        self.search = Prompt(
            lambda _: (), lead="/", id="search", placeholder="text, or /an expression/"
        )
        self.timeline_box = Vertical(self.axis, self.waterfall, id="timeline-box", classes="pane")
        self.logs_box = Vertical(self.logs, id="logs-box", classes="pane")
        self.state_box = Vertical(self.state, id="state-box", classes="pane")
        self.lower = Horizontal(self.logs_box, self.state_box, id="lower")
        self.error_box = Vertical(self.error_line, id="error-box")
        panes = [("timeline", self.waterfall), ("logs", self.logs), ("state", self.state)]
        self.tabs = TabLine(panes, self._is_shown, self._go_to)
        self._same = ""
        """How many runs have the same error, in words."""
        self._same_of = ""
        self.feed: RunFeed | None = None
        self.number = 0
        """The checkpoint whose state is shown; 0 = the last."""
        self._wanted = 0
        self._states: dict[int, StateAnswer] = {}
        self._zoomed = False
        self._lower: Lines = self.logs

    # --- layout

    def body(self) -> Iterable[Widget]:
        """Facts, panes, the error."""
        yield self.facts
        yield self.tabs
        yield self.timeline_box
        yield self.lower
        yield self.search.line
        yield self.error_box

    def on_mount(self) -> None:
        """Follow the run."""
        if self._logs_first:
            self._lower, self._zoomed = self.logs, True
        self.set_focus(self.logs if self._logs_first else self.waterfall)
        if (then := self.console_app.link.as_of) is not None:
            self.now = lambda: then  # what was running is shown as it was
        self.feed = RunFeed(
            self.console_app.link, self.run_id, self._on_detail, self._on_event, self._on_chunk
        )
        self.state.empty = "no checkpoint yet: until there is one, a crash starts over"
        self.state.show({}, b"", self.state.empty)
        self.error_box.display = False
        self.run_worker(self._follow, name="run", exit_on_error=True)

    async def _follow(self) -> None:
        assert self.feed is not None
        if len(self.run_id) < ID_LENGTH:
            link = self.console_app.link
            while not link.connected:
                link.changed.clear()
                await link.changed.wait()
            try:
                ask = RunAsk(self.run_id)
                found = await link.ask("run", ask, RunDetail)
            except HeadwayError as e:
                self.say(str(e), "bad")
                return
            self.run_id = self.feed.run_id = found.row.run
        spans = SpanFeed(self.console_app.link, self.run_id, self._on_spans)
        self.run_worker(spans.run(), name="spans", exit_on_error=True)
        await self.feed.run()

    def on_screen_resume(self) -> None:
        """Here again."""
        self.console_app.visited("run", self.run_id)

    def on_resize(self) -> None:
        """Panes as the size allows."""
        self._arrange()

    def on_descendant_focus(self) -> None:
        """The pane with the focus is the one shown below on small terminals."""
        super().on_descendant_focus()
        if self.focused in {self.logs, self.state}:
            focused: Any = self.focused
            self._lower = focused
        self._arrange()

    def _arrange(self) -> None:
        boxes = {self.waterfall: self.timeline_box, self.logs: self.logs_box,
                 self.state: self.state_box}  # fmt: skip
        one = self.focused if self._zoomed else None
        for pane, box in boxes.items():
            fits = not self.small or pane is self.waterfall or pane is self._lower
            box.display = pane is one if one in boxes else fits
        self.timeline_box.styles.height = "100%" if one is self.waterfall else (
            "50%" if self.small else "45%"
        )  # fmt: skip
        self.lower.display = one is not self.waterfall
        self.tabs.display = self.small and one is None and self.size.height >= 16
        self.tabs.refresh()
        self.error_box.set_class(self.small, "-small")
        tiny = self.size.height < 16
        if tiny and one is None:
            self.timeline_box.display = self.focused is self.waterfall
            self.lower.display = not self.timeline_box.display
        if self.timeline_box.display and one is self.waterfall:
            self.timeline_box.styles.height = "1fr"
        for pane in boxes:
            pane.touch()

    def _is_shown(self, pane: Any) -> bool:
        return pane is self.waterfall or pane is self._lower

    def _go_to(self, pane: Any) -> None:
        if pane is not self.waterfall:
            self._lower = pane
            self.lower.display = self.logs_box.display = self.state_box.display = True
        self.set_focus(pane)
        self.call_after_refresh(self._arrange)

    def where(self) -> str:
        """Breadcrumbs."""
        return f"Runs > {safe(self.run_id, 26)}"

    # --- what is heard

    def _on_detail(self, detail: RunDetail) -> None:
        self.detail = detail
        self.facts.refresh()
        error = detail.row.error
        self.error_box.display = (
            error is not None and detail.row.status not in {"succeeded", "cancelled"}
            and self.size.height >= 20
        )  # fmt: skip
        self.error_line.refresh()
        if error is not None and error.type != self._same_of:
            self._same_of = error.type
            self.run_worker(partial(self._count_same, error.type), group="same", exclusive=True)
        self._want_state()

    def _on_event(self, event: Event) -> None:
        self.timeline.add(event)
        self.waterfall.touch()
        if event.kind == "checkpoint":
            self._want_state()

    def _on_spans(self, epoch: int, chunk: SpanChunk) -> None:
        self.timeline.add_spans(epoch, chunk)
        self.waterfall.touch()

    def _on_chunk(self, epoch: int, chunk: LogChunk) -> None:
        self.logs.store.add(epoch, chunk)
        self.logs.touch()

    # --- painting

    def settle(self) -> None:
        """Titles, and bars that grow."""
        live = self.detail is None or self.detail.row.ended_at is None
        if live and self._ticks % 4 == 0:  # 4 Hz of the clock's 15
            self.waterfall.touch()
        if self.waterfall.dirty:
            self.axis.refresh()
        if self._ticks % 8 == 0:
            self.facts.refresh()
        self._titles()

    def _titles(self) -> None:
        store, logs = self.logs.store, self.logs
        down = logs.sign("down")
        follow = f"{down} follow" if logs.following else "held: G follows"
        least = "" if logs.least == "D" else f"  {logs.least}+"
        title = f"logs {follow}{least}  {plural(store.received, 'line')}"
        if logs.only_words:
            title += f"  {safe(logs.only_words, 30)}"
        if store.missing:
            title += f"  {store.missing:,} missing"
        _retitle(self.logs_box, title, "/ search" if not self.small else "")
        idle = "" if self.waterfall.fold_idle else "  idle shown"
        zoom = f"  x{self.waterfall.zoom:g}" if self.waterfall.zoom > 1 else ""
        keys = "z fold  +/-  n/N" if self.small else "v view  z fold  +/- zoom  n/N fail"
        spans = self.timeline.spans
        lost = f"  {spans.missing:,} spans missing" if spans.missing else ""
        lost += f"  {spans.beyond:,} more spans" if spans.beyond else ""
        _retitle(self.timeline_box, f"timeline {self.waterfall.view}{idle}{zoom}{lost}", keys)
        point = self._states.get(self.number)
        name = f"{logs.sign('checkpoint')}{self.number} {safe(point.row.name, 40)}" if point else ""
        signs = counted(self.state.rows) if self.state.view == "diff" and point else ""
        _retitle(self.state_box, f"{self.state.view} {name}  {signs}".strip(), "v view  [ ] ckpt")

    def _facts(self, width: int) -> list[tuple[str, str]]:
        detail = self.detail
        if detail is None:
            trouble = self.feed.trouble if self.feed else ""
            return [
                (f" {safe(self.run_id, 26)}  ", "text"),
                (safe(trouble or "asking", 200), "muted"),
            ]
        row = detail.row
        shape = look(row.status)
        glyph = shape.ascii if self.console_app.ascii_only else shape.glyph
        facts = [f"try {row.attempt}/{row.max_attempts}" if row.attempt else ""]
        if row.started_at is not None:
            end = row.ended_at or self.now()
            facts.append(span((end - row.started_at).total_seconds()))
        facts += [f"queue {row.queue}", f"agent {row.agent}" if row.agent else "",
                  f"version {row.version}" if row.version else "",
                  f"budget {told(detail.budget)}" if detail.budget is not None else "",
                  f"tags {' '.join(row.tags)}" if row.tags else "",
                  f"replays {row.origin}" if row.origin else ""]  # fmt: skip
        why = "" if row.ended_at else detail.why
        dead = f"{self.waterfall.sign('dead')} " if row.failure and not row.acked else ""
        return [
            (f" {glyph} {shape.word} {dead}", shape.role), (f"{safe(row.run, 26)}  ", "text"),
            (f"{safe(row.task, 64)}  ", "accent"),
            (safe("  ".join(f for f in facts if f), 400), "muted"),
            (f"   {safe(why, 200)}" if why else "", "warning"),
        ]  # fmt: skip

    def _error(self, width: int) -> list[tuple[str, str]]:
        error = self.detail.row.error if self.detail else None
        if error is None:
            return []
        room = width - len(self._same) - 2
        words = safe(f" {error.type}: {error.message}", 500)
        return [(fit(words, max(20, room), self.logs.sign("cut")), "bad"), (self._same, "muted")]

    async def _count_same(self, kind: str) -> None:
        try:
            ask = RunsQuery(query=same_error("", kind), n=1, total=True)
            page = await self.console_app.link.ask("runs", ask, RunsPage)
        except HeadwayError:
            return
        if page.total and page.total > 1:
            about = "about " if page.estimated else ""
            self._same = f"  E: {about}{page.total:,} runs with this error"
            self.error_line.refresh()

    # --- states

    def on_lines_moved(self, event: Lines.Moved) -> None:
        """The timeline's row chooses the state."""
        if event.lines is self.waterfall:
            self._wanted = self.waterfall.checkpoint_at()
            self._want_state()

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
            self.state.show(self._bodies(), b"", self.state.empty)

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
            old = await self._state_of(number - 1) if number > 1 else None
        except HeadwayError as e:
            self.state.show(self._bodies(), b"", safe(str(e), 300))
            return
        if new is None:
            self.state.show(self._bodies(), b"", f"checkpoint {number} is not kept any more")
            return
        bodies = self._bodies()
        bodies["new"] = read(bytes(new.state))
        if old is not None:
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
            ref = BlobRef(answer.key, answer.row.size, answer.row.sha256)
            if ref.size > STATE_LIMIT:
                answer.state = msgspec.Raw(b'{"size": %d}' % ref.size)
            elif link.client is not None:
                answer.state = msgspec.Raw(await link.client.fetch_blob(ref))
        self._states[number] = answer
        return answer

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

    # --- what the keys do

    def reread(self) -> None:
        """Ask for the row again."""
        if self.feed is not None:
            self.feed.again()

    def leave(self) -> bool:
        """A zoomed pane first becomes small again."""
        if self._zoomed:
            self.do_zoom_pane()
            return True
        return False

    def do_next_pane(self) -> None:
        """The next pane."""
        self._focus(1)

    def do_last_pane(self) -> None:
        """The pane before."""
        self._focus(-1)

    def _focus(self, step: int) -> None:
        panes: list[Any] = [self.waterfall, self.logs, self.state]
        at = panes.index(self.focused) if self.focused in panes else 0
        pane = panes[(at + step) % len(panes)]
        for box in (self.timeline_box, self.lower, self.logs_box, self.state_box):
            box.display = True  # what is not shown takes no focus
        self.set_focus(pane)
        self._lower = pane if pane is not self.waterfall else self._lower
        self.call_after_refresh(self._arrange)

    def do_span_lines(self) -> None:
        """Only the output of the time of the timeline's row, or all."""
        node = self.waterfall.chosen()
        if self.logs.only is not None or node is None:
            self.logs.keep(None)
            return
        start, end = node.start, node.end or self.now()
        self.logs.keep(lambda line: start <= line.at <= end, f"only {node.label}")

    def do_full_logs(self) -> None:
        """The output alone."""
        self._lower, self._zoomed = self.logs, True
        for box in (self.lower, self.logs_box):
            box.display = True
        self.set_focus(self.logs)
        self.call_after_refresh(self._arrange)

    def do_zoom_pane(self) -> None:
        """The focused pane alone, or all."""
        self._zoomed = not self._zoomed
        self._arrange()

    def do_search(self) -> None:
        """Search in the output."""
        self.search.open(self.logs.wanted)

    def on_prompt_left(self, event: Prompt.Left) -> None:
        """Escape in the search, or in the command line."""
        if event.prompt is not self.search:
            return  # the base class hears it by itself
        event.stop()
        self.search.close()
        self.set_focus(self.logs)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the search, or in the command line."""
        if event.input is not self.search:
            return  # the base class hears it by itself
        event.stop()
        self.search.close()
        self.set_focus(self.logs)
        try:
            if not self.logs.search(event.value):
                self.say(f"no line of {self.logs.store.end - self.logs.store.base:,} has"
                         f" {event.value!r}", "warning")  # fmt: skip
        except ValueError as e:
            self.say(str(e), "bad")

    def do_next_run(self) -> None:
        """The next run of the list."""
        self._neighbour(1)

    def do_last_run(self) -> None:
        """The run before."""
        self._neighbour(-1)

    def _neighbour(self, step: int) -> None:
        from headway_tui.screens.runs import RunsScreen

        below: Any = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else None
        if not isinstance(below, RunsScreen):
            return
        below.table.move(max(0, below.view.index_of(self.run_id)) + step)
        run = below.view.id_at(below.table.cursor)
        if run in {"", self.run_id}:
            self.say("no more runs in the list that way", "warning")
            return
        self.app.switch_screen(RunScreen(run))

    def do_same_error(self) -> None:
        """The list of runs with the same error."""
        error = self.detail.row.error if self.detail else None
        if error is None:
            self.say("this run has no error", "warning")
        else:
            self.console_app.do_go_runs(same_error("", error.type))

    def wrote(self) -> None:
        """What was changed is looked at again."""
        self.reread()

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


def _retitle(box: Vertical, title: str, subtitle: str) -> None:
    # Setting a title paints: only where it is another one.
    if str(box.border_title or "") != title:
        box.border_title = title
    if str(box.border_subtitle or "") != subtitle:
        box.border_subtitle = subtitle
