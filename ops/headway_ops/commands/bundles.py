"""export, open: a run as a file."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag, RunArgument

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A bundle: see `export`.")]


def export(
    run: RunArgument,
    to: Annotated[
        str, typer.Option("--output", "-o", help="The file; - for stdout. RUN.headway.zip.")
    ] = "",
    tree: Annotated[bool, typer.Option("--tree", help="With its child runs, and theirs.")] = False,
    no_logs: Annotated[bool, typer.Option("--no-logs", help="Without its output.")] = False,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="Without states and recorded values.")
    ] = False,
    secrets: Annotated[
        list[str] | None,
        typer.Option(
            "--secrets",
            help="A provider file (NAME=value, or TOML) whose values must not be in it.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """A run as one file, to look at or to fork elsewhere."""
    from headway.config import from_environment
    from headway_ops import exporting

    known = exporting.secrets_in(secrets or (), from_environment().nats_url)
    wanted = exporting.Wanted(not no_logs, not no_state, tree, known)
    exporting.export(run, to, wanted, force=force, as_json=as_json)


def open_(
    file: FileArgument,
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Another run of a tree; a prefix will do.")
    ] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="As text, as in a pipe; not in the console.")
    ] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Its output instead, as text.")] = False,
    as_json: JsonFlag = False,
    ascii_only: Annotated[
        bool, typer.Option("--ascii", help="ASCII signs; so also without UTF-8 in LANG.")
    ] = False,
    theme: Annotated[
        str, typer.Option("--theme", help="headway-dark, -light, -cb (colour-blind), -mono ...")
    ] = "headway-dark",
) -> None:
    """Look at an exported run in the console, without any server."""
    from headway_ops import opening

    opening.open_bundle(
        file, run, plain=plain, logs=logs, as_json=as_json, theme=theme, ascii_only=ascii_only
    )
