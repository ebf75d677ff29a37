"""bench: the numbers to meet, each beside the raw limit of the same minute."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="This line only (save_1k, result ...); may be repeated."),
    ] = None,
    runtime: Annotated[str, typer.Option("--runtime", help="auto, docker or process.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Measure this machine, each number beside the raw limit. Exit 1 if one misses its target.

    Starts a stack of its own on free ports and removes it at the end; takes up to five minutes.
    """
    from headway_ops.bench import run_bench

    run_bench(only=tuple(only or ()), runtime=runtime, as_json=as_json)
