"""tui: the console."""

from __future__ import annotations

from typing import Annotated

import typer


def tui(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Open this run: its id, or a prefix of it.")
    ] = "",
    text: Annotated[
        str, typer.Option("--filter", "-f", help='Begin with this list: "status:failed since:2h".')
    ] = "",
    ascii_only: Annotated[
        bool,
        typer.Option("--ascii", help="ASCII signs; so also without UTF-8 in LANG."),
    ] = False,
    readonly: Annotated[
        bool, typer.Option("--readonly", help="Look only: nothing is changed.")
    ] = False,
    theme: Annotated[
        str, typer.Option("--theme", help="headway-dark, -light, -cb (colour-blind), -mono ...")
    ] = "headway-dark",
    mouse: Annotated[
        bool, typer.Option("--mouse/--no-mouse", help="Without, the terminal selects text.")
    ] = True,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve it to browsers of this machine; until Ctrl+C.")
    ] = False,
    at: Annotated[
        str, typer.Option("--serve-at", help="[HOST:]PORT for browsers; 0 = any that is free.")
    ] = "0",
    url: Annotated[
        str, typer.Option("--serve-url", help="https://NAME of a proxy with TLS in front of it.")
    ] = "",
    record: Annotated[
        str,
        typer.Option("--record-tty", metavar="FILE", help="Record the terminal: an asciicast."),
    ] = "",
    dump: Annotated[
        str,
        typer.Option(
            "--replay-events", metavar="FILE", help="Play what `headway watch --dump` printed."
        ),
    ] = "",
    speed: Annotated[
        float,
        typer.Option("--speed", min=0.01, max=10_000, help="So many times as fast as it happened."),
    ] = 1.0,
    keys: Annotated[
        bool, typer.Option("--keys", help="Print the keys in force as Markdown, and end.")
    ] = False,
) -> None:
    """The console: runs, timelines, logs and states, live. ? there explains the keys."""
    from headway_ops import console, quick

    if keys:
        console.print_keys()
        return
    opened = quick.Opened(run, text, theme, ascii_only=ascii_only, readonly=readonly, mouse=mouse,
                          record=record, dump=dump, speed=speed)  # fmt: skip
    if serve or at != "0" or url:
        console.serve_console(opened, at, url)
    else:
        console.open_console(opened)
