"""What stands around the panes of a run: its facts, titles, the error; two panes of words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.containers import Vertical

from headway.budgets import told
from headway.looks import in_ascii, look
from headway.texts import plural, took
from headway.texts import tries as tries_of
from headway_tui.chrome import Note
from headway_tui.model.about import about, alike, forks
from headway_tui.model.loglines import none_yet
from headway_tui.model.states import counted
from headway_tui.model.texts import fit, safe
from headway_tui.model.timeline import ENDS
from headway_tui.model.tries import marks_of, once_line, retries, tries, try_head, try_page, try_row
from headway_tui.screens.run_panes import RunPanes
from headway_tui.widgets.axis import Axis
from headway_tui.widgets.told import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway_tui.feeds import RunFeed
    from headway_tui.logfeed import LogFeed
    from headway_tui.model.tries import Once, Try
    from headway_tui.widgets.told import ToldRow

NAMES = 12
"""Cells of the names of facts."""


class RunWords(RunPanes):
    """Lines of words about the run and about what its panes show."""

    lines: LogFeed
    """Reads what the output holds."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.facts = Note(self._facts, id="facts")
        self.axis = Axis(self.waterfall, id="axis")
        self.error_line = Note(self._error)
        self.retry_line = Note(lambda _: [(self._plain(f" {self._retries()}"), "muted")])
        self.once_line = Note(self._newest_mark)
        self.attempts = Told("attempts", self._try_rows, self._try_page, id="attempts")
        self.info = Told("info", self._info_rows, self._info_page, id="info")
        self.timeline_box = Vertical(self.axis, self.waterfall, id="timeline-box", classes="pane")
        self.logs_box = Vertical(self.logs, id="logs-box", classes="pane")
        self.state_box = Vertical(
            self.state, self.retry_line, self.once_line, id="state-box", classes="pane"
        )
        self.attempts_box = Vertical(self.attempts, id="attempts-box", classes="pane")
        self.info_box = Vertical(self.info, id="info-box", classes="pane")
        self.feed: RunFeed | None = None
        self._tries: list[Try] = []
        self._counted = self._count_at = 0

    def _plain(self, text: str) -> str:
        return in_ascii(text) if self.console_app.ascii_only else text

    # --- titles

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
        _retitle(self.logs_box, title, "/ search  Z full" if self.small else "/ search  f follow")
        idle = "" if self.waterfall.fold_idle else "  idle shown"
        zoom = f"  x{self.waterfall.zoom:g}" if self.waterfall.zoom > 1 else ""
        zoom = "  zoomed: = fits" if self.waterfall.dragged else zoom
        keys = "z fold  +/- zoom  n/N fail" if self.small else (
            "v view  z fold  +/- zoom  = fit  i idle  n/N next fail")  # fmt: skip
        spans = self.timeline.spans
        lost = f"  {spans.missing:,} spans missing" if spans.missing else ""
        lost += f"  {spans.beyond:,} more spans" if spans.beyond else ""
        _retitle(self.timeline_box, f"timeline {self.waterfall.view}{idle}{zoom}{lost}", keys)
        self._say_why_no_lines()
        self._state_title()
        _retitle(self.attempts_box, f"attempts  {len(self._tries)}", "enter all of it")
        _retitle(self.info_box, "info", "enter all of it")

    def _say_why_no_lines(self) -> None:
        if not self.logs.store.received and (self.lines.read or self.lines.trouble):
            ends = [e.data.get("lines") for e in self.timeline.events.values() if e.kind in ENDS]
            written = sum(n for n in ends if isinstance(n, int))
            words = safe(self.lines.trouble, 300) or none_yet(self.detail, written)
            if words != self.logs.empty:
                self.logs.empty = words
                self.logs.touch()

    def _state_title(self) -> None:
        logs, point = self.logs, self._states.get(self.number)
        name = f"{logs.sign('checkpoint')}{self.number} {safe(point.row.name, 40)}" if point else ""
        if point and self._against and self.state.view == "diff":
            name = f"{logs.sign('checkpoint')}{self._against} {logs.sign('to')} {name}"
        signs = counted(self.state.rows) if self.state.view == "diff" and point else ""
        found = f"  /{safe(self.state.wanted, 20)}" if self.state.wanted else ""
        _retitle(
            self.state_box, f"{self.state.view} {name}  {signs}{found}".strip(), "v view  [ ] ckpt"
        )

    # --- the facts

    def _facts(self, width: int) -> list[tuple[str, str]]:
        detail = self.detail
        right = self._at_the_right()
        if detail is None:
            trouble = self.feed.trouble if self.feed else ""
            left = [(f" {safe(self.run_id, 26)}  ", "text"),
                    (safe(trouble or "asking", 200), "muted")]  # fmt: skip
        else:
            row = detail.row
            shape = look(row.status)
            glyph = shape.ascii if self.console_app.ascii_only else shape.glyph
            dead = f"{self.waterfall.sign('dead')} " if row.failure and not row.acked else ""
            why = "" if row.ended_at else detail.why
            gap = " " if self.small else "  "
            left = [
                (f" {glyph} {shape.word} {dead}", shape.role),
                (f"{safe(row.run, 26)}{gap}", "text"), (f"{safe(row.task, 64)}{gap}", "accent"),
                (safe(gap.join(self._numbers()), 400), "muted"),
                (f"   {safe(why, 200)}" if why else "", "warning"),
            ]  # fmt: skip
        room = max(0, width - sum(cell_len(text) for text, _ in right))
        kept: list[tuple[str, str]] = []
        for text, role in left:
            if cell_len(text) > room:
                text = fit(text, room, self.logs.sign("cut"))
            room -= cell_len(text)
            kept.append((text, role))
        return [*kept, (" " * room, "text"), *right]

    def _numbers(self) -> list[str]:
        """How far it is, and where."""
        assert self.detail is not None
        row, budget = self.detail.row, self.detail.budget
        facts = [f"try {tries_of(row)}" if row.attempt else ""]
        if row.started_at is not None:
            facts.append(took(row, self.now()))
        if not self.small:
            facts += [f"queue {row.queue}" if row.queue else "",
                      f"agent {row.agent}" if row.agent else "", row.version,
                      f"${row.cost_usd:.2f}" if row.cost_usd >= 0.005 else "",
                      f"budget {told(budget)}" if budget is not None else "",
                      f"tags {' '.join(row.tags)}" if row.tags else "",
                      f"replays {row.origin}" if row.origin else ""]  # fmt: skip
        return [f for f in facts if f]

    def _at_the_right(self) -> list[tuple[str, str]]:
        """Trace and forks; on a small terminal what its header would say."""
        kin, signs = self.detail.kin if self.detail else None, self.waterfall
        words = forks(kin).split(" ")[0] if self.small else forks(kin)
        made = f"  {words} {signs.sign('fork')} " if words else ""
        if self.small:
            link = self.console_app.link
            store = link.store_ok()
            live, away = signs.sign("live"), signs.sign("away")
            if link.offline:
                return [(made, "accent")]
            return [
                (made[1:] or " ", "accent"),
                (f"NATS {live if link.connected else away} ", "good" if link.connected else "bad"),
                (f"{'JS' if link.edge() else 'PG'} {live if store else away} ",
                 "good" if store else "muted"),
            ]  # fmt: skip
        trace = self.detail.trace[:4] if self.detail else ""
        words = f"   trace {safe(trace, 4)}{signs.sign('cut')}" if trace else ""
        return [(words, "muted"), (made, "accent")]

    # --- retries and once marks

    def _retries(self) -> str:
        detail = self.detail
        return retries(detail.retry, detail.row, self.now()) if detail is not None else ""

    def _marks(self) -> list[Once]:
        return marks_of(self.detail.marks if self.detail else (), self.timeline.events.values())

    def _newest_mark(self, width: int) -> list[tuple[str, str]]:
        marks = self._marks()
        if not marks:
            return []
        more = f"  (+{len(marks) - 1} more: A)" if len(marks) > 1 else ""
        text = f" {once_line(marks[0], self.timeline.number_of(marks[0].epoch))}{more}"
        return [(self._plain(fit(text, width, self.logs.sign("cut"))), "mark")]

    # --- attempts and info

    def _try_rows(self, width: int) -> Sequence[ToldRow]:
        self._tries = tries(self.timeline)
        rows: list[ToldRow] = [[(try_head(width), "muted")]]
        rows += [try_row(one, self.now(), width) for one in self._tries]
        lines = [self._retries()] if self._retries() else []
        lines += [once_line(m, self.timeline.number_of(m.epoch)) for m in self._marks()]
        below: list[ToldRow] = [[(f" {line}", "muted")] for line in lines]
        return [*rows, *([[("", "text")]] if below else []), *below]

    def _try_page(self, index: int) -> tuple[str, Sequence[str]]:
        if 0 < index <= len(self._tries):
            one = self._tries[index - 1]
            return f"attempt {one.number or one.epoch}", try_page(one)
        return "attempts", [plural(len(self._tries), "attempt"), self._retries()]

    def _info(self) -> list[tuple[str, str]]:
        return about(self.detail, self.now()) if self.detail is not None else []

    def _info_rows(self, width: int) -> Sequence[ToldRow]:
        return [[(f" {name:<{NAMES}}", "muted"), (value, "text")] for name, value in self._info()]

    def _info_page(self, index: int) -> tuple[str, Sequence[str]]:
        name, value = self._info()[index]
        return name, [value[i : i + 90] for i in range(0, len(value), 90)]

    # --- the error

    def _error(self, width: int) -> list[tuple[str, str]]:
        error = self.detail.row.error if self.detail else None
        if error is None or self.detail is None:
            return []
        same = alike(self.detail.kin, self.now(), short=self.small)
        same = self._plain(f"  ·  {same} ") if same else ""
        words = safe(f" {error.type}: {error.message}", 500)
        room = max(20, width - cell_len(same))
        words = fit(words, room, self.logs.sign("cut")) if cell_len(words) > room else words
        return [(words, "bad"), (same, "muted")]


def _retitle(box: Vertical, title: str, subtitle: str) -> None:
    # Setting a title paints: only where it is another one.
    if str(box.border_title or "") != title:
        box.border_title = title
    if str(box.border_subtitle or "") != subtitle:
        box.border_subtitle = subtitle
