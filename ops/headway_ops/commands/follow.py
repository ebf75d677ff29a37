"""watch, logs, result: follow what happens."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag, RunArgument


def watch(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Run id or prefix; without one, all runs.")
    ] = "",
    dump: Annotated[
        bool,
        typer.Option(
            "--dump",
            help="All as JSON: events, output, spans, saved states; `headway tui --replay-events`"
            " plays it.",
        ),
    ] = False,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Words alone: no signs, no colours; for screen readers."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print what happens as it happens; with RUN also what was before."""
    from headway_ops import following

    following.watch(run, dump=dump, plain=plain, as_json=as_json)


def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run ends.")] = False,
    attempt: Annotated[
        int, typer.Option("--attempt", min=0, help="Of this epoch alone; 0 = all.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Print a run's output; missing lines are said to be missing."""
    from headway_ops import following

    following.logs(run, follow=follow, attempt=attempt, as_json=as_json)


def trace(
    run: RunArgument,
    attempt: Annotated[
        int, typer.Option("--attempt", min=0, help="Of this epoch alone; 0 = all.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Print a run's OpenTelemetry spans as a waterfall."""
    from headway_ops import tracing

    tracing.trace(run, attempt=attempt, as_json=as_json)


def result(
    run: RunArgument,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until the run has ended.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.0, help="With --wait: seconds, 0 = no end.")
    ] = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Print a run's result as JSON. Exit 1 if it failed or has none yet."""
    from headway_ops import following

    following.result(run, wait=wait, timeout=timeout, as_json=as_json)
