"""The saved state of a checkpoint: what changed, as a tree, or raw."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.segment import Segment
from textual.message import Message

from headway_tui.model.details import of_record
from headway_tui.model.states import StateRow, diff, parents, paths, tree, unfolded, value_at
from headway_tui.model.texts import safe
from headway_tui.pages import PageSheet
from headway_tui.widgets.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

VIEWS = ("diff", "tree", "raw", "payload", "result")
ROWS = 20_000
"""Rows of a state that are shown."""
_ROLES = {"+": "good", "-": "bad", "~": "warning", " ": "text"}


class StatePane(Finding):
    """Rows of one view; the screen says what there is."""

    place = "state"

    class Against(Message):
        """The diff is to be with this checkpoint; 0 = the one before."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    class Wanted(Message):
        """The state that was not fetched, as it is large, is wanted."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.view = "diff"
        self.rows: list[StateRow] = []
        self.bodies: dict[str, Any] = {}
        """`old`, `new`, `payload`, `result`: values; one that is absent is not there."""
        self.raw = b""
        self.empty = ""
        self.folded: set[tuple[str, ...]] = set()
        """Keys of the rows that are folded, whatever checkpoint is shown."""
        self._seen: list[int] = []
        self._open: list[bool] = []
        """For each row: there is something below it."""

    def count(self) -> int:
        """Rows of the view that are not folded away."""
        return len(self._seen)

    def show(self, bodies: dict[str, Any], raw: bytes, empty: str = "") -> None:
        """Other values; `empty` is said where the view has none."""
        self.bodies, self.raw, self.empty = bodies, raw, empty
        self.rows = self._made()
        if (more := len(self.rows) - ROWS) > 0:
            self.rows[ROWS:] = [StateRow(" ", 0, "", f"{more:,} more rows: | pipes all of it")]
        self._open = parents(self.rows)
        self._seen = unfolded(self.rows, self.folded)
        self.cursor = 0
        self.touch()

    def _made(self) -> list[StateRow]:
        have = self.bodies
        if self.view in {"payload", "result"}:
            return tree(have[self.view]) if self.view in have else self._nothing(self.view)
        if "new" not in have:
            return self._nothing("state")
        if self.view == "raw":
            text = self.raw.decode("utf-8", "replace")
            return [StateRow(" ", 0, "", safe(text[i : i + 200])) for i in range(0, len(text), 200)]
        if self.view == "diff" and "old" in have:
            return diff(have["old"], have["new"])
        return tree(have["new"])

    def _nothing(self, what: str) -> list[StateRow]:
        return [StateRow(" ", 0, "", self.empty or f"no {what}")]

    def do_next_view(self) -> None:
        """The next view."""
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self.show(self.bodies, self.raw, self.empty)
        self.post_message(self.Moved(self))

    def do_diff_with(self, argument: str) -> None:
        """The diff against any checkpoint: its number follows in the command line."""
        app = self._app()
        number = argument.removeprefix("◆").removeprefix("#")
        if not argument:
            app.pane_screen.ask_command("diff ")
        elif number.isdigit():
            self.view = "diff"
            self.post_message(self.Against(int(number)))
        else:
            app.pane_screen.say(f"no number of a checkpoint: {argument!r}; 0 = the one before",
                                "warning")  # fmt: skip

    # --- rows

    def row(self, index: int, width: int) -> list[Segment]:
        """One row."""
        at = self._seen[index]
        item, hit = self.rows[at], self.is_hit(self._plain(at))
        key = f"{'  ' * item.depth}{item.key}"
        role = _ROLES[item.sign]
        value = self.worded(item.value)
        if not item.key:
            pieces = [(f" {item.sign} {value}", role)]
        else:
            pad = " " * max(1, 14 - len(key))
            sign = item.sign
            if self._open[at]:
                shut = index + 1 == len(self._seen) or self._seen[index + 1] > at + 1
                sign = self.sign("closed") if shut else item.sign
            pieces = [(f" {sign} ", role), (key + pad, "muted" if item.sign == " " else role),
                      (value, role)]  # fmt: skip
        if hit:
            return [Segment(text, self.palette.hit) for text, _ in pieces]
        return [self.text(text, name) for text, name in pieces]

    def _plain(self, at: int) -> str:
        r = self.rows[at]
        return f"{r.sign} {'  ' * r.depth}{r.key} {r.value}"

    def plain(self) -> Sequence[str]:
        """The rows as text."""
        return [self._plain(at) for at in self._seen]

    # --- what the keys do

    def do_fold_value(self) -> None:
        """Fold or unfold; of a row with nothing below it a page with its whole value."""
        if not self._seen:
            return
        if self.view in VIEWS[:3] and "new" not in self.bodies:
            self.post_message(self.Wanted())
            return
        at = self._seen[self.cursor]
        path = paths(self.rows)[at]
        if self._open[at]:
            self.folded.symmetric_difference_update({path})
            self._seen = unfolded(self.rows, self.folded)
            self.touch()
            self.move(self.cursor)
        else:
            self._whole(path, self.rows[at].sign)

    def _whole(self, path: tuple[str, ...], sign: str) -> None:
        source = "old" if sign == "-" else "new"
        source = self.view if self.view in {"payload", "result"} else source
        try:
            value = value_at(self.bodies[source], path)
        except KeyError:
            return
        title = ".".join(k for k in path if k) or source
        self._app().push_screen(PageSheet(safe(title, 80), of_record(value)))

    def search(self, text: str) -> bool:
        """As it is; what is folded away is unfolded, so that it is found."""
        if text and self.folded:
            self.folded.clear()
            self._seen = unfolded(self.rows, self.folded)
        return super().search(text)

    def has(self, text: str) -> bool:
        """Is it in the state, whatever the view shows of it?"""
        return self.is_hit(self.raw.decode("utf-8", "replace"))

    def do_pipe_pane(self, argument: str) -> None:
        """The state, payload or result as JSON, into a command of the shell."""
        body = self.raw
        if self.view in {"payload", "result"}:
            have = self.bodies.get(self.view)
            body = b"" if have is None else json.dumps(have, ensure_ascii=False).encode()
        screen = self._app().pane_screen
        if body:
            screen.pipe_through(argument, body, "pipe")
        else:
            screen.say(f"no {'state' if self.view in VIEWS[:3] else self.view} to pipe", "warning")
