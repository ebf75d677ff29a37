"""ls, show, agents: what is there."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag, RunArgument


def ls(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="running, failed, live, ended ...; may be repeated."),
    ] = None,
    task: Annotated[str, typer.Option("--task", "-t", help="Task id, * as a glob.")] = "",
    queue: Annotated[str, typer.Option("--queue", "-q", help="Queue.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="With all of these tags.")] = None,
    since: Annotated[
        str, typer.Option("--since", help='Not older: "2h", or an RFC 3339 time.')
    ] = "",
    text: Annotated[str, typer.Option("--text", help="In id, task, tag or error.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List runs, newest first."""
    from headway_ops import looking

    looking.list_runs(
        tuple(status or ()), task, queue, tuple(tag or ()), since, text, limit, as_json=as_json
    )


def show(
    run: RunArgument,
    whole: Annotated[bool, typer.Option("--all", help="Every event, however many.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Tell one run: where it is and why, timeline, error, result."""
    from headway_ops import looking

    looking.show_run(run, whole=whole, as_json=as_json)


def agents(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the agents: alive, what they serve, how full they are."""
    if ctx.invoked_subcommand is not None:
        return
    from headway_ops import looking

    looking.list_agents(as_json=as_json)
