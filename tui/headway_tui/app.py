"""HeadwayApp: the console. It paints first, then imports nats and connects.

One clock paints what is dirty: 15 times a second. When the terminal cannot keep up, the clock is
halved until it can; data are never dropped for that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.binding import Binding
from textual.reactive import var
from textual.widgets import Input

from headway_tui.actions import (
    ACTIONS,
    Action,
)
from headway_tui.commands import Commands
from headway_tui.keys import Keymap, Pressed
from headway_tui.link import Link
from headway_tui.memory import Memory
from headway_tui.model.jumps import Jumps
from headway_tui.recall import file_of
from headway_tui.screens.base import Pane
from headway_tui.screens.runs import RunsScreen
from headway_tui.themes import ROLES, theme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.events import Event
    from textual.screen import Screen
    from textual.theme import Theme
    from textual.timer import Timer
    from textual.worker import Worker

    from headway.bundle import Bundle
    from headway.config import Settings
    from headway_tui.aliases import Aliases
    from headway_tui.recording import Cast

CLOCK = 15
"""Paints a second, as long as nobody sets another number."""
LATE = 0.04
"""Seconds by which a tick may be late; three times in a row halves the clock."""
FIRST_PAINT = 0.3
"""Seconds after which the link is made though no paint was told."""
CALM = 5.0
HELD = 3.0
"""Seconds after which keys are held back no longer, whatever became of what was typed before."""
_LEAVES = frozenset({"enter", "escape"})
"""Keys with which a line is done."""
_EDITS = _LEAVES | {
    key for b in Input.BINDINGS if isinstance(b, Binding) for key in b.key.split(",")
}
"""Keys that an input carries out when they come back to the app, after letters typed later."""
WHICH_KEY_AFTER = 0.4
"""Seconds after which the keys are listed that a chord waits for."""


class NoRecording(Exception):
    """The file of a recording cannot be made."""


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
    mouse: bool = True
    """False: the terminal keeps its own selection."""
    bundle: Bundle | None = None
    """Show what this file holds; no server is asked."""
    dump: Path | None = None
    """Play this dump of events; no server is asked."""
    speed: float = 1.0
    """How many times as fast as it happened."""
    record: Path | None = None
    """Write what the terminal gets to this new file, as an asciicast."""
    actions: tuple[Action, ...] = field(default=ACTIONS)
    """With the keys that are in force."""
    memory: Path | None = None
    """The file of saved views and typed commands; None: nothing is kept."""
    rows: Path | None = None
    """The file of the rows that were seen last; None: none are kept."""
    aliases: Aliases = field(default_factory=dict[str, tuple[str, ...]])
    """Commands of the user's own."""
    shell: bool = True
    """False: whoever sits at it is not at this machine, so `:!` runs nothing here."""
    painted: Callable[[], None] | None = None
    """Called once, after the first paint."""


class HeadwayApp(Commands):
    """Screens over one connection."""

    TITLE = "headway"
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    Screen { background: $background; color: $foreground; layers: base; }
    Input { border: none; height: 1; padding: 0; background: $background; }
    Input:focus { border: none; background: $panel; }
    .-ascii .pane { border: ascii $muted; }
    .-ascii .pane:focus, .-ascii .pane:focus-within { border: ascii $accent; }
    .-ascii #error-box { border: ascii $error; }
    .-ascii #error-box.-small { border: none; }
    .-ascii Lines { scrollbar-size-vertical: 0; }
    .-ascii Sheet > Vertical, .-ascii Help > Vertical, .-ascii Choice > OptionList {
        border: ascii $accent; }
    .prompt { height: 1; }
    .prompt Label { color: $muted; width: 3; }
    .prompt Input { width: 1fr; }
    .pane { border: round $muted; border-title-color: $foreground; border-title-style: bold;
        border-subtitle-color: $muted; }
    .pane:focus, .pane:focus-within { border: round $accent; }
    """
    BINDINGS: ClassVar = []
    paused: var[bool] = var(False)
    """Tests hold the clock."""

    def __init__(self, options: Options) -> None:
        self._themes: dict[str, Theme] = {}
        super().__init__()
        self.options = options
        self.settings = options.settings
        self.ascii_only = options.ascii_only
        self.readonly = options.readonly or options.settings.readonly
        self.link = linked(options)
        self._linking: Worker[None] | None = None
        self.rows_file = options.rows
        """Where the rows of this connection that were seen last are kept."""
        self.actions = options.actions
        self.keymap = Keymap(options.actions)
        self.memory = Memory(options.memory)
        self.pending: Pressed | None = None
        self._chord: tuple[str, ...] = ()
        self.behind = 0.0
        self._late = 0
        self._last_tick = 0.0
        self.period = 1 / CLOCK
        """Seconds between two ticks."""
        self._clock: Timer | None = None
        self._halved_at = 0.0
        self._skip = False
        self._held: list[events.Key] | None = None
        """Typed behind a key that the line with the focus has not carried out yet."""
        self._awaited: events.Key | None = None
        """That key."""
        self._release: Timer | None = None
        self.cast: Cast | None = None
        """A recording of the terminal, if there is one."""
        for name in ROLES:
            self.register_theme(theme(name))

    def on_resize(self, event: events.Resize) -> None:
        """A recording says so too."""
        if self.cast is not None:
            self.cast.resized((event.size.width, event.size.height))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What our styles use and Textual's themes lack."""
        return {"muted": ROLES["headway-dark"]["muted"]}

    def get_theme(self, theme_name: str) -> Theme | None:
        """As Textual's, which is asked at every painted line and copies all themes each time."""
        found = self._themes.get(theme_name)
        if found is None and (found := super().get_theme(theme_name)) is not None:
            self._themes[theme_name] = found
        return found

    def get_default_screen(self) -> Screen[Any]:
        """The list of runs: painted before anything is imported or asked."""
        return RunsScreen(self.options.filter)

    def on_load(self) -> None:
        """The theme, before any style is read: a later change has all of them read anew."""
        self.theme = self.options.theme
        self.paint_with(self.current_theme)

    def on_mount(self) -> None:
        """Paint, then connect."""
        self.set_class(self.ascii_only, "-ascii")
        self.theme_changed_signal.subscribe(self, self.paint_with, immediate=True)
        self.call_after_refresh(self._begin)
        # A key typed ahead may have covered the screen that was to be painted first, and a covered
        # screen tells of no refresh.
        self.set_timer(FIRST_PAINT, self._begin)

    def _begin(self) -> None:
        if self._linking is not None:
            return
        if self.options.painted is not None:
            self.options.painted()
        self._linking = self.run_worker(self.link.run, name="link", exit_on_error=True)
        self._last_tick = time.monotonic()
        self._clock = self.set_interval(self.period, self.tick)
        if self.memory.first_start():
            self.pane_screen.toast.say(
                "enter opens a run, / filters, : commands, ? all keys, esc back; nothing is changed"
                " without a sheet that asks", "accent", 30.0,
            )  # fmt: skip
        if self.options.run:
            self.pane_screen.open_run(self.options.run)

    def connect(self, settings: Settings) -> None:
        """Leave this connection, and everything that was read of it."""
        if self._linking is not None:
            self._linking.cancel()
        self.settings = settings
        self.readonly = self.options.readonly or settings.readonly
        self.rows_file = file_of(settings) if self.options.rows is not None else None
        self.link, self.jumps = Link(settings), Jumps()
        while len(self.screen_stack) > 1:
            self.pop_screen()
        first = self.screen_stack[0]
        assert isinstance(first, RunsScreen)
        first.begin_anew()
        self._linking = self.run_worker(self.link.run, name="link", exit_on_error=True)

    @property
    def stale(self) -> bool:
        """There was a connection, and there is none now; or rows of before are shown."""
        first = self.screen_stack[0] if self.screen_stack else None
        before = isinstance(first, RunsScreen) and first.as_of is not None
        return before or (self.link.lives > 0 and not self.link.connected)

    # --- the clock

    def tick(self) -> None:
        """Paint what is dirty; watch whether this terminal keeps up."""
        if self.paused:
            return
        now = time.monotonic()
        late = now - self._last_tick - self.period
        self._last_tick = now
        self._late = self._late + 1 if late > LATE else 0
        if self._late >= 3:
            self._halved_at, self.behind = now, late
        elif now - self._halved_at > CALM:
            self.behind = 0.0
        self._skip = bool(self.behind) and not self._skip
        if not self._skip:
            self.paint()

    def paint(self) -> None:
        """Everything that changed and is seen, in one update."""
        with self.batch_update():
            self.pane_screen.paint()

    def set_clock(self, rate: int) -> None:
        """So many paints a second from now on."""
        self.period = 1 / rate
        if self._clock is not None:
            self._clock.stop()
            self._last_tick = time.monotonic()
            self._clock = self.set_interval(self.period, self.tick)

    # --- keys

    async def on_event(self, event: Event) -> None:
        """Keys are taken here, not where they would bubble to.

        Otherwise what is typed at once after `/` goes where the focus was when it was typed.
        """
        if isinstance(event, events.Key):
            # What nobody below wanted comes here once more: by then it may be closed what it was
            # typed into, and the key would mean something else.
            again = event.is_forwarded
            screen = self.screen
            if self._held is None and isinstance(screen, Pane) and not screen.is_mounted:
                self._hold()  # until the screen that was asked for can say what a key means
                screen.call_later(self.give_back)
            if self._held is not None and not again:
                self._held.append(event)
                return
            if not again and self._take(event):
                return
            if not again and event.key in _EDITS and self._typing():
                # The line gets this key in its own time: what is typed next is for whoever has
                # the focus after that, and for the text as it is then.
                self._hold(event)
            await super().on_event(event)
            if again and event is self._awaited and event.key not in _LEAVES:
                self.give_back()  # it is carried out; a line that is left says so by itself
            return
        await super().on_event(event)

    def _hold(self, event: events.Key | None = None) -> None:
        self._held, self._awaited = [], event
        self._release = self.set_timer(HELD, self.give_back)

    def give_back(self) -> None:
        """The line that was typed in is done with: the keys after it may go on."""
        if self._held is not None:
            self.call_next(self._go_on)

    async def _go_on(self) -> None:
        held, self._held, self._awaited = self._held or [], None, None
        if self._release is not None:
            self._release.stop()  # it is not meant for what is held later
        while held and self._held is None:
            if not isinstance(self.screen, Pane):
                return  # a sheet is answered by who has seen it
            await self.on_event(held.pop(0))
        if self._held is not None:  # one of them entered another line
            self._held += held

    def _typing(self) -> bool:
        return isinstance(self.screen, Pane) and isinstance(self.screen.focused, Input)

    def _take(self, event: events.Key) -> bool:
        """Carry out a key; False if it is none of ours: a sheet, an input field, an unknown key."""
        if not isinstance(self.screen, Pane) or isinstance(self.screen.focused, Input):
            return False
        if event.key == "escape" and self._chord:
            self._drop()
            return True
        found = self.keymap.press(self._chord, _name(event), self.places())
        if found.then:
            self._chord = tuple(found.chord.split(" "))
            self.set_timer(WHICH_KEY_AFTER, lambda: self._which_key(found))
            return True
        known = found.action is not None or bool(self._chord)
        self._drop()
        if found.action is not None:
            self.do(found.action)
        return known

    def _which_key(self, found: Pressed) -> None:
        """The chord still waits: say for what."""
        if " ".join(self._chord) == found.chord:
            self.pending = found
            self.pane_screen.paint_keys()

    def clicked(self, action: Action) -> None:
        """A key was not pressed but clicked on."""
        self._drop()
        self.do(action)

    def _drop(self) -> None:
        if self._chord:
            self._chord, self.pending = (), None
            self.pane_screen.paint_keys()


def _name(event: events.Key) -> str:
    """A key as the table writes it: its sign if it has one."""
    character = event.character
    if character is not None and len(character) == 1 and character.isprintable():
        return "space" if character == " " else character
    return event.key


def linked(options: Options) -> Link:
    """The link to NATS, to a bundle or to a dump; raises BadDump."""
    if options.dump is not None:
        from headway_tui.dumps import read
        from headway_tui.played import PlayedLink

        return PlayedLink(options.settings, read(options.dump), options.dump.name, options.speed)
    if options.bundle is None:
        return Link(options.settings)
    from headway_tui.offline import OfflineLink

    return OfflineLink(options.settings, options.bundle)


def run(options: Options) -> None:
    """Open the console; returns when it is closed. Raises BadDump and NoRecording."""
    app = HeadwayApp(options)
    if options.record is None:
        app.run(mouse=options.mouse)
        return
    from headway_tui.recording import Cast, recorded

    try:
        columns, lines = get_terminal_size()
        app.cast = cast = Cast(options.record, (columns, lines))
    except OSError as e:
        raise NoRecording(f"{options.record} cannot be written: {e.strerror or e}") from None
    app.driver_class = recorded(app.driver_class, cast)
    try:
        app.run(mouse=options.mouse)
    finally:
        cast.close()
