"""The group `replay`: one run again, or many by a script, a plan and a job."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag, RunArgument

ScriptArgument = Annotated[
    str, typer.Argument(metavar="SCRIPT", help="x.replay.toml, x.replay.py, or - for ids on stdin.")
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, rj_...")]
From = Annotated[str, typer.Option("--from", help="With -: where the forks start.")]
Once = Annotated[str, typer.Option("--once", help="With -: keep, ask, or clear:GLOB.")]


def run(
    target: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_SCRIPT", help="A run, a replay script, or a plan's .json."),
    ],
    clear: Annotated[
        list[str] | None,
        typer.Option("--clear", help="A run: glob of once keys that may happen again."),
    ] = None,
    version: Annotated[
        str, typer.Option("--version", help='A run: a version, or "original".')
    ] = "",
    queue: Annotated[str, typer.Option("--queue", help="A run: instead of its queue.")] = "",
    plan: Annotated[
        str, typer.Option("--plan", help="A script: the plan that it must come to.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="A script: do not ask.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="A script: wait for the end, judge, approve.")
    ] = False,
    junit: Annotated[str, typer.Option("--junit", help="A script: write JUnit XML there.")] = "",
    count: Annotated[
        int | None,
        typer.Option(
            "--count", help="A script that clears once marks: the number of runs, with --yes."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run again from the start: one run, or what a script says."""
    from headway_ops import replaying, steering

    if replaying.is_script(target):
        replaying.start(
            target, plan, yes=yes, follow=follow, junit=junit, as_json=as_json, typed=count
        )
    else:
        steering.replay(target, tuple(clear or ()), version, queue, as_json=as_json)


def plan(
    script: ScriptArgument,
    out: Annotated[str, typer.Option("--out", help="Write the plan there.")] = "",
    start: From = "last",
    once: Once = "keep",
    as_json: JsonFlag = False,
) -> None:
    """Show what a script would do; nothing is sent."""
    from headway_ops import replaying

    replaying.plan(script, out, start, once, as_json=as_json)


def explain(script: ScriptArgument, as_json: JsonFlag = False) -> None:
    """Print the plan that a script comes to, edits and all."""
    from headway_ops import replaying

    replaying.explain(script, as_json=as_json)


def ls(as_json: JsonFlag = False) -> None:
    """List the replay jobs."""
    from headway_ops import replaying

    replaying.jobs(as_json=as_json)


def status(job: JobArgument, as_json: JsonFlag = False) -> None:
    """Show a job and its items."""
    from headway_ops import replaying

    replaying.status(job, as_json=as_json)


def approve(job: JobArgument, as_json: JsonFlag = False) -> None:
    """Start what is left after a canary or a hold."""
    from headway.replays import jobs
    from headway_ops import replaying

    replaying.move(job, jobs.approve, as_json=as_json)


def hold(job: JobArgument, as_json: JsonFlag = False) -> None:
    """Start nothing more until it is approved; what runs goes on."""
    from headway.replays import jobs
    from headway_ops import replaying

    replaying.move(job, jobs.hold, as_json=as_json)


def stop(job: JobArgument, as_json: JsonFlag = False) -> None:
    """End a job: nothing more starts, what runs goes on."""
    from headway.replays import jobs
    from headway_ops import replaying

    replaying.move(job, jobs.stop, as_json=as_json)


def report(
    job: JobArgument,
    markdown: Annotated[bool, typer.Option("--md", help="As Markdown.")] = False,
    junit: Annotated[str, typer.Option("--junit", help="Write JUnit XML there.")] = "",
    script: Annotated[
        str, typer.Option("--script", help="A Python script whose check() judges too.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Judge a job's forks by its checks."""
    from headway_ops import replaying

    replaying.report(job, script, junit, markdown=markdown, as_json=as_json)


def compare(
    original: RunArgument,
    other: Annotated[str, typer.Argument(metavar="FORK", help="Run id, or a prefix.")],
    only: Annotated[
        str, typer.Option("--only", help="numbers, checkpoints, state, output; with commas.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Two runs side by side, by the names of checkpoints."""
    from headway_ops import comparing

    comparing.compare(original, other, only, as_json=as_json)
