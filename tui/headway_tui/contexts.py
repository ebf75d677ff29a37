"""`:ctx`: another connection in the same console, by the name of its context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import contexts
from headway.config import from_environment
from headway.errors import HeadwayError
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from headway.config import Settings
    from headway_tui.commands import Commands


def choose(app: Commands, name: str) -> None:
    """Go there, or say why not; without a name say which there are."""
    say = app.pane_screen.say
    if not name:
        have = ", ".join(contexts.names())
        now = app.settings.context
        here = f"; this is {now}" if now else ""
        say(f"contexts: {have}{here}" if have else f"no contexts: {contexts.folder()} has none")
        return
    if app.link.offline:
        say("not done: this console shows a file, without a connection", "warning")
        return
    try:
        contexts.choose(name)
        settings = from_environment()
    except HeadwayError as e:
        say(f"not done: {e}", "bad")
        return
    app.connect(settings)
    app.pane_screen.say(f"now at {title(settings)}, {settings.shown_url}", "good")


def title(settings: Settings) -> str:
    """A connection in few words: its context, and the namespace where that says more."""
    if not settings.context:
        return safe(settings.namespace, 24)
    space = "" if settings.namespace in {"default", settings.context} else f"/{settings.namespace}"
    return safe(f"{settings.context}{space}", 32)


def place(settings: Settings) -> str:
    """The same with its server, for sheets."""
    context = f"{settings.context}: " if settings.context else ""
    return f"{context}{settings.namespace} at {settings.shown_url}"


def as_typed(settings: Settings, line: str) -> str:
    """A command line that means this connection from a shell, too."""
    first, space, rest = line.partition(" ")
    if not settings.context or first != "headway":
        return line
    return f"headway --context {settings.context}{space}{rest}"
