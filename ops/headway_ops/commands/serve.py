"""up, demo, engine, agent: what keeps running."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops import quick
from headway_ops.commands.options import JsonFlag

Config = Annotated[str, typer.Option("--config", "-c", help="TOML file; HEADWAY_* wins over it.")]
StateDir = Annotated[str, typer.Option("--state-dir", help="Where its data lies.")]
Edge = Annotated[
    bool, typer.Option("--edge", help="NATS alone keeps everything; tasks run as processes.")
]
Runtime = Annotated[str, typer.Option("--runtime", help="auto, docker or process.")]


def up(
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", help="File or module with tasks, watched; may be repeated."),
    ] = None,
    state_dir: StateDir = ".headway",
    runtime: Runtime = "auto",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of NATS; 0 = 4222, or a free one.")
    ] = 0,
    postgres_port: Annotated[
        int,
        typer.Option(
            "--postgres-port", min=0, max=65535, help="Also on TCP; 0 = unix socket only."
        ),
    ] = 0,
    slots: Annotated[int, typer.Option("--slots", min=1, help="Containers at once.")] = 8,
    edge: Edge = False,
    once_ready_cmd: Annotated[
        str, typer.Option("--once-ready-cmd", help="Run this when ready, then end with its code.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Everything on this machine: NATS, Postgres, engine, agent. Ctrl+C stops it."""
    from headway_ops.local import up as stack

    quick.no_context("up", own=True)
    stack.run(
        stack.Options(
            tasks=tuple(tasks or ()), state_dir=state_dir, runtime=runtime, port=port,
            postgres_port=postgres_port, slots=slots, edge=edge, once_ready_cmd=once_ready_cmd,
        ),
        as_json=as_json,
    )  # fmt: skip


def demo(
    runtime: Runtime = "auto",
    questions: Annotated[int, typer.Option("--questions", min=1, help="At most so many.")] = 3,
    reports: Annotated[str, typer.Option("--reports", help="Write the reports here too.")] = "",
    tui: Annotated[
        bool, typer.Option("--tui", help="Watch it in the console; quit there to see the end.")
    ] = False,
    edge: Edge = False,
) -> None:
    """Research runs on their own stack; one is killed and goes on."""
    from headway_ops import demo as show

    quick.no_context("demo", own=True)
    show.run(runtime=runtime, questions=questions, reports=reports, tui=tui, edge=edge)


def engine(
    config: Config = "",
    roles: Annotated[
        str,
        typer.Option(
            "--roles",
            help="Only these, by commas: intake, dispatch, agents, timers, api, upkeep."
            " Each must run somewhere.",
        ),
    ] = "",
    with_agent: Annotated[
        bool,
        typer.Option("--with-agent", help="And the agent of these settings, in this process."),
    ] = False,
) -> None:
    """The engine: intake, dispatch, checkpoints, timers, control."""
    from headway_ops import serving

    quick.no_context("engine", own=False)
    serving.engine(config, roles, with_agent=with_agent)


def agent(config: Config = "") -> None:
    """The agent of a host: starts containers and relays for them."""
    from headway_ops import serving

    quick.no_context("agent", own=False)
    serving.agent(config)
