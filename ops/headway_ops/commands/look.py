"""ls, show, dead, advice, metrics, usage, agents: what is there."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from headway_ops.commands.options import JsonFlag, RunArgument

OfSite = Annotated[
    str, typer.Option("--site", help="At a hub: of this site alone, or - for the hub's own.")
]


def _begun(incomplete: str) -> list[str]:
    """How a word of a query may go on."""
    from headway.query import completions

    return completions(incomplete)


def ls(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]",
            help="What runs: 'status:failed task:research-* since:2h !tag:canary'.",
            autocompletion=_begun,
        ),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="Short for status:running; may be repeated."),
    ] = None,
    task: Annotated[str, typer.Option("--task", "-t", help="Short for task:NAME.")] = "",
    queue: Annotated[str, typer.Option("--queue", "-q", help="Short for queue:NAME.")] = "",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Short for tag:TAG; all of them.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", help="Short for since:2h; or a time, local without a zone.")
    ] = "",
    text: Annotated[str, typer.Option("--text", help="Short for a bare word.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    sort: Annotated[
        Literal["newest", "oldest"], typer.Option("--sort", help="Which come first.")
    ] = "newest",
    ids: Annotated[bool, typer.Option("--ids", help="Print ids alone, one a line.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the runs that a query means, newest first."""
    from headway_ops import looking, querying

    asked = querying.canonical(query or (), status or (), task, queue, tag or (), since, text)
    looking.list_runs(asked, limit, sort, ids=ids, as_json=as_json)


def show(
    run: RunArgument,
    whole: Annotated[bool, typer.Option("--all", help="Every event, however many.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Tell one run: where it is and why, timeline, error, result."""
    from headway_ops import looking

    looking.show_run(run, whole=whole, as_json=as_json)


def dead(
    by: Annotated[
        Literal["task", "error"], typer.Option("--by", help="An error of one task, or of all.")
    ] = "task",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="At most so many classes.")
    ] = 50,
    site: OfSite = "",
    as_json: JsonFlag = False,
) -> None:
    """List failures that nobody has acknowledged, by class."""
    from headway_ops import looking

    looking.list_dead(by, limit, site, as_json=as_json)


def agents(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the agents: alive, what they serve, how full they are."""
    if ctx.invoked_subcommand is not None:
        return
    from headway_ops import looking

    looking.list_agents(as_json=as_json)


def sites(
    site: Annotated[
        str, typer.Argument(metavar="[SITE]", help="One of them, with what waits for it.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """List a hub's sites: linked or cut off, and what waits for them."""
    from headway_ops import sites as listing

    listing.list_sites(site, as_json=as_json)


def advice(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's id.")],
    as_json: JsonFlag = False,
) -> None:
    """Judge a task's checkpoints by its last runs.

    Their size and growth, how long saving takes, and the work that was redone after crashes.
    """
    from headway_ops import advising

    advising.advise(task, as_json=as_json)


def metrics(
    last: Annotated[
        int, typer.Option("--last", min=60, max=900, help="Seconds, of the 900 that engines keep.")
    ] = 900,
    as_json: JsonFlag = False,
) -> None:
    """Show what engines and agents did: rates, waits, curves."""
    from headway_ops import looking

    looking.show_metrics(last, as_json=as_json)


def usage(
    by: Annotated[
        Literal["task", "model", "run", "day"], typer.Option("--by", help="A line for each.")
    ] = "task",
    task: Annotated[str, typer.Option("--task", "-t", help="Of this task alone.")] = "",
    model: Annotated[str, typer.Option("--model", help="Of this model alone.")] = "",
    since: Annotated[
        str, typer.Option("--since", help="Told since: 24h; or a time, local without a zone.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 50,
    site: OfSite = "",
    as_json: JsonFlag = False,
) -> None:
    """Sum the tokens and dollars that runs used of models."""
    from headway_ops import looking

    looking.show_usage(by, task, model, since, limit, site, as_json=as_json)
