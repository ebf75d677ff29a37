"""What is asked about states, forks and replay jobs on `hw.api`, and the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.wire import NOTHING, BlobRef
from headway.wire.commands import CheckpointRow, Name, RunId, Text


class StateAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`state`: the body of one checkpoint; 0 = the last."""

    run: str
    number: int = 0


class StateAnswer(Struct, omit_defaults=True):
    """A checkpoint with its state; a large one comes as a reference, to be read by `blob-get`."""

    row: CheckpointRow
    state: Raw = NOTHING
    key: str = ""


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
    tags: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    """Beside those of the original."""


class Forked(Struct, omit_defaults=True):
    """The answer of `fork`."""

    run: str
    outcome: str
    """`ok`, or `already`: this new id was forked from this run before."""
    status: str = ""
    checkpoint: int = 0
    """It starts from this one; 0 = from the start."""
    name: str = ""
    kept: tuple[str, ...] = ()
    """Once keys that stay done."""
    cleared: tuple[str, ...] = ()
    """Once keys that may happen again, under new tokens."""
