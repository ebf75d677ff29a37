"""HeadwayApp: the console. It paints first, then imports nats and connects.

One clock paints what is dirty: 15 times a second. When the terminal cannot keep up, the clock is
halved until it can; data are never dropped for that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.reactive import var
from textual.widgets import Input

from headway_tui import clipboard, places
from headway_tui.actions import Action, for_places, shown_keys
from headway_tui.dialogs import Help, Sheet
from headway_tui.keys import Keymap, Pressed
from headway_tui.link import Link
from headway_tui.screens.base import Pane
from headway_tui.screens.runs import RunsScreen
from headway_tui.themes import ROLES, Palette, roles_of, theme

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.events import Event
    from textual.screen import Screen

    from headway.bundle import Bundle
    from headway.config import Settings

CLOCK = 1 / 15
LATE = 0.04
"""Seconds by which a tick may be late; three times in a row halves the clock."""
CALM = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """How the console is started."""

    settings: Settings
    ascii_only: bool = False
    readonly: bool = False
    theme: str = "headway-dark"
    filter: str = ""
    run: str = ""
    """Open this run at once."""
    bundle: Bundle | None = None
    """Show what this file holds; no server is asked."""


class HeadwayApp(App[None]):
    """Screens over one connection."""

    TITLE = "headway"
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    Screen { background: $background; color: $foreground; layers: base; }
    Input { border: none; height: 1; padding: 0; background: $background; }
    Input:focus { border: none; background: $panel; }
    .pane { border: round $muted; border-title-color: $foreground; border-title-style: bold;
        border-subtitle-color: $muted; }
    .pane:focus, .pane:focus-within { border: round $accent; }
    """
    BINDINGS: ClassVar = []
    paused: var[bool] = var(False)
    """Tests hold the clock."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.settings = options.settings
        self.ascii_only, self.readonly = options.ascii_only, options.readonly
        self.link = linked(options)
        self.keymap = Keymap()
        self.pending: Pressed | None = None
        self._chord: tuple[str, ...] = ()
        self.palette = Palette(ROLES["headway-dark"])
        self.behind = 0.0
        self._late = 0
        self._last_tick = 0.0
        self._halved_at = 0.0
        self._skip = False
        for name in ROLES:
            self.register_theme(theme(name))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What our styles use and Textual's themes lack."""
        return {"muted": ROLES["headway-dark"]["muted"]}

    def get_default_screen(self) -> Screen[Any]:
        """The list of runs: painted before anything is imported or asked."""
        return RunsScreen(self.options.filter)

    def on_mount(self) -> None:
        """Paint, then connect."""
        self.theme_changed_signal.subscribe(self, self._on_theme, immediate=True)
        self.theme = self.options.theme
        self._on_theme(self.current_theme)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.run_worker(self.link.run, name="link", exit_on_error=True)
        self._last_tick = time.monotonic()
        self.set_interval(CLOCK, self.tick)
        if self.options.run:
            self.pane_screen.open_run(self.options.run)

    def _on_theme(self, made: Any) -> None:
        self.palette = Palette(roles_of(made))

    @property
    def pane_screen(self) -> Pane:
        """The screen below any sheet."""
        return next(s for s in reversed(self.screen_stack) if isinstance(s, Pane))

    # --- the clock

    def tick(self) -> None:
        """Paint what is dirty; watch whether this terminal keeps up."""
        now = time.monotonic()
        late = now - self._last_tick - CLOCK
        self._last_tick = now
        self._late = self._late + 1 if late > LATE else 0
        if self._late >= 3:
            self._halved_at, self.behind = now, late
        elif now - self._halved_at > CALM:
            self.behind = 0.0
        self._skip = bool(self.behind) and not self._skip
        if not self.paused and not self._skip:
            self.paint()

    def paint(self) -> None:
        """Everything that changed and is seen, in one update."""
        with self.batch_update():
            self.pane_screen.paint()

    # --- keys

    def places(self) -> tuple[str, ...]:
        """Where the focus is: pane, screen, app."""
        pane = getattr(self.screen.focused, "place", "")
        return tuple(p for p in (pane, self.pane_screen.place, "app") if p)

    async def on_event(self, event: Event) -> None:
        """Keys are taken here, not where they would bubble to.

        Otherwise what is typed at once after `/` goes where the focus was when it was typed.
        """
        if isinstance(event, events.Key) and self._take(event):
            return
        await super().on_event(event)

    def _take(self, event: events.Key) -> bool:
        """Carry out a key; False if it is none of ours: a sheet, an input field, an unknown key."""
        if not isinstance(self.screen, Pane) or isinstance(self.screen.focused, Input):
            return False
        if event.key == "escape" and self._chord:
            self._drop()
            return True
        found = self.keymap.press(self._chord, _name(event), self.places())
        if found.then:
            self._chord, self.pending = tuple(found.chord.split(" ")), found
            self.pane_screen.paint_keys()
            return True
        known = found.action is not None or bool(self._chord)
        self._drop()
        if found.action is not None:
            self.do(found.action)
        return known

    def _drop(self) -> None:
        if self._chord:
            self._chord, self.pending = (), None
            self.pane_screen.paint_keys()

    def do(self, action: Action) -> None:
        """Carry it out: the focused pane, its screen, or the app knows how."""
        if action.writes and (self.readonly or not self.link.connected):
            why = "this console is read-only" if self.readonly else "there is no link to NATS"
            if self.link.offline:
                why = (
                    "this is an offline bundle; `headway fork --bundle FILE` makes a new run of it"
                )
            self.pane_screen.say(f"not done: {why}", "warning")
            return
        for who in (self.screen.focused, self.pane_screen, self):
            method = getattr(who, f"do_{action.id}", None)
            if method is not None:
                method()
                return

    def do_back(self) -> None:
        """Back; at the first screen: quit."""
        if self.pane_screen.leave():
            return
        if len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            self.exit()

    def do_replays(self) -> None:
        """The replay console, with the draft as it was left."""
        self.pane_screen.open_replay()

    def do_go_dead(self) -> None:
        """Dead letters and reviews."""
        from headway_tui.screens.dead import DeadScreen

        if isinstance(self.pane_screen, DeadScreen):
            return
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.push_screen(DeadScreen())

    def do_quit(self) -> None:
        """Quit."""
        self.exit()

    def do_go_runs(self) -> None:
        """The list of runs."""
        places.go(self)

    def do_go_queues(self) -> None:
        """Queues and agents."""
        places.go(self, "queues")

    def do_go_metrics(self) -> None:
        """The curves."""
        places.go(self, "metrics")

    def do_palette(self) -> None:
        """All commands."""
        self.action_command_palette()

    def do_command(self) -> None:
        """The command line."""
        self.pane_screen.ask_command()

    def do_help(self) -> None:
        """Help for where the focus is."""
        self.push_screen(Help(self.places()))

    def do_reconnect(self) -> None:
        """Read anew, and connect now if there is no link."""
        self.link.hurry()
        self.pane_screen.reread()

    def do_theme(self) -> None:
        """The next own theme."""
        names = list(ROLES)
        at = names.index(self.theme) if self.theme in names else -1
        self.set_theme(names[(at + 1) % len(names)])

    def set_theme(self, name: str) -> None:
        """A theme by its name."""
        if name not in self.available_themes:
            have = ", ".join(sorted(self.available_themes))
            self.pane_screen.say(f"no theme {name!r}: {have}", "warning")
            return
        self.theme = name
        self._on_theme(self.current_theme)
        for screen in self.screen_stack:
            screen.refresh(recompose=False)
        self.pane_screen.say(f"theme {name}")

    def copy_text(self, text: str) -> None:
        """Copy, and say how it went."""
        if not text:
            self.pane_screen.say("nothing to copy", "warning")
            return
        said = clipboard.copy(text, self.copy_to_clipboard)
        self.pane_screen.say(said.replace("→", "->") if self.ascii_only else said)

    def confirm(self, action: Action, runs: list[tuple[str, str]], then: Any) -> None:
        """Ask with a sheet; `then` is awaited if the answer is yes."""
        where = f"{self.settings.namespace} at {self.settings.shown_url}"

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(then, exit_on_error=False)
            else:
                self.pane_screen.say("left as it is")

        self.push_screen(Sheet(action, runs, where), answered)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every action of the table, and the themes."""
        for action in for_places(self.places()):
            keys = shown_keys(action)
            line = "" if action.cli == "-" else f"   $ {action.cli}"
            yield SystemCommand(
                f"{action.name}: {action.title}", f"{keys}  {action.help}{line}",
                lambda a=action: self.do(a),
            )  # fmt: skip
        for name in sorted(self.available_themes):
            yield SystemCommand(f"theme {name}", "Colours.", lambda n=name: self.set_theme(n))


def _name(event: events.Key) -> str:
    """A key as the table writes it: its sign if it has one."""
    character = event.character
    if character is not None and len(character) == 1 and character.isprintable():
        return "space" if character == " " else character
    return event.key


def linked(options: Options) -> Link:
    """The link to NATS, or to a bundle."""
    if options.bundle is None:
        return Link(options.settings)
    from headway_tui.offline import OfflineLink

    return OfflineLink(options.settings, options.bundle)


def run(options: Options) -> None:
    """Open the console; returns when it is closed."""
    HeadwayApp(options).run(mouse=True)
