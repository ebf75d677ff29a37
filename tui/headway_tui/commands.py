"""What the console does whatever screen is shown: go somewhere, copy, ask, look and themes.

A key or a typed command has become an action; the focused pane, its screen, or these carry it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import App, SystemCommand

from headway._version import __version__
from headway_tui import places
from headway_tui.actions import SCREEN_ONLY, Action, for_places, reference, shown_keys
from headway_tui.contexts import place
from headway_tui.dialogs import Help
from headway_tui.model.jumps import Jumps
from headway_tui.model.sheets import action_sheet
from headway_tui.model.texts import safe
from headway_tui.query import Hint, hints_of, with_term
from headway_tui.screens.base import Pane
from headway_tui.screens.runs import RunsScreen
from headway_tui.sheets import Decide
from headway_tui.themes import ROLES, Palette, roles_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.screen import Screen
    from textual.theme import Theme

    from headway.config import Settings
    from headway_tui.link import Link
    from headway_tui.memory import Memory
    from headway_tui.model.jumps import Spot
    from headway_tui.model.sheets import Meant


CLOCKS = range(1, 31)
"""Paints a second that can be set."""


class Commands(App[None]):
    """Carries out actions; the app itself adds keys and the clock."""

    settings: Settings
    link: Link
    memory: Memory
    actions: tuple[Action, ...]
    ascii_only: bool
    readonly: bool

    def __init__(self) -> None:
        super().__init__()
        self.jumps = Jumps()
        self.palette = Palette(ROLES["headway-dark"])

    @property
    def pane_screen(self) -> Pane:
        """The screen below any sheet."""
        return next(s for s in reversed(self.screen_stack) if isinstance(s, Pane))

    def places(self) -> tuple[str, ...]:
        """Where the focus is: pane, screen, app."""
        pane = getattr(self.screen.focused, "place", "")
        return tuple(p for p in (pane, self.pane_screen.place, "app") if p)

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

    def do_go_metrics(self, argument: str = "") -> None:
        """The curves, of a certain window if one is given."""
        places.go(self, "metrics")
        if argument:
            self.call_after_refresh(self._to_window, argument)

    def _to_window(self, word: str) -> None:
        from headway_tui.screens.metrics import MetricsScreen

        screen = self.pane_screen
        if isinstance(screen, MetricsScreen):
            screen.show_window(word)

    def do_review(self) -> None:
        """What waits for a person."""
        places.go(self, "dead")
        self.call_after_refresh(self._to_reviews)

    def _to_reviews(self) -> None:
        from headway_tui.screens.dead import DeadScreen

        screen = self.pane_screen
        if isinstance(screen, DeadScreen):
            screen.to_reviews()

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

    def do_last_view(self) -> None:
        """Where he was before."""
        self._go(self.jumps.last())

    def do_jump_back(self) -> None:
        """A step back."""
        self._go(self.jumps.step(-1))

    def do_jump_on(self) -> None:
        """A step on."""
        self._go(self.jumps.step(1))

    def _go(self, spot: Spot | None) -> None:
        if spot is None:
            self.pane_screen.say("there was nothing that way")
        elif not places.go_to(self, spot):
            self.pane_screen.say(f"{spot.place} is not to be opened again this way")

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

    def do_ctx(self, argument: str = "") -> None:
        """Another connection, or which there are."""
        from headway_tui.contexts import choose

        choose(self, argument)

    def complete_ctx(self, begun: str) -> list[Hint]:
        """Their names."""
        from headway import contexts

        return hints_of(contexts.names(), begun)

    def connect(self, settings: Settings) -> None:
        """Leave this connection, and everything that was read of it."""
        raise TypeError("the app has the link")

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

    def set_clock(self, rate: int) -> None:
        """So many paints a second from now on."""
        raise TypeError("the app has the clock")

    def complete_set(self, begun: str) -> list[Hint]:
        """Usual ones."""
        return hints_of([f"clock={rate}" for rate in (15, 8, 4)], begun)

    def do_set(self, argument: str) -> None:
        """A setting of this console, until it is closed."""
        name, _, value = argument.partition("=")
        rate = int(value) if value.isdecimal() and len(value) < 3 else 0
        if name.strip() != "clock" or rate not in CLOCKS:
            words = f"`:set clock=N`, {CLOCKS[0]} to {CLOCKS[-1]} paints a second"
            self.pane_screen.say(f"not set: {words}", "warning")
        else:
            self.set_clock(rate)
            self.pane_screen.say(f"{rate} paints a second")

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

    def paint_with(self, made: Theme) -> None:
        """Its colours, from the next paint on."""
        self.palette = Palette(roles_of(made))

    def set_theme(self, name: str) -> None:
        """A theme by its name."""
        if name not in self.available_themes:
            have = ", ".join(sorted(self.available_themes))
            self.pane_screen.say(f"no theme {name!r}: {have}", "warning")
            return
        self.theme = name
        self.paint_with(self.current_theme)
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

        def answered(yes: tuple[str, ...] | None) -> None:
            if yes is not None:
                self.run_worker(then, exit_on_error=False)
            else:
                self.pane_screen.say("left as it is")

        sheet = action_sheet(action, meant, place(self.settings), protect=self.settings.protect)
        self.push_screen(Decide(sheet), answered)

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
