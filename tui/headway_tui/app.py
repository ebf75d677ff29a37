"""HeadwayApp: the console. It paints first, then imports nats and connects.

One clock paints what is dirty: 15 times a second. When the terminal cannot keep up, the clock is
halved until it can; data are never dropped for that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.reactive import var
from textual.widgets import Input

from headway._version import __version__
from headway_tui import places
from headway_tui.actions import (
    ACTIONS,
    SCREEN_ONLY,
    Action,
    for_places,
    named,
    reference,
    shown_keys,
)
from headway_tui.dialogs import Help, Meant, Sheet
from headway_tui.keys import Keymap, Pressed
from headway_tui.link import Link
from headway_tui.memory import Memory
from headway_tui.model.texts import safe
from headway_tui.query import Hint, with_term
from headway_tui.screens.base import Pane
from headway_tui.screens.runs import RunsScreen
from headway_tui.themes import ROLES, Palette, roles_of, theme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from textual.events import Event
    from textual.screen import Screen
    from textual.theme import Theme

    from headway.bundle import Bundle
    from headway.config import Settings

CLOCK = 1 / 15
LATE = 0.04
"""Seconds by which a tick may be late; three times in a row halves the clock."""
CALM = 5.0
WHICH_KEY_AFTER = 0.4
"""Seconds after which the keys are listed that a chord waits for."""


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
    actions: tuple[Action, ...] = field(default=ACTIONS)
    """With the keys that are in force."""
    memory: Path | None = None
    """The file of saved views and typed commands; None: nothing is kept."""
    painted: Callable[[], None] | None = None
    """Called once, after the first paint."""


class HeadwayApp(App[None]):
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
        self.ascii_only, self.readonly = options.ascii_only, options.readonly
        self.link = linked(options)
        self.actions = options.actions
        self.keymap = Keymap(options.actions)
        self.memory = Memory(options.memory)
        self.pending: Pressed | None = None
        self._chord: tuple[str, ...] = ()
        self.behind = 0.0
        self._late = 0
        self._last_tick = 0.0
        self._halved_at = 0.0
        self._skip = False
        self._key: events.Key | None = None
        self._here: tuple[str, str] = ("", "")
        self._before: tuple[str, str] = ("", "")
        for name in ROLES:
            self.register_theme(theme(name))
        self.palette = Palette(ROLES["headway-dark"])

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
        self._on_theme(self.current_theme)

    def on_mount(self) -> None:
        """Paint, then connect."""
        self.set_class(self.ascii_only, "-ascii")
        self.theme_changed_signal.subscribe(self, self._on_theme, immediate=True)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if self.options.painted is not None:
            self.options.painted()
        self.run_worker(self.link.run, name="link", exit_on_error=True)
        self._last_tick = time.monotonic()
        self.set_interval(CLOCK, self.tick)
        if self.memory.first_start():
            self.pane_screen.toast.say(
                "enter opens a run, / filters, : commands, ? all keys, esc back; nothing is changed"
                " without a sheet that asks", "accent", 30.0,
            )  # fmt: skip
        if self.options.run:
            self.pane_screen.open_run(self.options.run)

    def _on_theme(self, made: Any) -> None:
        self.palette = Palette(roles_of(made))

    @property
    def stale(self) -> bool:
        """There was a connection, and there is none now."""
        return self.link.lives > 0 and not self.link.connected

    @property
    def pane_screen(self) -> Pane:
        """The screen below any sheet."""
        return next(s for s in reversed(self.screen_stack) if isinstance(s, Pane))

    # --- the clock

    def tick(self) -> None:
        """Paint what is dirty; watch whether this terminal keeps up."""
        if self.paused:
            return
        now = time.monotonic()
        late = now - self._last_tick - CLOCK
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

    # --- keys

    def places(self) -> tuple[str, ...]:
        """Where the focus is: pane, screen, app."""
        pane = getattr(self.screen.focused, "place", "")
        return tuple(p for p in (pane, self.pane_screen.place, "app") if p)

    async def on_event(self, event: Event) -> None:
        """Keys are taken here, not where they would bubble to.

        Otherwise what is typed at once after `/` goes where the focus was when it was typed.
        """
        if isinstance(event, events.Key):
            # What nobody below wanted comes here once more: by then it may be closed what it was
            # typed into, and the key would mean something else.
            again, self._key = event is self._key, event
            if not again and self._take(event):
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

    def _drop(self) -> None:
        if self._chord:
            self._chord, self.pending = (), None
            self.pane_screen.paint_keys()

    def do(self, action: Action, argument: str = "") -> None:
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
                method(argument) if action.takes else method()
                return

    def do_back(self) -> None:
        """Back; at the first screen: quit."""
        if self.pane_screen.leave():
            return
        if len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            self.exit()

    def do_quit(self) -> None:
        """Quit."""
        self.exit()

    def do_go_queues(self) -> None:
        """Queues and agents."""
        places.go(self, "queues")

    def do_go_metrics(self) -> None:
        """The curves."""
        places.go(self, "metrics")

    def do_go_dead(self) -> None:
        """Dead letters and reviews."""
        places.go(self, "dead")

    def do_replays(self, argument: str = "") -> None:
        """The replay console: a script, or the draft as it was left."""
        self.pane_screen.open_replay(script=argument)

    def do_job(self, argument: str) -> None:
        """A job by its id."""
        if argument:
            self.pane_screen.open_replay(job=argument)
        else:
            self.pane_screen.say("which job? `:job ID`; `J` in the replay console lists them")

    def do_rec(self, argument: str) -> None:
        """Record decisions of the replay console, or write them down."""
        self.pane_screen.open_replay()
        self.call_after_refresh(lambda: self.pane_screen.rec(argument))

    def do_palette(self) -> None:
        """All commands."""
        self.action_command_palette()

    def do_command(self) -> None:
        """The command line."""
        self.pane_screen.ask_command()

    def do_help(self) -> None:
        """Help for where the focus is."""
        self.push_screen(Help(self.places(), self.actions))

    def do_keys(self, argument: str) -> None:
        """All keys, or the same as Markdown."""
        if argument == "--md":
            self.copy_text(reference(self.actions))
        else:
            everywhere = dict.fromkeys(
                (*self.places(), *(p for a in self.actions for p in a.where))
            )
            self.push_screen(Help(tuple(everywhere), self.actions))

    def complete_keys(self, begun: str) -> list[Hint]:
        """Its one option."""
        return hints_of(["--md"], begun)

    def do_version(self) -> None:
        """Versions of both sides."""
        engines = sorted({beat.version for beat, _ in self.link.engines.values()})
        self.pane_screen.say(f"console {__version__}   engines {', '.join(engines) or 'not heard'}")

    # --- going

    def visited(self, place: str, what: str) -> None:
        """The reader is there now."""
        if (place, what) != self._here:
            self._before, self._here = self._here, (place, what)

    def do_last_view(self) -> None:
        """Where he was before."""
        place, what = self._before
        if not place:
            self.pane_screen.say("there was nothing before this")
        elif place == "run":
            self.do_open_run(what)
        else:
            action = named(place, ("app",), self.actions)
            if action is not None:
                self.do(action, what or "*")

    def do_go_runs(self, argument: str = "") -> None:
        """The list of runs, with another query if one is given."""
        places.go(self)
        first = self.screen_stack[0]
        if argument and isinstance(first, RunsScreen):
            first.set_filter("" if argument == "*" else argument)

    def complete_go_runs(self, begun: str) -> list[Hint]:
        """As in the filter."""
        first = self.screen_stack[0]
        return first.query_hints(begun) if isinstance(first, RunsScreen) else []

    def do_open_run(self, argument: str) -> None:
        """A run by its id, or the beginning of it."""
        if not argument:
            self.pane_screen.say("which run? `:run ID`, or the first 6 characters of it", "warning")
        else:
            self.pane_screen.open_run(argument)

    def do_view(self, argument: str) -> None:
        """A saved view, or keep or forget one."""
        first = self.screen_stack[0]
        assert isinstance(first, RunsScreen)
        verb, _, name = argument.partition(" ")
        name, views = name.strip(), self.memory.views
        say = self.pane_screen.say
        if not argument:
            names = ", ".join(sorted(views))
            say(f"saved views: {names}" if names else "no saved view: `:view save NAME` keeps this")
        elif verb == "save" and name:
            self.memory.save(name, first.saved_view())
            say(self.memory.trouble or f"view {name} is {first.filter_text or 'all runs'}", "good")
        elif verb == "drop" and name:
            gone = self.memory.drop(name)
            say(f"view {name} is forgotten" if gone else f"no view {name!r}")
        elif argument in views:
            self.do_go_runs()
            first.show_view(views[argument])
        else:
            names = ", ".join(sorted(views)) or "none is saved"
            say(f"no view {argument!r}: {names}", "warning")

    def complete_view(self, begun: str) -> list[Hint]:
        """Names, and the two verbs."""
        verb, space, rest = begun.partition(" ")
        if space and verb == "drop":
            return [h._replace(text=f"drop {h.text}") for h in hints_of(self.memory.views, rest)]
        return hints_of([*self.memory.views, "save ", "drop "], begun)

    def do_reconnect(self) -> None:
        """Read anew, and connect now if there is no link."""
        self.link.hurry()
        self.pane_screen.reread()

    def complete_theme(self, begun: str) -> list[Hint]:
        """Their names."""
        return hints_of([*ROLES, *sorted(set(self.available_themes) - set(ROLES))], begun)

    def do_theme(self, argument: str = "") -> None:
        """A theme by its name, or the next one of ours."""
        if argument:
            self.set_theme(argument)
            return
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
        from headway_tui import clipboard

        said = clipboard.copy(text, self.copy_to_clipboard)
        self.pane_screen.say(said.replace("→", "->") if self.ascii_only else said)

    def confirm(self, action: Action, meant: Meant, then: Any) -> None:
        """Ask with a sheet; `then` is awaited if the answer is yes."""
        where = f"{self.settings.namespace} at {self.settings.shown_url}"

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(then, exit_on_error=False)
            else:
                self.pane_screen.say("left as it is")

        self.push_screen(Sheet(action, meant, where), answered)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every action of the table, saved views, recent runs, agents, themes."""
        first = self.screen_stack[0]
        for action in for_places(self.places(), self.actions):
            keys = shown_keys(action) or f":{action.name}"
            line = "" if action.cli == SCREEN_ONLY else f"   $ {action.cli}"
            yield SystemCommand(
                f"{action.name}: {action.title}", f"{keys}  {action.help}{line}",
                lambda a=action: self.do(a),
            )  # fmt: skip
        for name, view in sorted(self.memory.views.items()):
            yield SystemCommand(
                f"view {name}", view.query or "all runs", lambda n=name: self.do_view(n)
            )
        if isinstance(first, RunsScreen):
            for title, what, query in first.known():
                yield SystemCommand(title, what, lambda q=query: self.do_go_runs(q))
            for row in first.recent():
                yield SystemCommand(
                    f"run {row.run}", safe(f"{row.task}  {row.status}"),
                    lambda r=row.run: self.do_open_run(r),
                )  # fmt: skip
        for name in sorted(self.link.agents):
            yield SystemCommand(
                f"agent {safe(name, 64)}", "Its runs.",
                lambda n=name: self.do_go_runs(with_term("", "agent", n)),
            )  # fmt: skip
        for name in sorted(self.available_themes):
            yield SystemCommand(f"theme {name}", "Colours.", lambda n=name: self.set_theme(n))


def hints_of(words: Iterable[str], begun: str) -> list[Hint]:
    """The words that begin so."""
    return [Hint(w, w) for w in words if w.startswith(begun) and w != begun]


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
    HeadwayApp(options).run(mouse=options.mouse)
