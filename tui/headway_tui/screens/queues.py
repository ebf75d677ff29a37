"""Queues and agents: what waits, who works, and the switches of both."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from textual.containers import Vertical

from headway.texts import plural, span
from headway_tui.actions import BY_ID
from headway_tui.boards import BoardFeed
from headway_tui.chrome import Note
from headway_tui.link import SILENT_AFTER
from headway_tui.model import agents, queues
from headway_tui.model.jumps import Spot
from headway_tui.model.sheets import texts
from headway_tui.model.texts import safe
from headway_tui.screens import cells
from headway_tui.screens.switches import Switches, drain_line, pause_line
from headway_tui.sheets import Facts
from headway_tui.widgets.table import Cell, TableHead, VTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from headway_tui.model.agents import AgentLine
    from headway_tui.model.queues import QueueLine
    from headway_tui.widgets.lines import Lines


def _now() -> datetime:
    return datetime.now(UTC)


class QueuesScreen(Switches):
    """Two tables; below 100 columns one of them at a time."""

    CSS = """
    QueuesScreen .pane { height: 1fr; }
    QueuesScreen VTable { height: 1fr; }
    QueuesScreen #empty { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = _now
        self.clock = time.monotonic
        self.queue_lines: list[QueueLine] = []
        self.agent_lines: list[AgentLine] = []
        self.queue_table = VTable(self._queue, lambda: len(self.queue_lines), id="queues")
        self.agent_table = VTable(self._agent, lambda: len(self.agent_lines), id="agents")
        self.queue_note = Note(self._no_queue, id="no-queue")
        self.agent_note = Note(self._no_agent, id="no-agent")
        self.queue_foot = Note(lambda _: self._whole(self.queue()), id="queue-foot")
        self.agent_foot = Note(lambda _: self._whole(self.agent()), id="agent-foot")
        self.tabs = Note(
            self._tabs, id="tabs", go=(lambda: self.set_focus(self.queue_table),
                                       lambda: self.set_focus(self.agent_table)),
        )  # fmt: skip
        self.queue_head = TableHead(self.queue_table)
        self.agent_head = TableHead(self.agent_table)
        self.queue_box = Vertical(
            self.queue_head, self.queue_note, self.queue_table, self.queue_foot,
            id="queues-box", classes="pane",
        )  # fmt: skip
        self.agent_box = Vertical(
            self.agent_head, self.agent_note, self.agent_table, self.agent_foot,
            id="agents-box", classes="pane",
        )  # fmt: skip
        self.feed: BoardFeed | None = None
        self._front: VTable = self.queue_table
        self._alone = False
        self._how = cells.Looking(self.now(), timedelta())

    @property
    def place(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] the pane decides
        """Which of the two has the focus."""
        return "agents" if self._front is self.agent_table else "queues"

    # --- layout

    def body(self) -> Iterable[Widget]:
        """Queues over agents."""
        yield self.tabs
        yield self.queue_box
        yield self.agent_box

    def spot(self) -> Spot:
        """Both boxes."""
        return Spot("queues")

    def on_mount(self) -> None:
        """Focus the queues; the feed waits for the link."""
        link = self.console_app.link
        self.feed = BoardFeed(link, self.queues, self.agents, self._touch)
        self.set_focus(self.queue_table)
        self.run_worker(self.feed.run, name="board", exit_on_error=True)

    def switched(self) -> None:
        """Its rows are others now."""
        self._touch()

    def _touch(self) -> None:
        self.queue_table.touch()
        self.agent_table.touch()

    def on_resize(self) -> None:
        """Columns drop on small terminals, and the boxes become tabs."""
        width = self.size.width
        narrow = width < 60
        self.queue_table.columns = (
            cells.QUEUES_NARROW if narrow else cells.QUEUES_SMALL if self.small
            else cells.QUEUES_WIDE
        )  # fmt: skip
        self.agent_table.columns = (
            cells.AGENTS_NARROW if narrow else cells.AGENTS_SMALL if self.small
            else cells.AGENTS_WIDE
        )  # fmt: skip
        self._arrange()

    def on_descendant_focus(self) -> None:
        """The keys, and on small terminals the pane, are those of the focused one."""
        if self.focused in {self.queue_table, self.agent_table}:
            self._front = self.queue_table if self.focused is self.queue_table else self.agent_table
            self._arrange()
        super().on_descendant_focus()

    def _arrange(self) -> None:
        one = self.small or self._alone
        self.queue_box.display = not one or self._front is self.queue_table
        self.agent_box.display = not one or self._front is self.agent_table
        self.tabs.display = self.small
        for box, name in ((self.queue_box, "queues"), (self.agent_box, "agents")):
            box.border_title = name
        self.queue_head.refresh()
        self.agent_head.refresh()
        self.tabs.refresh()
        self._touch()

    def where(self) -> str:
        """The place at the right of the header."""
        return "Queues"

    # --- painting

    def settle(self) -> None:
        """Merge what was heard, once for each picture."""
        link = self.console_app.link
        if not (self.queue_table.dirty or self.agent_table.dirty or self._ticks % 15 == 0):
            return
        now, feed = self.clock(), self.feed
        silent = max(link.silent(), 0.0) if link.connected else now - link.since
        stale = not link.connected or silent > SILENT_AFTER
        ahead = feed.ahead if feed is not None else timedelta()
        at = self.now()
        shift = at.astimezone().utcoffset() or timedelta()
        self._how = cells.Looking(at + ahead, shift, self.console_app.ascii_only, stale)
        live = None if stale else [e for e, (_, t) in link.engines.items() if now - t <= 4]
        self.agent_lines = self.agents.lines(link.agents, now)
        self.queue_lines = self.queues.lines(self.agent_lines, at + ahead, live)
        known = self.queues.rows or self.agents.rows
        old = f"as of {span(silent)} ago" if stale and known else ""
        self.queue_box.border_subtitle = old or self._sums()
        self.agent_box.border_subtitle = old or f"sort: {self.agents.sort}"
        self._notes()
        self._touch()

    def _sums(self) -> str:
        waits = sum(line.waiting for line in self.queue_lines)
        runs = sum(line.row.open for line in self.queue_lines)
        return f"{waits:,} wait   {runs:,} run   sort: {self.queues.sort}"

    def _notes(self) -> None:
        for note, lines in ((self.queue_note, self.queue_lines),
                            (self.agent_note, self.agent_lines)):  # fmt: skip
            note.display = not lines
            note.refresh()

        for foot, table, line in ((self.queue_foot, self.queue_table, self.queue()),
                                  (self.agent_foot, self.agent_table, self.agent())):  # fmt: skip
            room = table.widths(table.room)[-1] if table.columns else 0
            foot.display = line is not None and len(line.note(self._how.shift)) > room
            foot.refresh()

    def _whole(self, line: QueueLine | AgentLine | None) -> list[tuple[str, str]]:
        """What does not fit into the row under the cursor."""
        return [(safe(f" {line.name}: {line.note(self._how.shift)}", 400), "muted")] if line else []

    def _why_empty(self) -> str:
        feed = self.feed
        if feed is not None and feed.trouble:
            return f" {feed.trouble}"
        if feed is None or feed.loading:
            return " asking" if self.console_app.link.connected else " waiting for NATS"
        return ""

    def _no_queue(self, width: int) -> list[tuple[str, str]]:
        said = self._why_empty() or (
            " no queue yet: the first task that is deployed makes its queue, as does `headway run`"
        )
        return [(safe(said, 300), "muted")]

    def _no_agent(self, width: int) -> list[tuple[str, str]]:
        waits = sum(line.waiting for line in self.queue_lines)
        said = self._why_empty() or (
            f" no agent is connected; {plural(waits, 'run')} "
            f"{'waits' if waits == 1 else 'wait'}: `headway agent`"
        )
        return [(safe(said, 300), "muted")]

    def _tabs(self, width: int) -> list[tuple[str, str]]:
        first = self._front is self.queue_table
        names = ("[queues]", " agents ") if first else (" queues ", "[agents]")
        roles = ("accent", "muted") if first else ("muted", "accent")
        room = width - sum(map(len, names)) - len("tab next") - 4
        return [(f" {names[0]}", roles[0]), (f"  {names[1]}", roles[1]),
                (" " * max(1, room) + "tab next ", "muted")]  # fmt: skip

    def _marked(self, table: VTable, index: int, row: list[Cell]) -> list[Cell]:
        sign = table.sign("cursor") if index == table.cursor and table is self._front else " "
        return [Cell(sign, "accent"), *row]

    def _queue(self, index: int) -> list[Cell] | None:
        if not 0 <= index < len(self.queue_lines):
            return None
        table = self.queue_table
        row = cells.queue_cells(self.queue_lines[index], len(table.columns), self._how)
        return self._marked(table, index, row)

    def _agent(self, index: int) -> list[Cell] | None:
        if not 0 <= index < len(self.agent_lines):
            return None
        table = self.agent_table
        row = cells.agent_cells(self.agent_lines[index], len(table.columns), self._how)
        return self._marked(table, index, row)

    # --- what is meant

    def queue(self) -> QueueLine | None:
        """The queue under the cursor."""
        at = self.queue_table.cursor
        return self.queue_lines[at] if at < len(self.queue_lines) else None

    def agent(self) -> AgentLine | None:
        """The agent under the cursor."""
        at = self.agent_table.cursor
        return self.agent_lines[at] if at < len(self.agent_lines) else None

    def command_line(self) -> str:
        """What the switch of the row under the cursor would be, from a shell."""
        if self.place == "queues":
            line = self.queue()
            return pause_line(line.row, "") if line else "headway queue ls"
        agent = self.agent()
        return drain_line(agent, "") if agent else "headway agents"

    def on_lines_moved(self, event: Lines.Moved) -> None:
        """Another row, another note below."""
        event.lines.touch()

    def run_command(self, text: str) -> None:
        """`pause QUEUE`, `limit QUEUE`, `drain AGENT`, beside what every screen knows."""
        name, _, word = text.partition(" ")
        tables = {"pause": self.queue_table, "limit": self.queue_table, "drain": self.agent_table}
        table = tables.get(name)
        if table is None or not word.strip():
            super().run_command(text)
            return
        lines = self.queue_lines if table is self.queue_table else self.agent_lines
        names = [line.name for line in lines]
        if word.strip() not in names:
            self.say(f"no {word.strip()!r}: {', '.join(names) or 'there is none'}", "warning")
            return
        self.set_focus(table)
        self._front = table
        table.move(names.index(word.strip()))
        self.console_app.do(BY_ID[name])

    # --- what the keys do

    def do_next_pane(self) -> None:
        """The other one."""
        self.set_focus(self.agent_table if self._front is self.queue_table else self.queue_table)

    def do_last_pane(self) -> None:
        """The other one."""
        self.do_next_pane()

    def do_zoom_pane(self) -> None:
        """One alone, or both."""
        self._alone = not self._alone
        self._arrange()

    def do_sort_rows(self) -> None:
        """The next order."""
        view, sorts = (
            (self.queues, queues.SORTS) if self.place == "queues" else (self.agents, agents.SORTS)
        )
        view.sort = sorts[(sorts.index(view.sort) + 1) % len(sorts)]
        self._touch()
        self.say(f"sorted by {view.sort}")

    def do_its_runs(self) -> None:
        """Their runs, in the list."""
        queue, agent = self.queue(), self.agent()
        if self.place == "queues" and queue is not None:
            self.run_command(f"runs queue:{queue.name}")
        elif self.place == "agents" and agent is not None:
            self.run_command(f"runs agent:{agent.name}")

    def on_lines_chosen(self) -> None:
        """A double click opens."""
        self.do_its_runs()

    def do_agent_log(self) -> None:
        """All that is known of the agent."""
        line = self.agent()
        if line is not None:
            facts = texts(cells.agent_facts(line, self._how))
            self.app.push_screen(Facts(safe(line.name, 64), facts))

    def do_copy_name(self) -> None:
        """The name under the cursor."""
        line = self.queue() if self.place == "queues" else self.agent()
        if line is not None:
            self.console_app.copy_text(line.name)

    def reread(self) -> None:
        """Everything anew."""
        if self.feed is not None:
            self.feed.ask()
