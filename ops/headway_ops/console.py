"""`headway tui`: check what is needed, then hand the terminal to the console."""

from __future__ import annotations

import locale
import logging
import os
import sys
from typing import TYPE_CHECKING

from headway.config import Settings, from_environment
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.bundle import Bundle


def open_console(run: str, text: str, theme: str, *, ascii_only: bool, readonly: bool) -> None:
    """Open the console; returns when it is closed. Fail where there is no terminal for it."""
    _prepare()
    from headway_tui import app

    app.run(
        app.Options(
            from_environment(),
            ascii_only=ascii_only or not _utf8(),
            readonly=readonly,
            theme=theme,
            filter=text,
            run=run,
        )
    )


def open_offline(bundle: Bundle, run: str, theme: str, *, ascii_only: bool) -> None:
    """The console on a bundle, at one of its runs; closes the bundle in the end."""
    with bundle:
        _prepare()
        from headway_tui import app

        app.run(
            app.Options(
                Settings(namespace=bundle.manifest.namespace),
                ascii_only=ascii_only or not _utf8(),
                readonly=True,
                theme=theme,
                run=run,
                bundle=bundle,
            )
        )


def _prepare() -> None:
    """Check the terminal and make it ours."""
    # Textual paints on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise Fail(
            "the console needs a terminal, and this is a pipe or a file",
            "headway watch   (or: headway ls, headway show RUN)",
            Exit.USAGE,
        )
    # What the library logs would be painted over the screen; the console shows the link itself.
    logging.getLogger("headway").addHandler(logging.NullHandler())
    logging.getLogger("headway").propagate = False
    # 60 frames a second are more than eyes need; over ssh each of them is bytes on the wire.
    os.environ.setdefault("TEXTUAL_FPS", "15" if os.environ.get("SSH_CONNECTION") else "30")


def _utf8() -> bool:
    return locale.getpreferredencoding(do_setlocale=False).lower().replace("-", "") == "utf8"
