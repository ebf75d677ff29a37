"""The saved state of a checkpoint: what changed, as a tree, or raw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.message import Message

from headway_tui.model.states import StateRow, diff, tree
from headway_tui.model.texts import safe
from headway_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.segment import Segment

VIEWS = ("diff", "tree", "raw", "payload", "result")
_ROLES = {"+": "good", "-": "bad", "~": "warning", " ": "text"}


class StatePane(Lines):
    """Rows of one view; the screen says what there is."""

    place = "state"

    class Against(Message):
        """The diff is to be with this checkpoint; 0 = the one before."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.view = "diff"
        self.rows: list[StateRow] = []
        self.bodies: dict[str, Any] = {}
        """`old`, `new`, `payload`, `result`: values; one that is absent is not there."""
        self.raw = b""
        self.empty = ""

    def count(self) -> int:
        """Rows of the view."""
        return len(self.rows)

    def show(self, bodies: dict[str, Any], raw: bytes, empty: str = "") -> None:
        """Other values; `empty` is said where the view has none."""
        self.bodies, self.raw, self.empty = bodies, raw, empty
        self.rows = self._made()
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

    def row(self, index: int, width: int) -> list[Segment]:
        """One row."""
        item = self.rows[index]
        key = f"{'  ' * item.depth}{item.key}"
        role = _ROLES[item.sign]
        if not item.key:
            return [self.text(f" {item.sign} {item.value}", role)]
        pad = " " * max(1, 14 - len(key))
        return [
            self.text(f" {item.sign} ", role),
            self.text(key + pad, "muted" if item.sign == " " else role),
            self.text(self._ascii(item.value), role),
        ]

    def _ascii(self, text: str) -> str:
        return text.replace("→", self.sign("to"))

    def plain(self) -> Sequence[str]:
        """The rows as text."""
        return [f"{r.sign} {'  ' * r.depth}{r.key} {r.value}" for r in self.rows]
