"""doctor, verify, settings, restored, chaos: what is wrong, stored, set, broken on purpose."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag


def doctor(as_json: JsonFlag = False) -> None:
    """Look at every dependency and setting, one line each. Exit 1 if something is wrong."""
    from headway_ops import doctor as checks

    checks.run(as_json=as_json)


def verify(
    config: Annotated[
        str, typer.Option("--config", "-c", help="The engine's TOML file; HEADWAY_* wins over it.")
    ] = "",
    ns: Annotated[str, typer.Option("--ns", help="This namespace alone.")] = "",
    run: Annotated[str, typer.Option("--run", help="This run alone.")] = "",
    since: Annotated[
        str, typer.Option("--since", help='Runs made since: "2h", or an RFC 3339 time.')
    ] = "",
    settled: Annotated[
        bool, typer.Option("--settled", help="Everything should have come to rest.")
    ] = False,
    journal: Annotated[
        list[str] | None,
        typer.Option("--journal", help="A caller's journal (HEADWAY_JOURNAL); may be repeated."),
    ] = None,
    ledger: Annotated[
        list[str] | None,
        typer.Option("--ledger", help="What the outside world saw; may be repeated."),
    ] = None,
    nats: Annotated[bool, typer.Option("--nats/--no-nats", help="Read RUNS, WORK, LOGS.")] = True,
    blobs: Annotated[bool, typer.Option("--blobs/--no-blobs", help="Read large bodies.")] = True,
    logs: Annotated[bool, typer.Option("--logs/--no-logs", help="Read LOGS.")] = True,
    containers: Annotated[
        bool, typer.Option("--containers", help="Ask this host's Docker.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check every promise against what is stored. Exit 1 if one does not hold.

    Reads only, and is safe beside a busy system. Exit 5: Postgres (at an edge NATS)
    does not answer.
    """
    from headway_ops import verifying

    verifying.run(
        config=config, ns=ns, run_id=run, since=since, settled=settled, journals=journal or (),
        ledgers=ledger or (), nats=nats, blobs=blobs, logs=logs, containers=containers,
        as_json=as_json,
    )  # fmt: skip


def restored(as_json: JsonFlag = False) -> None:
    """Say that Postgres was set back to an older copy by hand."""
    from headway_ops import restored as floor

    floor.run(as_json=as_json)


def settings(as_json: JsonFlag = False) -> None:
    """Print every setting of engine and agent, as a sample TOML file."""
    from headway_ops import sample

    sample.run(as_json=as_json)


def contexts(as_json: JsonFlag = False) -> None:
    """List the named connections, for --context."""
    from headway_ops import named

    named.run(as_json=as_json)


def chaos(
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Parameters of the runs."),
    ] = None,
    duration: Annotated[str, typer.Option("--for", help="How long: 60s, 10m.")] = "60s",
    every: Annotated[str, typer.Option("--every", help="About one fault in this time.")] = "3s",
    kill: Annotated[
        str, typer.Option("--kill", help="What may be hit: engine,agent,task,nats,postgres.")
    ] = "engine,agent,task,nats,postgres",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The same seed, the same faults.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="Task to run meanwhile; may be repeated. Else the only one."),
    ] = None,
    rate: Annotated[float, typer.Option("--rate", help="Runs enqueued a second.")] = 2.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Kill parts of the stack here while its tasks run, then look.

    SIGKILL and SIGSTOP at random in the `headway up` of this folder, which starts again what dies;
    then `headway verify`. Exit 1 if an acknowledged run is lost, if after the last fault nothing
    moves for a minute, or if a promise is broken. Other stacks are refused.
    """
    from headway_ops.chaos import command

    command.run(
        command.Options(
            duration, every, kill, seed, tuple(task or ()), tuple(parameters or ()), rate, yes
        ),
        as_json=as_json,
    )
