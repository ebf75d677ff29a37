"""Prompt: a line to type in, with hints that tab takes, a history, and flaws underlined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rich.highlighter import Highlighter
from rich.segment import Segment
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from headway_tui.chrome import Bar
from headway_tui.model.texts import fit, safe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.text import Text
    from textual import events

    from headway_tui.query import Flaw, Hint


class _Underline(Highlighter):
    """The bad part of a text."""

    def __init__(self, flaw: Callable[[str], Flaw | None], style: Callable[[], Any]) -> None:
        self._flaw, self._style = flaw, style

    def highlight(self, text: Text) -> None:
        found = self._flaw(text.plain)
        if found is not None:
            text.stylize(self._style(), found.start, found.end)


class Prompt(Input):
    """`escape` leaves it and goes no further: nobody else takes that key for his own."""

    class Left(Message):
        """Left without an answer."""

        def __init__(self, prompt: Prompt) -> None:
            super().__init__()
            self.prompt = prompt

    def __init__(
        self,
        hinted: Callable[[str], Sequence[Hint]],
        *,
        flawed: Callable[[str], Flaw | None] = lambda _: None,
        history: Callable[[], Sequence[str]] = list,
        lead: str = ":",
        placeholder: str = "",
        id: str | None = None,
    ) -> None:
        """`lead`: the sign before it.

        `hinted` and `flawed` are asked for the text at every change: they answer at once.
        """
        super().__init__(
            placeholder=placeholder, id=id, highlighter=_Underline(flawed, self._flaw_style)
        )
        self.cursor_blink = False  # nothing blinks
        self._hinted, self._flawed, self._history = hinted, flawed, history
        self.hints: Sequence[Hint] = ()
        self.flaw: Flaw | None = None
        self.chosen = 0
        self._back = 0
        self._typed = ""
        self.hint_bar = Hints(self)
        self.line = Horizontal(Label(f" {lead} ", markup=False), self, classes="prompt")
        """What a screen shows: the sign and the prompt."""
        self.line.display = False

    def _flaw_style(self) -> Any:
        return cast("Any", self).app.palette.flaw

    def open(self, text: str) -> None:
        """Show it with this text, to be typed on."""
        self.line.display = self.hint_bar.display = True
        self.value, self._back = text, 0
        self.cursor_position = len(text)
        # After a space goes what is typed; anything else is typed over, or on after a move.
        self.select_on_focus = not text.endswith(" ")
        self.refresh_hints()
        # At once, not as `focus()` does: what is typed next belongs here.
        self.screen.set_focus(self)

    def close(self) -> None:
        """Take it away."""
        self.line.display = self.hint_bar.display = False

    def refresh_hints(self) -> None:
        """What is known of the text may be more now."""
        self.flaw = self._flawed(self.value)
        self.hints = self._hinted(self.value)
        self.chosen = min(self.chosen, max(0, len(self.hints) - 1))
        self.hint_bar.refresh()

    def watch_value(self, value: str) -> None:
        """Another text, other hints."""
        self.chosen = 0
        self.refresh_hints()

    async def _on_key(self, event: events.Key) -> None:
        match event.key:
            case "escape":
                self.post_message(self.Left(self))
            case "tab":
                if self.hints:
                    self._put(self.hints[self.chosen].text)
            case "ctrl+n" | "shift+tab" | "ctrl+p":
                step = 1 if event.key == "ctrl+n" else -1
                self.chosen = (self.chosen + step) % max(1, len(self.hints))
                self.hint_bar.refresh()
            case "up" | "down":
                self._recall(1 if event.key == "up" else -1)
            case _:
                await super()._on_key(event)
                return
        event.stop()
        event.prevent_default()

    def _recall(self, step: int) -> None:
        history = self._history()
        if not self._back:
            self._typed = self.value
        self._back = max(0, min(len(history), self._back + step))
        self._put(history[-self._back] if self._back else self._typed)

    def _put(self, text: str) -> None:
        self.value = text
        self.cursor_position = len(text)
        # After a space goes what is typed; anything else is typed over, or on after a move.
        self.select_on_focus = not text.endswith(" ")
        self.refresh_hints()


class Hints(Bar):
    """How the text of a prompt may go on, or what is wrong with it."""

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self._prompt = prompt
        self.display = False

    def pieces(self, width: int) -> list[Segment]:
        """Hints with their counts, the chosen one marked; the flaw where there are none."""
        prompt, palette = self._prompt, self.console_app.palette
        cut = self.sign("cut")
        flaw = prompt.flaw
        done = flaw is not None and (not prompt.hints or len(prompt.value) > flaw.end)
        if flaw is not None and done:
            return [self.text(fit(f" {safe(flaw.words, 500)}", width, cut), "bad")]
        out: list[Segment] = [self.text(" tab ", "muted")] if prompt.hints else []
        room = width - 5
        for at, hint in enumerate(prompt.hints):
            count = "" if hint.runs is None else f" {hint.runs:,}"
            label = safe(hint.label, 60)
            room -= len(label) + len(count) + 2
            if room < 0:
                break
            style = palette.chosen if at == prompt.chosen else palette["accent"]
            out += [Segment(label, style), self.text(f"{count}  ", "muted")]
        return out
