"""The command line of every screen: names, completion, aliases, `!` for a shell's command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.safe import safe_line
from headway.wire import encode
from headway_tui.actions import for_places, named, shown_keys
from headway_tui.aliases import commands
from headway_tui.piping import pipe
from headway_tui.query import Hint
from headway_tui.screens.frame import Frame
from headway_tui.sheets import Facts
from headway_tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from textual.widget import Widget
    from textual.widgets import Input

SHOWN = 500
"""Lines that a command said which are shown."""


class Commanding(Frame):
    """Types, completes and carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.command = Prompt(
            self._command_hints, history=self._typed, placeholder="a command; tab completes",
            id="command",
        )  # fmt: skip
        self._before: Widget | None = None

    def ask_command(self, text: str = "") -> None:
        """Type a command."""
        self._before = self.focused
        self.toast.display = self.keys_line.display = False
        self.command.open(text)

    def _close_command(self) -> None:
        self.command.close()
        self.toast.display = self.keys_line.display = True
        if self._before is not None:
            self.set_focus(self._before)

    def _typed(self) -> list[str]:
        return self.console_app.memory.history

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the command line."""
        if event.input is self.command:
            event.stop()
            text = event.value.strip()
            self._close_command()
            if text:
                self.run_command(text)
        # The handlers of all kinds of a screen have been asked by now: this one is the last.
        self.console_app.give_back()

    def on_prompt_left(self, event: Prompt.Left) -> None:
        """Escape in the command line: it is closed, and nothing else."""
        if event.prompt is self.command:
            event.stop()
            self._close_command()
        self.console_app.give_back()

    def _command_hints(self, text: str) -> list[Hint]:
        app = self.console_app
        name, space, begun = text.partition(" ")
        if not space:
            have = [a for a in for_places(app.places(), app.actions) if a.name.startswith(name)]
            own = [Hint(f"{n} ", n) for n in sorted(app.options.aliases) if n.startswith(name)]
            return [Hint(f"{a.name} " if a.takes else a.name, a.name) for a in have] + own
        action = named(name, app.places(), app.actions)
        if action is None:
            return []
        for who in (self._before, self, app):
            complete = getattr(who, f"complete_{action.id}", None)
            if complete is not None:
                found: list[Hint] = complete(begun)
                return [h._replace(text=f"{name} {h.text}") for h in found]
        return []

    def run_command(self, text: str) -> None:
        """`name` or `name argument`, `!command`, or an alias of some of these."""
        app = self.console_app
        app.memory.typed(text)
        name, _, rest = text.partition(" ")
        if name in app.options.aliases:
            for line in commands(app.options.aliases, name, rest.strip()):
                app.pane_screen.carry_out(line)
        else:
            self.carry_out(text)

    def carry_out(self, text: str) -> None:
        """One command that is no alias."""
        app = self.console_app
        name, _, rest = text.partition(" ")
        if text.startswith("!"):
            name, rest = "!", text[1:]
        have = for_places(app.places(), app.actions)
        action = named(name, app.places(), app.actions)
        if rest.strip() and action is not None and not action.takes:
            # `:replay SCRIPT` means `replays`, which takes one, not `replay`, which does not.
            longer = [a for a in have if a.takes and a.name.startswith(name)]
            action = longer[0] if len(longer) == 1 else action
        if action is None:
            self.say(f"no command {name!r} here: ? lists them", "warning")
        elif rest.strip() and not action.takes:
            keys = shown_keys(action)
            self.say(
                f":{name} takes nothing" + (f" (its key is {keys})" if keys else ""), "warning"
            )
        else:
            app.do(action, rest.strip())

    def do_pipe(self, argument: str) -> None:
        """The chosen runs as JSON lines into a command; what it says is shown."""
        self.pipe_through(argument, self.chosen_lines(), "!")

    def pipe_through(self, command: str, given: bytes, name: str) -> None:
        """These bytes into a command; without one it is asked for, after the `:` name."""
        if not self.console_app.options.shell:
            self.say("not done: this console is in a browser; commands run at home", "warning")
        elif command.strip():
            work = self._pipe(command.strip(), given)
            self.run_worker(work, group="pipe", exclusive=True, exit_on_error=True)
        elif name == "!":
            self.say("which command? `:!jq .task` gets the runs as JSON lines", "warning")
        else:
            self.ask_command(f"{name} ")

    async def _pipe(self, command: str, given: bytes) -> None:
        self.say(f"running: {safe_line(command, 200)}")
        try:
            said = await pipe(command, given)
        except OSError as e:
            self.say(f"not run: {e}", "bad")
            return
        lines = [(safe_line(line, 1000), "text") for line in said.text.splitlines()[:SHOWN]]
        code = "was ended after a minute" if said.code is None else f"ended with {said.code}"
        cut = "; this is the beginning" if said.cut or len(said.text.splitlines()) > SHOWN else ""
        lines.append((f"({code}{cut})", "muted" if said.code == 0 else "warning"))
        self.say(f"{len(lines) - 1} lines")
        self.app.push_screen(Facts(f"!{safe_line(command, 60)}", lines))

    def chosen_lines(self) -> bytes:
        """The runs that a command means, as JSON lines."""
        row = self.chosen_row()
        return encode(row) + b"\n" if row is not None else b""
