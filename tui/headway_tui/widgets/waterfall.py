"""Waterfall: a run's timeline as a tree of bars on one scale; only rows on screen are laid out."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from headway.texts import span
from headway_tui.model import views
from headway_tui.model.scale import Scale, scale_of, straight, zoomed
from headway_tui.model.texts import fit, right
from headway_tui.model.timeline import Node, Shown, Timeline, flat, shown, walk
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.segment import Segment

LEAST = 1e-6
"""Seconds: a shorter time is not zoomed to."""
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
        """Of the time around the cursor; 2 = half of it."""
        self.dragged: tuple[float, float] | None = None
        """The seconds that a drag on the axis has chosen, in place of the zoom."""
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
            whole = views.longest(nodes, now)
            self._scale = straight(begin, self._part(whole), self.bar_width(), whole)
            return
        self._scale = scale_of(nodes, now, self.bar_width(), fold=self.fold_idle, part=self._part)

    def _part(self, total: float) -> tuple[float, float]:
        """What is seen of so many seconds: what was dragged over, or the time around the cursor."""
        if self.dragged is not None:
            low, high = self.dragged
            high = min(high, total)
            return (low, high) if low < high else (0.0, total)
        at, nodes = self.chosen(), self.timeline.nodes
        if at is None or not nodes or not total:
            return zoomed(total, self.zoom, 0.5)
        begin = self._attempts[at.key].start if at.key in self._attempts else nodes[0].start
        return zoomed(total, self.zoom, (at.start - begin).total_seconds() / total)

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
        head = f" {'  ' * item.depth}{sign} {self.worded(node.label)}"
        role = "bad" if node.bad else "text" if item.depth == 0 else "muted"
        if node.kind in {"checkpoint", "once"}:
            role = "mark"
        note = self.worded(node.note)
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
        if away := scale.away(node.start, end):
            sign = "<".ljust(width) if away < 0 else ">".rjust(width)
            return [self.text(sign, "muted")]
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
        from headway_tui.model.details import of_row
        from headway_tui.pages import PageSheet

        begin = self.timeline.nodes[0].start
        event, made = self.timeline.behind(node)
        said = [self.worded(line) for line in of_row(node, begin, self._now(), event, made)]
        self._app().push_screen(PageSheet(self.worded(node.label), said))

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
        """Half the time, around the cursor's row; of what was dragged over, around its middle."""
        self._zoom_by(2.0)

    def do_zoom_out(self) -> None:
        """Double the time."""
        self._zoom_by(0.5)

    def _zoom_by(self, factor: float) -> None:
        if self.dragged is None:
            self.zoom = min(1e6, max(1.0, self.zoom * factor))
        else:
            low, high = self.dragged
            half, middle = (high - low) / factor / 2, (low + high) / 2
            whole = self._scale.whole if self._scale is not None else 0.0
            low, high = max(0.0, middle - half), middle + half
            self.dragged = (low, high) if low > 0 or high < whole else None
        self.relaid()

    def do_zoom_fit(self) -> None:
        """All of the time."""
        self.zoom, self.dragged = 1.0, None
        self.relaid()

    def zoom_to(self, first: int, after: int) -> None:
        """Only the time between two columns of the axis."""
        if self._scale is not None:
            edge = self.label_width() + 1
            low, high = self._scale.seconds(first - edge), self._scale.seconds(after - edge)
            if high - low >= LEAST:
                self.zoom, self.dragged = 1.0, (low, high)
                self.relaid()

    def go_to(self, column: int) -> None:
        """The cursor to the last row that began at this column of the axis, or before it."""
        if self._scale is None:
            return
        until = self._scale.begin + timedelta(
            seconds=self._scale.seconds(column - self.label_width())
        )
        best = max(
            (i for i, r in enumerate(self._rows) if r.node.start <= until),
            key=lambda i: self._rows[i].node.start,
            default=None,
        )
        if best is not None:
            self.move(best)

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
        if self.dragged is not None:
            low, high = self.dragged
            self.dragged = (0.0, high - low)
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
