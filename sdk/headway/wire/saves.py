"""Saves inside an attempt: one conditional statement per batch, no decide (DECISIONS A1)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

from headway.wire import NOTHING, BlobRef, ErrorInfo, decoder

# --- saves: inside an attempt, one conditional statement per batch, no decide


class SaveCheckpoint(Struct, tag="checkpoint", omit_defaults=True):
    """A checkpoint. `number` = last + 1; the same number with the same sha256 is a repeat."""

    run: str
    epoch: int
    number: int
    name: str
    sha256: str
    """Of the state's JSON bytes, hex."""
    size: int
    state: Raw = NOTHING
    ref: BlobRef | None = None
    schema: str = ""
    keep: bool = False


class SaveMark(Struct, tag="mark", omit_defaults=True):
    """A step's result, or a once mark's move, or a short sleep's record.

    A key that is recorded already under the same kind and status answers ok (its recorded result
    stays); a `done` step never changes.
    """

    run: str
    epoch: int
    key: str
    kind: str
    fn: str
    status: str
    token: str = ""
    value: Raw = NOTHING
    ref: BlobRef | None = None
    size: int = 0
    seconds: float = 0.0
    error: ErrorInfo | None = None
    after: int = 0
    """The checkpoint number at the time: a fork from n copies marks with after < n... """


MODEL_LIMIT, MODELS = 128, 32


class ModelUsage(Struct, omit_defaults=True):
    """What an attempt has used of one model so far: totals, which only grow."""

    model: Annotated[str, Meta(max_length=MODEL_LIMIT, pattern=r"\A[^\x00]*\Z")] = ""
    tokens_in: Annotated[int, Meta(ge=0, le=2**53)] = 0
    tokens_out: Annotated[int, Meta(ge=0, le=2**53)] = 0
    cost_usd: Annotated[float, Meta(ge=0, le=1e9)] = 0.0


class SaveUsage(Struct, tag="usage", omit_defaults=True):
    """What an attempt has used. Repeats and older totals change nothing; never refused as stale."""

    run: str
    epoch: int
    used: Annotated[list[ModelUsage], Meta(max_length=MODELS)]


Save = SaveCheckpoint | SaveMark
AnySave = Save | SaveUsage


class Saves(Struct, omit_defaults=True):
    """`save`: what arrived together."""

    agent: str
    session: int
    saves: list[AnySave]


class SaveOutcome(Struct, omit_defaults=True):
    """ok | stale_epoch | conflict | gap | cancelling | rejected | refused.

    `n`: the event's number; of `gap`: the last checkpoint that the store has.
    """

    outcome: str
    n: int = 0
    message: str = ""


class Saved(Struct, omit_defaults=True):
    """The answer: one outcome per save, in order; or `busy`: nothing was decided, ask again."""

    outcomes: list[SaveOutcome] = []
    busy: float = 0.0


SAVES, SAVED = decoder(Saves), decoder(Saved)
