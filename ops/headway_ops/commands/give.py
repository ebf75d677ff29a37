"""enqueue, run: give work to Headway."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Task id.")]
Parameters = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Parameters: JSON where it is, else text."),
]
Payload = Annotated[
    str, typer.Option("--payload", help="All parameters as a JSON object, or @file, or @- (stdin).")
]
Key = Annotated[str, typer.Option("--key", help="Idempotency key: the same key, the same run.")]
Delay = Annotated[str, typer.Option("--delay", help='Start later: "90s", "10m", "1h30m".')]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.")]
Queue = Annotated[str, typer.Option("--queue", help="Instead of the task's own queue.")]
Priority = Annotated[int, typer.Option("--priority", help="Higher goes first, -1000 to 1000.")]

Site = Annotated[
    str, typer.Option("--site", help="A site of this hub: it gets the run when there is a link.")
]
SiteTtl = Annotated[
    str, typer.Option("--site-ttl", help='So long it waits for the site: "2h"; else a day.')
]


def enqueue(
    task: TaskArgument,
    parameters: Parameters = None,
    payload: Payload = "",
    key: Key = "",
    delay: Delay = "",
    tag: Tags = None,
    queue: Queue = "",
    priority: Priority = 0,
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, help="So many runs.")] = 1,
    site: Site = "",
    site_ttl: SiteTtl = "",
    each: Annotated[
        str,
        typer.Option("--each", help="A run for each line of FILE (-: stdin), a JSON object each."),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Enqueue a run of a task; prints its id.

    Several runs (--count, --each) with --key have the keys KEY-1, KEY-2 ...: what was interrupted
    can be repeated, and nothing is enqueued twice.
    """
    from headway_ops import giving

    payloads = giving.many_of(each, count, payload, parameters or [])
    ask = giving.Ask(task, payloads[0], key, delay, tuple(tag or ()), queue, priority, site,
                     site_ttl)  # fmt: skip
    giving.enqueue(ask, payloads, as_json=as_json)


def run(
    task: TaskArgument,
    parameters: Parameters = None,
    payload: Payload = "",
    key: Key = "",
    delay: Delay = "",
    tag: Tags = None,
    queue: Queue = "",
    priority: Priority = 0,
    site: Site = "",
    site_ttl: SiteTtl = "",
    as_json: JsonFlag = False,
) -> None:
    """Enqueue and follow: timeline and logs live, then the result. Exit 1 if the run failed.

    Ctrl+C stops the watching only; the run goes on. With --site it is said while there is no link;
    exit 4 if the site refuses it or hears of it too late.
    """
    from headway_ops import giving

    ask = giving.Ask(task, giving.payload_of(payload, parameters or []), key, delay,
                     tuple(tag or ()), queue, priority, site, site_ttl)  # fmt: skip
    giving.enqueue_and_follow(ask, as_json=as_json)
