"""Options that several commands share, and those before the command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headway_ops import quick

JsonFlag = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Run id, or a prefix that is its own.")
]
QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")]
Targets = Annotated[
    list[str],
    typer.Argument(metavar="MODULE_OR_FILE...", help="Where the tasks are: app.py, pkg.mod."),
]


def _contexts(incomplete: str) -> list[str]:
    """Their names."""
    from headway import contexts

    return [name for name in contexts.names() if name.startswith(incomplete)]


def _version(shown: bool) -> None:
    if shown:
        from headway._version import __version__

        sys.stdout.write(f"headway {__version__}\n")
        raise typer.Exit(0)


def root(
    nats_url: Annotated[
        str, typer.Option("--nats-url", help="Where NATS is (HEADWAY_NATS_URL).")
    ] = "",
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", help="Project and environment (HEADWAY_NAMESPACE)."),
    ] = "",
    context: Annotated[
        str,
        typer.Option(
            "--context", help="A named connection (HEADWAY_CONTEXT).", autocompletion=_contexts
        ),
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and end.")
    ] = False,
) -> None:
    """Durable tasks on NATS JetStream, watched and steered from the terminal."""
    quick.set_environment(
        {"HEADWAY_NATS_URL": nats_url, "HEADWAY_NAMESPACE": namespace, "HEADWAY_CONTEXT": context}
    )
