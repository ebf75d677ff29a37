"""Waterfall: a run's timeline as a tree of bars on one scale; only rows on screen are laid out."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway.texts import span
from headway_tui.model import views
from headway_tui.model.details import of_row
from headway_tui.model.scale import Scale, scale_of, straight
from headway_tui.model.texts import fit, right
from headway_tui.model.timeline import Node, Shown, Timeline, flat, shown, walk
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.segment import Segment

VIEWS = ("tree", "attempts", "flat", "critical path")
_FILL = {"wait": "wait", "queued": "wait", "backoff": "backoff"}
_ROLE = {"wait": "wait", "queued": "muted", "backoff": "muted", "step": "info", "once": "mark",
         "checkpoint": "mark", "group": "info", "attempt": "info", "note": "muted",
         "span": "info"}  # fmt: skip


class Waterfall(Lines):
    """Label, bar, duration. The first line is the axis."""

    place = "timeline"

    def __init__(
        self,
        timeline: Timeline,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.timeline, self._now = timeline, now
        self.closed: set[str] = set()
        self.opened: set[str] = set()
        self.view = "tree"
        self.fold_idle = True
        self.zoom = 1.0
        self._rows: list[Shown] = []
        self._bad: list[int] = []
        self._scale: Scale | None = None
        self._attempts: dict[str, Node] = {}
        """In the view of attempts: by the key of a row its attempt, from which it is drawn."""
        self.live = True
        """The run goes on: open bars grow."""

    # --- rows

    def count(self) -> int:
        """Rows, as of the last layout."""
        return len(self._rows)

    def settle(self) -> None:
        """Lay out what changed."""
        self.lay_out()
        super().settle()

    def lay_out(self) -> None:
        """Rows and scale, from the timeline and the folds."""
        nodes = self.timeline.nodes
        now = self._now()
        if self.view == "flat":
            self._rows = flat(nodes)
        elif self.view == "attempts":
            self._rows = views.by_attempt(nodes, self.closed, self.opened)
        elif self.view == "critical path":
            self._rows = views.critical(nodes, now)
        else:
            self._rows = shown(nodes, self.closed, self.opened)
        self._bad = [i for i, r in enumerate(self._rows) if r.node.bad]
        self._attempts = views.attempt_of(nodes) if self.view == "attempts" else {}
        if self._attempts:
            begin = min(n.start for n in self._attempts.values())
            whole = views.longest(nodes, now) / self.zoom
            self._scale = straight(begin, whole, self.bar_width())
            return
        at = self.chosen()
        centre = 0.5
        if at is not None and nodes:
            end = max((n.end or now) for n in nodes)
            total = (end - nodes[0].start).total_seconds()
            centre = (at.start - nodes[0].start).total_seconds() / total if total > 0 else 0.5
        self._scale = scale_of(
            nodes, now, self.bar_width(), fold=self.fold_idle, zoom=self.zoom, centre=centre
        )

    def failed(self, first: int, after: int) -> bool:
        """Is a failure among these rows?"""
        at = bisect_left(self._bad, first)
        return at < len(self._bad) and self._bad[at] < after

    def chosen(self) -> Node | None:
        """The row under the cursor."""
        return self._rows[self.cursor].node if 0 <= self.cursor < len(self._rows) else None

    def label_width(self) -> int:
        """Cells of the labels."""
        return 34 if self.room >= 98 else 24

    def bar_width(self) -> int:
        """Cells of the bars."""
        return max(4, self.room - self.label_width() - 9)

    def axis(self) -> str:
        """The axis, to stand above the rows."""
        line = self._scale.axis() if self._scale is not None else ""
        return " " * (self.label_width() + 1) + line

    def row(self, index: int, width: int) -> list[Segment]:
        """One row."""
        if index >= len(self._rows):
            return []
        item = self._rows[index]
        node = item.node
        labels = self.label_width()
        sign = self.sign(item.fold) if item.fold else " "
        head = f" {'  ' * item.depth}{sign} {self._words(node.label)}"
        role = "bad" if node.bad else "text" if item.depth == 0 else "muted"
        if node.kind in {"checkpoint", "once"}:
            role = "mark"
        note = self._words(node.note)
        room = labels - len(head) - 1
        if note and room > 3:
            head = fit(head, max(len(head), labels - len(note) - 1)) + " " + note
        segments = [self.text(fit(head, labels, self.sign("cut")) + " ", role)]
        end = node.end or max(self._now(), node.start)
        segments += self._bar(node, end)
        took = (end - node.start).total_seconds()
        point = node.kind in {"checkpoint", "note"}
        segments.append(self.text(right("" if point else span(took), 8), "muted"))
        return segments

    def _words(self, text: str) -> str:
        if self.sign("rule") == "-":
            for name in ("checkpoint", "once", "error", "to"):
                text = text.replace("◆◈✗→"[("checkpoint", "once", "error", "to").index(name)],
                                    self.sign(name))  # fmt: skip
            text = text.replace("✓", "+").replace("⚑", "?")
        return text

    def _bar(self, node: Node, end: datetime) -> list[Segment]:
        width, scale = self.bar_width(), self._scale
        if scale is not None and scale.width != width:
            # Painted before the clock came by: the size is another one since the last layout.
            self.lay_out()
            scale = self._scale
        if scale is None:
            return [self.text(" " * width)]
        if (attempt := self._attempts.get(node.key)) is not None:
            scale = scale.moved(attempt.start)
        first, last = scale.cell(node.start), scale.cell(end)
        role = _ROLE.get(node.kind, "info")
        cells: list[tuple[str, str]] = [(" ", "text")] * width
        if node.kind == "checkpoint":
            cells[first] = (self.sign("checkpoint"), "mark")
        elif node.kind == "note":
            cells[first] = ("!", "warning")
        else:
            fill = self.sign(_FILL.get(node.kind, "bar"))
            for i in range(first, last + 1):
                cells[i] = (fill, role)
            if node.kind == "group":
                for child in node.children:
                    self._put(cells, scale, child)
            for kind, at in node.marks:
                cells[scale.cell(at)] = (self.sign(kind), "mark")
            if node.bad and node.kind != "group":
                if last > first:
                    cells[last - 1] = (self.sign("failed"), "bad")
                cells[last] = (self.sign("error"), "bad")
        for left, count, _ in scale.folds():
            for i in range(max(left, first), min(left + count, last + 1)):
                cells[i] = (self.sign("idle"), "muted")
        segments: list[Segment] = []
        run, style = "", ""
        for sign, name in cells:
            if name != style and run:
                segments.append(self.text(run, style))
                run = ""
            run, style = run + sign, name
        return [*segments, self.text(run, style)]

    def _put(self, cells: list[tuple[str, str]], scale: Scale, node: Node) -> None:
        end = node.end or max(self._now(), node.start)
        fill, role = self.sign(_FILL.get(node.kind, "bar")), _ROLE.get(node.kind, "info")
        for i in range(scale.cell(node.start), scale.cell(end) + 1):
            cells[i] = (fill, role)
        if node.bad:
            cells[scale.cell(end)] = (self.sign("error"), "bad")

    # --- what the keys do

    def do_details(self) -> None:
        """A page with all that is known of the row."""
        node = self.chosen()
        if node is None:
            return
        from headway_tui.pages import PageSheet

        begin = self.timeline.nodes[0].start
        event, made = self.timeline.behind(node)
        said = [self._words(line) for line in of_row(node, begin, self._now(), event, made)]
        self._app().push_screen(PageSheet(self._words(node.label), said))

    def do_fold(self) -> None:
        """Fold or unfold the row, or the one that it belongs to."""
        node = self.chosen()
        if node is None:
            return
        if not node.children:
            for index in range(self.cursor, -1, -1):
                if (
                    self._rows[index].fold
                    and self._rows[index].depth < self._rows[self.cursor].depth
                ):
                    self.move(index)
                    node = self._rows[index].node
                    break
            else:
                return
        which = self.opened if node.folded else self.closed
        which.symmetric_difference_update({node.key})
        self.relaid()

    def do_fold_all(self) -> None:
        """Fold all."""
        self.closed = {n.key for n in walk(self.timeline.nodes) if n.children}
        self.opened.clear()
        self.relaid()

    def do_unfold_all(self) -> None:
        """Unfold all."""
        self.closed.clear()
        self.opened = {n.key for n in walk(self.timeline.nodes) if n.folded}
        self.relaid()

    def do_zoom_in(self) -> None:
        """Half the time, around the cursor's row."""
        self.zoom = min(1e6, self.zoom * 2)
        self.relaid()

    def do_zoom_out(self) -> None:
        """Double the time."""
        self.zoom = max(1.0, self.zoom / 2)
        self.relaid()

    def do_zoom_fit(self) -> None:
        """All of the time."""
        self.zoom = 1.0
        self.relaid()

    def do_idle(self) -> None:
        """Idle stretches folded or not."""
        self.fold_idle = not self.fold_idle
        self.relaid()

    def do_next_view(self) -> None:
        """Tree, attempts from their own zeros, flat by start, critical path; at the same row."""
        at = self.chosen()
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self.lay_out()
        if at is not None:
            keys = [r.node.key for r in self._rows]
            self.cursor = keys.index(at.key) if at.key in keys else 0
        self.relaid()

    def do_from_start(self) -> None:
        """The first row, and at this zoom the beginning of the time."""
        self.move(0)
        self.relaid()

    def relaid(self) -> None:
        """Lay out and paint at once: somebody pressed a key."""
        self.settle()
        self.refresh()
        self.post_message(self.Moved(self))

    def do_next_hit(self) -> None:
        """The next failure."""
        self._failure(range(self.cursor + 1, len(self._rows)))

    def do_last_hit(self) -> None:
        """The failure before."""
        self._failure(range(self.cursor - 1, -1, -1))

    def _failure(self, indexes: range) -> None:
        for index in indexes:
            if self._rows[index].node.bad:
                self.move(index)
                return

    def checkpoint_at(self) -> int:
        """Number of the checkpoint at or before the cursor's row; 0 = none."""
        node = self.chosen()
        if node is None:
            return 0
        if node.number and node.kind == "checkpoint":
            return node.number
        best = 0
        end = node.end or self._now()
        for item in flat(self.timeline.nodes):
            if item.node.kind == "checkpoint" and item.node.start <= end:
                best = item.node.number
        return best

    def to_checkpoint(self, number: int) -> None:
        """The cursor to a checkpoint's row, if it is shown."""
        for index, item in enumerate(self._rows):
            if item.node.kind == "checkpoint" and item.node.number == number:
                self.move(index)
                return
