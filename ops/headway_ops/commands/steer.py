"""cancel, resume, ack, tag, fork, queue, agents drain: change what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headway_ops.commands.options import JsonFlag, QueueArgument

if TYPE_CHECKING:
    from headway.replays.moving import Verb
    from headway.tags import Retag

OneRun = Annotated[
    str, typer.Argument(metavar="[RUN]", help="Run id, or a prefix that is its own.")
]
Query = Annotated[
    str, typer.Option("--query", help="Instead of RUN: all runs that it means, by the engine.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --query: only count.")]
Yes = Annotated[bool, typer.Option("--yes", help="With --query: do not ask.")]
Expect = Annotated[
    int | None,
    typer.Option("--expect", min=0, help="With --query: only if so many runs match."),
]
Reason = Annotated[
    str, typer.Option("--reason", help="Shown to everybody who looks at it.", metavar="TEXT")
]
Create = Annotated[bool, typer.Option("--create", help="Although nobody knows this queue yet.")]


def cancel(
    run: OneRun = "",
    reason: Annotated[str, typer.Option("--reason", help="For the audit trail.")] = "",
    query: Query = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    as_json: JsonFlag = False,
) -> None:
    """Cancel a run, or all that a query means: final."""
    from headway_ops import steering

    if _by_query(run, query, dry_run=dry_run, yes=yes, expect=expect):
        _bulk("cancel", query, (yes, expect, dry_run), reason, as_json=as_json)
    else:
        steering.cancel(run, reason, as_json=as_json)


def _by_query(
    run: str | list[str], query: str, *, dry_run: bool, yes: bool, expect: int | None
) -> bool:
    """True if a query says which runs; raises Fail unless exactly one of the two does."""
    from headway_ops.say import Exit, Fail

    if bool(run) == bool(query.strip()):
        raise Fail("which runs?", "give RUN, or --query '...'", Exit.USAGE)
    if run and (dry_run or yes or expect is not None):
        raise Fail("--dry-run, --yes and --expect go with --query", "leave them out", Exit.USAGE)
    return not run


def _bulk(
    verb: Verb,
    query: str,
    consent: tuple[bool, int | None, bool],
    reason: str = "",
    tags: Retag | None = None,
    *,
    as_json: bool,
) -> None:
    from headway_ops import bulk, querying

    canonical = querying.canonical([query])
    bulk.bulk(verb, canonical, bulk.Consent(*consent), reason, tags, as_json=as_json)


def resume(
    run: OneRun = "",
    once: Annotated[
        list[str] | None,
        typer.Option(
            "--once", help="Decide on an ambiguous once mark: KEY=done, KEY=rerun or KEY=fail."
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option("--value", help="What the once block gives, with KEY=done: KEY=JSON."),
    ] = None,
    override: Annotated[
        bool,
        typer.Option("--override", help="Although an older attempt is not confirmed dead."),
    ] = False,
    budget: Annotated[
        float,
        typer.Option("--budget", min=0, max=1e9, help="Dollars it may use now, in all; see usage."),
    ] = 0.0,
    budget_tokens: Annotated[
        int, typer.Option("--budget-tokens", min=0, help="Tokens that it may use now, in all.")
    ] = 0,
    query: Query = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    as_json: JsonFlag = False,
) -> None:
    """Next attempt now, of a run or of all of a query."""
    from headway_ops import steering
    from headway_ops.say import Exit, Fail

    if not _by_query(run, query, dry_run=dry_run, yes=yes, expect=expect):
        steering.resume(
            run, once or [], value or [], override=override, budget=(budget, budget_tokens),
            as_json=as_json,
        )  # fmt: skip
        return
    if once or value or override or budget or budget_tokens:
        raise Fail("decisions are made run by run", "leave --query out", Exit.USAGE)
    _bulk("resume", query, (yes, expect, dry_run), as_json=as_json)


def ack(
    run: OneRun = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Take it back: a dead letter again; RUN only.")
    ] = False,
    query: Query = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    as_json: JsonFlag = False,
) -> None:
    """Acknowledge a failure, or all of a query: seen."""
    from headway_ops import steering
    from headway_ops.say import Exit, Fail

    if not _by_query(run, query, dry_run=dry_run, yes=yes, expect=expect):
        steering.ack(run, undo=undo, as_json=as_json)
        return
    if undo:
        raise Fail("it is taken back run by run", "leave --query out", Exit.USAGE)
    _bulk("ack", query, (yes, expect, dry_run), as_json=as_json)


def tag(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Run ids, or prefixes that are their own."),
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="TAG", help="May be repeated.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="TAG", help="May be repeated.")
    ] = None,
    query: Query = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    as_json: JsonFlag = False,
) -> None:
    """Change the tags of runs, or of all of a query; ended ones too."""
    from headway.tags import Retag
    from headway_ops import steering
    from headway_ops.say import Exit, Fail

    tags = Retag(tuple(add or ()), tuple(remove or ()))
    if tags.flaw:
        raise Fail(tags.flaw, "--add TAG, --remove TAG", Exit.USAGE)
    if _by_query(runs or [], query, dry_run=dry_run, yes=yes, expect=expect):
        _bulk("tag", query, (yes, expect, dry_run), "", tags, as_json=as_json)
    else:
        steering.tag(runs or [], tags, as_json=as_json)


def fork(
    run: Annotated[
        str,
        typer.Argument(metavar="[RUN]", help="Run id, or a prefix; with --bundle one of a tree."),
    ] = "",
    start: Annotated[
        str,
        typer.Option("--from", help='last, start, "#7", "name:turn-*" or before-error.'),
    ] = "last",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="state.PATH=JSON or payload.PATH=JSON; null removes."),
    ] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Edit the state in $EDITOR.")] = False,
    edit_payload: Annotated[
        bool, typer.Option("--edit-payload", help="Edit the payload in $EDITOR.")
    ] = False,
    clear: Annotated[
        list[str] | None,
        typer.Option("--clear", help="Glob of once keys that may happen again."),
    ] = None,
    version: Annotated[
        str, typer.Option("--version", help='A version, or "original"; default the current.')
    ] = "",
    queue: Annotated[str, typer.Option("--queue", help="Instead of the run's queue.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="One more tag.")] = None,
    bundle: Annotated[
        str, typer.Option("--bundle", help="Of an exported run (see `export`), on this system.")
    ] = "",
    with_masks: Annotated[
        bool,
        typer.Option("--with-masks", help="With --bundle: although secrets were taken out of it."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """A new run from a checkpoint of an old one, maybe edited."""
    from headway_ops import forking
    from headway_ops.say import Exit, Fail

    wish = forking.Wish(
        start, tuple(setting or ()), edit, edit_payload, tuple(clear or ()), version, queue,
        tuple(tag or ()),
    )  # fmt: skip
    if bundle:
        from headway_ops import bundleforking

        bundleforking.fork(bundle, run, wish, masks=with_masks, as_json=as_json)
        return
    if not run or with_masks:
        raise Fail(
            "which run?", "give RUN, or --bundle FILE (--with-masks goes with it)", Exit.USAGE
        )
    forking.fork(run, wish, as_json=as_json)


def queue_ls(as_json: JsonFlag = False) -> None:
    """List the queues."""
    from headway_ops import looking

    looking.list_queues(as_json=as_json)


def queue_pause(
    queue: QueueArgument, reason: Reason = "", create: Create = False, as_json: JsonFlag = False
) -> None:
    """Start nothing more from a queue; what runs goes on."""
    from headway_ops import steering

    steering.set_queue(queue, paused=True, reason=reason, create=create, as_json=as_json)


def queue_resume(queue: QueueArgument, as_json: JsonFlag = False) -> None:
    """Start runs from a paused queue again."""
    from headway_ops import steering

    steering.set_queue(queue, paused=False, as_json=as_json)


def queue_limit(
    queue: QueueArgument,
    limit: Annotated[int, typer.Argument(metavar="LIMIT", min=0, help="At once; 0 = no limit.")],
    key_limit: Annotated[
        int, typer.Option("--per-key", min=-1, help="At once per limit key; 0 = no limit.")
    ] = -1,
    create: Create = False,
    as_json: JsonFlag = False,
) -> None:
    """Change how many runs of a queue may be open at once."""
    from headway_ops import steering

    steering.set_queue(
        queue, limit=limit, key_limit=None if key_limit < 0 else key_limit, create=create,
        as_json=as_json,
    )  # fmt: skip


def agents_drain(
    agent: Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it take runs again.")] = False,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="Do not wait for what runs: it goes on elsewhere, after its next checkpoint or"
            " when its grace is over. No retry is used.",
        ),
    ] = False,
    reason: Reason = "",
    as_json: JsonFlag = False,
) -> None:
    """Give an agent nothing new until it is undone; what it runs goes on to its end."""
    from headway_ops import steering

    steering.drain(agent, undo=undo, now=now, reason=reason, as_json=as_json)
