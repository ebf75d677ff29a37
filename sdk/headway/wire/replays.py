"""What is asked about forks and replay jobs on `hw.api`, and the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.wire import DURATION_LIMIT, NOTHING, BlobRef, Instant
from headway.wire.fields import Name, RunId, Tags, Text


class BodyEdit(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A change of a state or payload: exactly one of the three is given."""

    patch: Raw = NOTHING
    """A JSON merge patch (RFC 7396): null removes a member, an array is replaced whole."""
    value: Raw = NOTHING
    """The whole new body."""
    ref: BlobRef | None = None
    """A whole new body that was uploaded for the new run (`blob-put`)."""


class ForkAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`fork`: a new run from a checkpoint of one that has ended, or is in review.

    Checkpoints up to that one are kept, steps recorded before it too, and all done once marks with
    their tokens, unless a glob clears them.
    """

    run: RunId
    new_run: RunId
    """Made by the caller: asking twice makes one run."""
    start: Text = "last"
    """`start`, `last`, `#7`, `name:turn-*` (the last that fits) or `before-error`."""
    missing: Literal["error", "start"] = "error"
    """If there is no such checkpoint: refuse, or begin at the start."""
    state: BodyEdit | None = None
    """Of the checkpoint that it starts from."""
    payload: BodyEdit | None = None
    clear: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    """Globs of once keys whose done marks are forgotten: these effects may happen again."""
    version: Text = ""
    """Empty = the current one; `original` = the version it ran with."""
    queue: Name | None = None
    tags: Tags = ()
    """Beside those of the original."""
    dry_run: bool = False
    """Check it, and say what would come of it; nothing is made."""


class Forked(Struct, omit_defaults=True):
    """The answer of `fork`."""

    run: str
    outcome: str
    """`ok`, `already`: this new id was forked from this run before, or `planned`: a dry run."""
    status: str = ""
    checkpoint: int = 0
    """It starts from this one; 0 = from the start."""
    name: str = ""
    kept: tuple[str, ...] = ()
    """Once keys that stay done."""
    cleared: tuple[str, ...] = ()
    """Once keys that may happen again, under new tokens."""
    checked: Literal["", "ok", "unlike"] = ""
    """Of an edited state: it fits the task's state type; `unlike`: what it was made of does not,
    so nothing can be said. Empty: not edited, or the task has no state type registered."""


# --- plans and jobs


class SourcesAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`plan-rows`: what a plan has to know of runs, a page at a time, newest first."""

    query: Annotated[str, Meta(max_length=8192)] = ""
    """In the query language, or:"""
    ids: Annotated[tuple[RunId, ...], Meta(max_length=1000)] = ()
    start: Text = "last"
    """As ForkAsk.start: which checkpoint is meant."""
    after: Annotated[str, Meta(max_length=32)] = ""
    """`next` of the page before."""
    n: Annotated[int, Meta(ge=1, le=1000)] = 1000
    keys: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    """Members of the state that an edit sets: which of them are not there yet?"""


class Source(Struct, omit_defaults=True):
    """A run as a plan sees it."""

    run: str
    status: str
    checkpoint: int = 0
    """The one that is meant; 0 = it keeps none."""
    once: tuple[str, ...] = ()
    """Keys of done once marks."""
    job: str = ""
    """The last job that has forked it already."""
    again: dict[str, int] = {}
    """Functions of steps that were recorded after that checkpoint: they run again, so many each."""
    lacks: tuple[str, ...] = ()
    """Of the keys that were asked about: what the state has no member for. Not told of a state that
    lies in the blob store."""
    seconds: float = 0.0
    """How long it took, from its first start to its end."""
    since: Instant | None = None
    """Of one that has not ended: when its last event was."""


class SourcesPage(Struct, omit_defaults=True):
    """The answer of `plan-rows`."""

    rows: list[Source]
    next: str = ""
    """`after` of the next page; empty = this was the last one."""


class Pace(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How fast a job starts its items."""

    rate: Annotated[float, Meta(gt=0, le=1000)] = 5.0
    """Items a second."""
    max_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 10
    canary: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Start so many, then wait for an approval; 0 = no canary."""
    stop_after_failures: Annotated[int, Meta(ge=0, le=100_000)] = 3
    """Stop after so many new failures in a row; 0 = never."""
    timeout: Annotated[float, Meta(ge=0, le=DURATION_LIMIT)] = 0.0
    """Seconds after which nothing more is started; 0 = none."""


class Check(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is expected of each fork; judged on the operator's machine."""

    expect: Annotated[str, Meta(max_length=1000)]
    severity: Literal["fail", "warn"] = "fail"


class PlanItem(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fork of a plan."""

    run: RunId
    checkpoint: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    """It starts from this one; 0 = from the start."""
    state: BodyEdit | None = None
    payload: BodyEdit | None = None


class Plan(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a job will do, as data. Its name is the sha256 of its canonical JSON."""

    items: Annotated[tuple[PlanItem, ...], Meta(min_length=1, max_length=100_000)]
    name: Text = ""
    clear: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    """Globs of once keys that may happen again; empty = all done marks are kept."""
    image: Text = ""
    """As ForkAsk.version."""
    queue: Name | None = None
    tags: Tags = ()
    """Of the forks, beside those of their originals; of `tag`: those to add."""
    pace: Pace = Pace()
    checks: Annotated[tuple[Check, ...], Meta(max_length=100)] = ()
    max_failed: Annotated[int, Meta(ge=0)] = 0
    """The gate: more failed items than this, and the report is red."""
    mode: Literal["fork", "resume", "cancel", "ack", "tag"] = "fork"
    """`resume`: the next attempt of runs that have not ended; `cancel`, `ack`, `tag`: what these
    verbs do. There are no new runs then."""
    follow: bool = True
    """Of `resume`: an item has ended when its run has; false: as soon as the run was moved, as it
    always is with `cancel`, `ack` and `tag`."""
    reason: Text = ""
    """Of `cancel`."""
    planned_at: Instant | None = None
    """Tells a plan that moves runs from the same one of another time: when they were counted, or,
    of a script, when the last of them came to where it is."""
    untag: Tags = ()
    """Of `tag`: those to remove."""
    format: Literal[1] = 1


class PlanStart(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`plan-start`: a job of this plan. Sending a plan twice starts nothing twice."""

    sha256: str
    """The plan's name: it must be that of the body."""
    plan: Raw = NOTHING
    """The Plan as canonical JSON, or:"""
    run: str = ""
    ref: BlobRef | None = None
    """Where it was uploaded, under this made-up run id, if it is large."""


class JobAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`job`, `job-approve`, `job-hold`, `job-stop`: about one job."""

    job: Annotated[str, Meta(max_length=32)]
    after: Annotated[int, Meta(ge=0)] = 0
    """`job`: items with a number above it."""
    n: Annotated[int, Meta(ge=0, le=1000)] = 1000


class JobRow(Struct, omit_defaults=True):
    """One replay job."""

    job: str
    plan: str
    """The plan's sha256."""
    state: str
    """running | canary (waits for an approval) | held | stopped | done."""
    items: int
    at: Instant
    name: str = ""
    actor: str = ""
    reason: str = ""
    """Why it was stopped or is held."""
    approved: bool = False
    waiting: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    """Forks that ended in another way, and items that could not be forked."""
    ended_at: Instant | None = None
    mode: str = "fork"
    """As Plan.mode: new runs, or what becomes of the runs themselves."""
    follow: bool = True
    """False: an item has ended as soon as its run was moved, and that is all that was meant."""


class JobItem(Struct, omit_defaults=True):
    """One item of a job."""

    number: int
    run: str
    fork: str
    """The new run's id, known before it is made."""
    state: str
    """waiting | started | ended | refused."""
    checkpoint: int = 0
    status: str = ""
    """Of the fork, once it has ended; `done`: its run was moved, and that is all that was meant."""
    reason: str = ""


class JobDetail(Struct, omit_defaults=True):
    """The answer of `job`."""

    row: JobRow
    items: list[JobItem] = []
    pace: Pace = Pace()
    checks: tuple[Check, ...] = ()
    max_failed: int = 0


class JobsPage(Struct, omit_defaults=True):
    """The answer of `jobs`: newest first."""

    jobs: list[JobRow]
