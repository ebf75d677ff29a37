"""`headway tui`: check what is needed, then hand the terminal to the console."""

from __future__ import annotations

import locale
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headway.config import from_environment
from headway_ops import say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headway_tui.actions import Action


def open_console(
    run: str, text: str, theme: str, *, ascii_only: bool, readonly: bool, mouse: bool
) -> None:
    """Open the console; returns when it is closed. Fail where there is no terminal for it."""
    # Textual paints on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise Fail(
            "the console needs a terminal, and this is a pipe or a file",
            "headway watch   (or: headway ls, headway show RUN)",
            Exit.USAGE,
        )
    settings = from_environment()
    # What the library logs would be painted over the screen; the console shows the link itself.
    logging.getLogger("headway").addHandler(logging.NullHandler())
    logging.getLogger("headway").propagate = False
    # 60 frames a second are more than eyes need; over ssh each of them is bytes on the wire.
    os.environ.setdefault("TEXTUAL_FPS", "15" if os.environ.get("SSH_CONNECTION") else "30")
    from headway_tui import app

    actions = _actions()
    app.run(
        app.Options(
            settings,
            ascii_only=ascii_only or not _utf8(),
            readonly=readonly,
            theme=theme,
            filter=text,
            run=run,
            mouse=mouse,
            actions=actions,
            memory=state_file(os.environ),
        )
    )


def print_keys() -> None:
    """The table of keys that is in force, as Markdown."""
    from headway_tui.actions import reference

    say.line(reference(_actions()).rstrip())


def _actions() -> tuple[Action, ...]:
    """All actions, with the user's own keys. Raises Fail that names what clashes."""
    from headway_tui import keys

    file = config_file(os.environ)
    try:
        return keys.remapped(_read(file))
    except keys.BadKeys as e:
        raise Fail(f"{file}: {e}", "edit it, or move it away", Exit.USAGE) from e


def config_file(env: Mapping[str, str]) -> Path:
    """Where a user's own keys are."""
    folder = env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME", "/"), ".config")
    return Path(folder) / "headway" / "keys.toml"


def state_file(env: Mapping[str, str]) -> Path:
    """Where saved views and typed commands are kept."""
    folder = env.get("XDG_STATE_HOME") or os.path.join(env.get("HOME", "/"), ".local", "state")
    return Path(folder) / "headway" / "console.json"


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as e:
        raise Fail(f"{file} cannot be read: {e}", "its rights, or move it away", Exit.USAGE) from e


def _utf8() -> bool:
    return locale.getpreferredencoding(do_setlocale=False).lower().replace("-", "") == "utf8"
