"""What run bundles need on `hw.api`: reading what no other verb tells, and forking from a file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.wire import KEY_LIMIT, NOTHING, BlobRef, ErrorInfo, Instant
from headway.wire.fields import Name, Priority, RunId, Tags, Text
from headway.wire.fleet import DeploymentRow, TaskSpec

MARKS_LIMIT = 10_000
"""Marks that a fork from a bundle takes along."""
_Key = Annotated[str, Meta(min_length=1, max_length=KEY_LIMIT)]
_Number = Annotated[int, Meta(ge=0, lt=2**31)]


class BundleAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`bundle`: what a bundle of a run holds beside the answers of the other verbs."""

    run: RunId
    after: Annotated[str, Meta(max_length=KEY_LIMIT)] = ""
    """Marks with a key above it."""


class BundleMark(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A recorded step, once mark, wait or child, with its value."""

    key: _Key
    kind: Literal["step", "once", "sleep", "wait", "call", "enqueue"]
    at: Instant
    fn: Text = ""
    status: Text = "done"
    token: Text = ""
    after: _Number = 0
    """Number of the last checkpoint before it."""
    epoch: int = 0
    size: Annotated[int, Meta(ge=0)] = 0
    value: Raw = NOTHING
    ref: BlobRef | None = None
    error: ErrorInfo | None = None
    due_at: Instant | None = None
    resolved: Text = ""


class BundlePage(Struct, omit_defaults=True):
    """The answer of `bundle`: the run's own facts, and a page of its marks in order of their keys.

    Every page repeats the facts.
    """

    run: str
    root: str
    """From which its tokens come."""
    limit_key: str = ""
    trace: str = ""
    spec: TaskSpec | None = None
    """Of the version that it ran with; None if that is not known any more."""
    deployment: DeploymentRow | None = None
    marks: list[BundleMark] = []
    more: bool = False
    """Ask again after the last one's key."""


class Given(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A body that comes with the request, or was uploaded for the new run: one of the two."""

    value: Raw = NOTHING
    ref: BlobRef | None = None


class BundlePoint(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The checkpoint that a fork from a bundle begins with."""

    number: Annotated[int, Meta(ge=1, lt=2**31)]
    name: Annotated[str, Meta(max_length=KEY_LIMIT)]
    state: Given
    schema: Text = ""
    """Hash of the type that it was saved with."""


class BundleFork(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`fork-bundle`: a new run from what a bundle holds; answered by replays.Forked.

    The task must be deployed here. Its checks, its queue and its policy are those of this
    installation; tokens stay those of the original, since the root is kept, unless a done once mark
    is cleared.
    """

    new_run: RunId
    """Made by the caller: asking twice makes one run."""
    origin: RunId
    root: RunId
    task: Name
    payload: Given
    site: Text = ""
    """Where it ran: `namespace at server`."""
    bundle: Text = ""
    """The file's sha256, for the record."""
    point: BundlePoint | None = None
    """None = from the start."""
    marks: Annotated[list[BundleMark], Meta(max_length=MARKS_LIMIT)] = []
    """Those that are done."""
    marks_ref: BlobRef | None = None
    """A JSON array of them that was uploaded for the new run, instead."""
    edited: tuple[Literal["state", "payload"], ...] = ()
    clear: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    version: Text = ""
    """Empty = the current one."""
    queue: Name | None = None
    """None = the task's own here."""
    priority: Priority = 0
    limit_key: Text = ""
    tags: Tags = ()
