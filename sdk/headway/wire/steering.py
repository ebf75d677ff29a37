"""What changes runs and agents on `hw.api`: cancel, resume, ack, tag, bulk, replay, drain."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.wire import Instant
from headway.wire.fields import Name, RunId, Tags, Text


class CancelAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`cancel`. A cancel of an id that is not known yet is kept and honoured by intake."""

    run: RunId
    reason: Text = ""


class ResumeAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`resume`: the next attempt now, for RETRYING, REVIEW, DELAYED and held runs."""

    run: RunId
    once: dict[str, Literal["done", "rerun", "fail"]] = {}
    """Decisions on ambiguous once marks, by key; `fail` ends the run."""
    values: dict[str, Raw] = {}
    """The value of a mark that is set done."""
    override: bool = False
    """Decide although an older attempt is not confirmed dead; it is recorded."""
    request: Annotated[str, Meta(max_length=64)] = ""
    """Made by the caller, recorded with what it does: the same one again is `already`."""
    budget_usd: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    """Of a run in REVIEW for its budget: what it may use now, in all; 0 = as before."""
    budget_tokens: Annotated[int, Meta(ge=0, le=2**53)] = 0


class AckAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`ack`: a person has seen this failure: it is no dead letter any more."""

    run: RunId
    undo: bool = False
    """Take that back; recorded like the other."""


class TagAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`tag`: add tags to a run and remove others, whatever its state; it moves nothing.

    What is so already is left; if all of it is, the answer is `already`. A tag in both is refused,
    and so is what would leave the run with more tags than an enqueue may give.
    """

    run: RunId
    add: Tags = ()
    remove: Tags = ()


class DeadAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`dead`: failures that nobody has acknowledged, by class."""

    by: Literal["task", "error"] = "task"
    """`task`: a class is an error of one task; `error`: of all tasks together."""
    n: Annotated[int, Meta(ge=1, le=1000)] = 200
    site: Text = ""
    """At a hub: a site's alone, `-` its own alone; empty = of all."""


class DeadClass(Struct, omit_defaults=True):
    """Failures that look alike."""

    failure: str
    """The type of the error."""
    task: str
    """With several tasks the first one by name."""
    count: int
    first_at: Instant
    last_at: Instant
    sample: str
    """Id of the run that failed last."""
    tasks: int = 1
    checkpoint: int = 0
    """The last checkpoint of most of its newest 200 runs; 0 = they have none."""
    checkpoint_name: str = ""
    message: str = ""
    """Of the sample's error."""
    site: str = ""
    """At a hub: whose runs they are, `-` its own; a class never holds those of two."""


class DeadPage(Struct, omit_defaults=True):
    """The answer of `dead`: the largest class first."""

    classes: list[DeadClass]
    as_of: Instant
    total: int = 0
    """Runs of all classes."""
    more: int = 0
    """Classes that are not listed."""


class BulkAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`bulk`: which runs cancel, resume, ack or tag would change, oldest first; it changes none.

    The first request has no `as_of`; those after it repeat the one of its answer, so that relative
    times stand still and nothing that was made since is meant, and go on after `next`. What is to
    be done about them is a plan (`plan-start`) that names them.
    """

    verb: Literal["cancel", "resume", "ack", "tag"]
    query: Annotated[str, Meta(max_length=8192)] = ""
    """In the query language, or:"""
    ids: Annotated[tuple[RunId, ...], Meta(max_length=1000)] = ()
    as_of: Instant | None = None
    after: Annotated[str, Meta(max_length=26)] = ""


class BulkPage(Struct, omit_defaults=True):
    """The answer of `bulk`: a page of runs that the verb can change."""

    as_of: Instant
    runs: list[str] = []
    next: str = ""
    """Empty = that was the last page."""


class ReplayAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`replay`: a new run, same payload, from the start; done once marks and tokens are kept."""

    run: RunId
    new_run: RunId
    """Made by the caller: asking twice makes one run."""
    clear: tuple[str, ...] = ()
    """Globs of once keys to forget."""
    version: str = ""
    """Empty = the current one; `original` = the version it ran with."""
    queue: Name | None = None


class DrainAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`agent-drain`: the agent takes nothing new until it is undone, over its restarts too."""

    agent: Name
    undo: bool = False
    now: bool = False
    """Give running attempts back, after their next checkpoint or their grace; no retry is used."""
    reason: Text = ""
    """For those who see it drained: why."""
