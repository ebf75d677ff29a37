"""`headway tui`: check what is needed, then hand the terminal to the console; or serve it."""

from __future__ import annotations

import gc
import locale
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from headway.config import Settings, from_environment
from headway.folders import config_folder, state_folder
from headway_ops.say import Exit, Fail, line, tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headway.bundle import Bundle
    from headway_ops.quick import Opened
    from headway_tui.actions import Action
    from headway_tui.aliases import Aliases


def serve_console(opened: Opened, at: str, url: str) -> None:
    """Serve it to browsers until SIGTERM or Ctrl+C. Fail where it must not listen, or cannot."""
    import asyncio

    from headway_ops.browser import door, server
    from headway_ops.serving import logs, on_stop

    if opened.record:
        raise Fail(
            "--record-tty records a terminal, and --serve opens none",
            "one of them; `headway tui --record-tty FILE` in a terminal",
            Exit.USAGE,
        )
    logs()
    try:
        where = door.place(at, url)
    except door.BadAddress as e:
        raise Fail(str(e), e.todo, Exit.USAGE) from None
    # What is wrong with the settings is told here, not in a browser.
    settings = from_environment()
    title = f"headway {settings.namespace}"
    argv = (sys.executable, "-m", "headway_ops", *opened.arguments())

    async def main() -> None:
        one = server.BrowserServer(where, argv, title)
        stopping = asyncio.Event()
        on_stop(stopping.set)
        try:
            address = await one.open()
        except OSError as e:
            raise Fail(
                f"{where.host}:{where.port}: {e.strerror or e}",
                "another port: --serve-at PORT, or none for any that is free",
                Exit.USAGE,
            ) from None
        line(address)
        tell("whoever has this address has the rights of this console; Ctrl+C ends it")
        await stopping.wait()
        await one.close()

    asyncio.run(main())


def open_console(opened: Opened) -> None:
    """Open the console; returns when it is closed.

    Fail where there is no terminal for it, no theme of that name, a recording cannot be made, or a
    dump not be played.
    """
    _prepare()
    from headway_tui import app
    from headway_tui.recall import file_of

    _known(opened.theme)
    settings = from_environment()
    options = app.Options(
        settings,
        ascii_only=opened.ascii_only or not _utf8(),
        readonly=opened.readonly or bool(opened.dump),
        theme=opened.theme,
        filter=opened.text,
        run=opened.run,
        mouse=opened.mouse,
        actions=(actions := _actions()),
        aliases=_aliases(actions),
        shell="WebDriver" not in os.environ.get("TEXTUAL_DRIVER", ""),
        memory=state_file(os.environ),
        rows=None if opened.dump else file_of(settings),
        painted=_painted,
        dump=Path(opened.dump) if opened.dump else None,
        speed=opened.speed,
        record=Path(opened.record) if opened.record else None,
    )
    try:
        app.run(options)
    except app.NoRecording as e:
        raise Fail(str(e), "--record-tty with a name that is free", Exit.USAGE) from None


def open_offline(bundle: Bundle, run: str, theme: str, *, ascii_only: bool) -> None:
    """The console on a bundle, at one of its runs; closes the bundle in the end."""
    with bundle:
        _prepare()
        from headway_tui import app

        _known(theme)
        app.run(
            app.Options(
                Settings(namespace=bundle.manifest.namespace),
                ascii_only=ascii_only or not _utf8(),
                readonly=True,
                theme=theme,
                run=run,
                bundle=bundle,
                actions=_actions(),
                painted=_painted,
            )
        )


def _known(theme: str) -> None:
    from headway_tui import themes

    if theme not in (known := themes.known()):
        words = f"no theme {theme!r}: {', '.join(known)}"
        raise Fail(words, "leave --theme out", Exit.USAGE)


def _prepare() -> None:
    """Check the terminal and make it ours; no garbage is looked for until the first paint."""
    gc.disable()
    # Keys come and bytes go by threads: behind a busy loop each of them would wait 5 ms.
    sys.setswitchinterval(0.001)
    # Textual paints on stderr. In a browser its driver has neither of them.
    if "WebDriver" in os.environ.get("TEXTUAL_DRIVER", ""):
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    elif not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise Fail(
            "the console needs a terminal, and this is a pipe or a file",
            "headway watch   (or: headway ls, headway show RUN)",
            Exit.USAGE,
        )
    # What the library logs would be painted over the screen; the console shows the link itself.
    logging.getLogger("headway").addHandler(logging.NullHandler())
    logging.getLogger("headway").propagate = False
    # How soon a key may be painted after what was painted last; the clock paints 15 times a second
    # whatever this is. Over ssh each frame is bytes on the wire.
    os.environ.setdefault("TEXTUAL_FPS", "15" if os.environ.get("SSH_CONNECTION") else "60")


def _painted() -> None:
    """What was loaded stays for ever: to walk over it again and again would only hold up keys."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 50)
    gc.enable()


def print_keys() -> None:
    """The table of keys that is in force, as Markdown."""
    from headway_tui.actions import reference

    line(reference(_actions()).rstrip())


def _actions() -> tuple[Action, ...]:
    """All actions, with the user's own keys. Raises Fail that names what clashes."""
    from headway_tui import keys

    file = config_file(os.environ)
    try:
        return keys.remapped(_read(file))
    except keys.BadKeys as e:
        raise Fail(f"{file}: {e}", "edit it, or move it away", Exit.USAGE) from e


def _aliases(actions: tuple[Action, ...]) -> Aliases:
    """The user's own commands. Raises Fail that names what is wrong."""
    from headway_tui import aliases

    file = config_file(os.environ, "config.toml")
    try:
        return aliases.read(_read(file), [a.name for a in actions])
    except aliases.BadAliases as e:
        raise Fail(f"{file}: {e}", "edit it, or move it away", Exit.USAGE) from e


def config_file(env: Mapping[str, str], name: str = "keys.toml") -> Path:
    """Where a user's own keys are, or commands (`config.toml`)."""
    return config_folder(env) / name


def state_file(env: Mapping[str, str]) -> Path:
    """Where saved views and typed commands are kept."""
    return state_folder(env) / "console.json"


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as e:
        raise Fail(f"{file} cannot be read: {e}", "its rights, or move it away", Exit.USAGE) from e


def _end_with_parent(parent: int) -> None:
    """End this console when the process that serves it is gone, however that ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)  # for its connection to NATS; then it has had its time
    os._exit(1)


def _utf8() -> bool:
    return locale.getpreferredencoding(do_setlocale=False).lower().replace("-", "") == "utf8"
