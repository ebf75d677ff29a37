"""What every screen has: header or band on top, keys and command line at the bottom."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from headway.looks import MARKS
from headway.texts import plural
from headway_tui import contexts
from headway_tui.actions import fitting, footer, shown_keys, tabs
from headway_tui.model.bands import band_of
from headway_tui.model.texts import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual import events

    from headway_tui.actions import Action
    from headway_tui.app import HeadwayApp

Spot = tuple[int, int, "Callable[[], object]"]
"""A stretch of cells of a line, and what a click on it does."""


class Bar(Widget):
    """One line of pieces; a kind of it says which."""

    DEFAULT_CSS = "Bar { height: 1; background: $background; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.spots: list[Spot] = []
        """Where a click does something, as it was painted last."""

    @property
    def console_app(self) -> HeadwayApp:
        """The app."""
        return cast("HeadwayApp", self.app)  # pyright: ignore[reportUnknownMemberType] Textual leaves it open

    def text(self, text: str, role: str = "text") -> Segment:
        """A piece in a role's colour."""
        return Segment(text, self.console_app.palette[role])

    def sign(self, name: str) -> str:
        """A sign."""
        return MARKS[name][self.console_app.ascii_only]

    def pieces(self, width: int) -> list[Segment]:
        """The line."""
        raise TypeError("a kind of Bar says what is on it")

    def render_line(self, y: int) -> Strip:
        """The line, cut to the width."""
        width = self.size.width
        self.spots = []
        strip = Strip(self.pieces(width)).adjust_cell_length(width)
        return strip.apply_style(self.rich_style)

    def spot(self, before: Sequence[Segment], text: str, do: Callable[[], object]) -> None:
        """A click on this text, which stands after those pieces, does something."""
        at = sum(cell_len(s.text) for s in before)
        self.spots.append((at, at + cell_len(text), do))

    def on_click(self, event: events.Click) -> None:
        """What stands under the pointer."""
        for start, end, do in self.spots:
            if start <= event.x < end:
                event.stop()
                do()
                return


class Header(Bar):
    """Context, NATS, store, agents; the place at the right. In trouble: the band."""

    def __init__(self, where: Callable[[], str], lag: Callable[[], int]) -> None:
        super().__init__()
        self._where, self._lag = where, lag

    def pieces(self, width: int) -> list[Segment]:
        """One line of facts."""
        app = self.console_app
        link = app.link
        kind, words = band_of(link.facts(app.behind))
        if kind != "none":
            style = app.palette.alarm if kind == "alarm" else app.palette.band
            return [Segment(fit(f" ! {words}", width, self.sign("cut")), style)]
        if link.offline:
            words = fit(link.offline, max(1, width - 12), self.sign("cut"))
            told = [Segment(" headway ", app.palette.key), self.text(f" {words} ", "warning")]
            return self._placed(told, width)
        wide = width >= 100
        role = "warning" if app.settings.protect else "text"
        left = [Segment(" headway ", app.palette.key),
                self.text(f" {contexts.title(app.settings)} ", role)]  # fmt: skip
        if link.connected:
            rtt = f" live {link.rtt * 1000:.1f}ms" if wide else ""
            left += [self.text(f"  NATS {self.sign('live')}{rtt} ", "good")]
        else:
            left += [self.text(f"  NATS {self.sign('away')} connecting ", "muted")]
        store = link.store_ok()
        kept = "JS" if link.edge() else "PG"
        if store is None:
            left += [self.text(f"  {kept} {self.sign('away')} ? ", "muted")]
        else:
            left += [self.text(f"  {kept} {self.sign('live')}{' ok' if wide else ''} ", "good")]
        alive, known = link.agents_now()
        left += [self.text(f"  agents {alive}/{known} ", "text" if alive else "warning")]
        if lost := link.dropped():
            left += [self.text(f"  dropped {lost:,} ", "warning")]
        if gone := link.unshipped():
            left += [self.text(f"  {plural(gone, 'run')} lost to the hub ", "warning")]
        if wide:
            left += [
                self.text(f"  lag {self._lag()} ", "text" if self._lag() < 1000 else "warning")
            ]
        if app.readonly:
            left += [self.text("  read-only ", "warning")]
        return self._placed(left, width)

    def _placed(self, left: list[Segment], width: int) -> list[Segment]:
        """The facts, and the place at the right end if there is room."""
        have = sum(cell_len(s.text) for s in left)
        right = self._places(width - have - 1)
        room = width - have - 1 - sum(cell_len(s.text) for s, _ in right)
        if room < 0:
            return left
        out = [*left, self.text(" " * room)]
        for piece, action in right:
            if action is not None:
                self.spot(out, piece.text, partial(self.console_app.do, action))
            out.append(piece)
        return out

    def _places(self, room: int) -> list[tuple[Segment, Action | None]]:
        """Where this is, with what a click opens; at a screen that a digit opens: all of those."""
        app, where = self.console_app, self._where()
        have = tabs(app.actions)
        if not any(a.title == where for a in have):
            begin, arrow, rest = where.partition(" > ")
            above = next((a for a in have if arrow and a.title == begin), None)
            return [(self.text(begin, "muted"), above), (self.text(arrow + rest, "muted"), None)]
        for length in (20, 4, 3):
            if sum(len(a.title[:length]) + len(a.keys[0]) + 1 for a in have) <= room:
                break
        out: list[tuple[Segment, Action | None]] = []
        for a in have:
            out.append((self.text(f" {a.keys[0]}", "muted"), a))
            style = app.palette.key if a.title == where else app.palette["muted"]
            out.append((Segment(a.title[:length], style), a))
        return out


class Keys(Bar):
    """The keys that matter where the focus is; a click on one is as good as the key."""

    def pieces(self, width: int) -> list[Segment]:
        """Keys and titles, as many as fit."""
        app = self.console_app
        pending = app.pending
        out: list[Segment] = [self.text(" ")]
        if pending is not None:
            copies = all(a.title.startswith("copy ") for _, a in pending.then)
            out.append(self.text(f"{pending.chord}{' copy' if copies else ''}:  "))
            width -= cell_len(out[-1].text)
        items = (
            [(a, keys, a.title.removeprefix("copy ")) for keys, a in pending.then]
            if pending is not None
            else [(a, shown_keys(a).split(" ")[0] or f":{a.name}", a.title)
                  for a in footer(app.places(), app.actions) if not (a.writes and app.readonly)]
        )  # fmt: skip
        if app.ascii_only:
            items = [(a, keys, title.replace("…", "...")) for a, keys, title in items]
        cells = [(a.id, len(keys) + cell_len(title) + 3) for a, keys, title in items]
        for i in fitting(cells, width + 1):  # the spaces after the last one need no room
            action, keys, title = items[i]
            self.spot(out, f"{keys} {title}", partial(app.clicked, action))
            out += [Segment(keys, app.palette.key), self.text(f" {title}  ", "muted")]
        return out


class Note(Bar):
    """A line of the screen's own."""

    def __init__(
        self, what: Callable[[int], list[tuple[str, str]]], *, id: str | None = None,
        go: Sequence[Callable[[], object]] = (),
    ) -> None:  # fmt: skip
        """`go`: what clicks on the first pieces do."""
        super().__init__(id=id)
        self._what, self._go = what, go

    def pieces(self, width: int) -> list[Segment]:
        """What the screen says."""
        out: list[Segment] = []
        for i, (text, role) in enumerate(self._what(width)):
            if i < len(self._go):
                self.spot(out, text, self._go[i])
            out.append(self.text(text, role))
        return out


class Toast(Bar):
    """The last line: what just happened, for some seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said, self._role, self._until = "", "muted", 0.0

    def say(self, text: str, role: str = "muted", seconds: float = 6.0) -> None:
        """Say it."""
        self._said, self._role = text, role
        self._until = time.monotonic() + seconds
        self.refresh()

    def pieces(self, width: int) -> list[Segment]:
        """The words, while they are fresh."""
        said = self._said if time.monotonic() < self._until else ""
        return [self.text(fit(f" {said}", width, self.sign("cut")), self._role)]
