"""What stands around the panes of a run's screen: its facts, titles, the error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical

from headway.budgets import told
from headway.errors import HeadwayError
from headway.looks import look
from headway.wire.runs import RunsPage, RunsQuery
from headway_tui.chrome import Note
from headway_tui.model.runlist import took
from headway_tui.model.states import counted
from headway_tui.model.texts import fit, safe
from headway_tui.query import same_error
from headway_tui.screens.run_panes import RunPanes

if TYPE_CHECKING:
    from headway_tui.feeds import RunFeed


class RunWords(RunPanes):
    """Lines of words about the run and about what its panes show."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.facts = Note(self._facts, id="facts")
        self.axis = Note(lambda _: [(self.waterfall.axis(), "muted")], id="axis")
        self.error_line = Note(self._error)
        self.timeline_box = Vertical(self.axis, self.waterfall, id="timeline-box", classes="pane")
        self.logs_box = Vertical(self.logs, id="logs-box", classes="pane")
        self.state_box = Vertical(self.state, id="state-box", classes="pane")
        self.feed: RunFeed | None = None
        self._same = ""
        """How many runs have the same error, in words."""
        self._same_of = ""
        self._counted = self._count_at = 0

    def _titles(self) -> None:
        store, logs = self.logs.store, self.logs
        down = logs.sign("down")
        follow = f"{down} follow" if logs.following else "held: G follows"
        # A title paints its whole box: while lines pour in, their count is told 4 times a second.
        if store.received != self._counted and self._ticks >= self._count_at:
            self._counted, self._count_at = store.received, self._ticks + 4
        more = "+" if store.older or store.newer else ""
        title = f"logs {follow}  {self._counted:,}{more} line{'' if self._counted == 1 else 's'}"
        title += f"  {words}" if (words := logs.sifted()) else ""
        title += "  wrapped" if logs.wrap else ""
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
        if point and self._against and self.state.view == "diff":
            name = f"{logs.sign('checkpoint')}{self._against} {logs.sign('to')} {name}"
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
            facts.append(took(row, self.now()))
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


def _retitle(box: Vertical, title: str, subtitle: str) -> None:
    # Setting a title paints: only where it is another one.
    if str(box.border_title or "") != title:
        box.border_title = title
    if str(box.border_subtitle or "") != subtitle:
        box.border_subtitle = subtitle
