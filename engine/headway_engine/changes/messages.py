"""The bodies on `hw.run.>` at the edge: what observers read, and what the store must know too.

A body is that of server mode (`RunEvents`, or `Work` on `ready`) with one more field, `edge`, that
observers ignore. `Change` holds all that one message does to an id, so that `fold` and the
projection need nothing else to make its rows again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import asdict, replace

from headway.states import RunState
from headway.wire import NOTHING, BlobRef, ErrorInfo, decoder, encode
from headway.wire.events import Event
from headway.wire.rpc import MarkRecord
from headway_engine.store.records import OnceMark, Run

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = tuple(
    f.name
    for f in msgspec.structs.fields(Run)
    if f.name not in ("id", "ns", "policy", "timeout", "marks")
)
"""Fields of `Run` that are kept; policy and timeout are the version's, marks have their rows."""

Fields: Any = msgspec.defstruct(
    "Fields",
    [
        (f.name, f.type | UnsetType, UNSET)
        for f in msgspec.structs.fields(Run)
        if f.name in set(NAMES)
    ],
    module=__name__,
)
"""Some fields of a `Run`: those that changed."""


class Made(Struct, omit_defaults=True):
    """What an enqueue brings beside the record."""

    hash: str
    payload: Raw = NOTHING
    payload_ref: BlobRef | None = None
    schema: str = ""
    scope: str = ""


class Ended(Struct, omit_defaults=True):
    """As `records.End`; an absent result is left out."""

    result: Raw = NOTHING
    ref: BlobRef | None = None
    error: ErrorInfo | None = None
    size: int = 0


class CheckpointPut(Struct, omit_defaults=True):
    """A checkpoint with its state."""

    number: int
    name: str
    sha256: str
    size: int
    epoch: int = 0
    state: Raw = NOTHING
    ref: BlobRef | None = None
    schema: str = ""
    keep: bool = False
    at: datetime | None = None
    """Of a copy: when the original was saved. None = the message's time."""


class MarkPut(Struct, omit_defaults=True):
    """A mark with its value; it goes over the one with the same key."""

    record: MarkRecord
    token: str = ""
    size: int = 0
    after: int = 0


class UsagePut(Struct, omit_defaults=True):
    """The totals of an attempt and model as they are now."""

    epoch: int
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


class Change(Struct, omit_defaults=True):
    """What one message does to an id."""

    by: str
    """The engine, and a token of this message alone: after a lost ack its writer knows it again."""
    at: datetime
    """The store's time."""
    fields: Fields | None = None  # pyright: ignore[reportInvalidTypeForm]
    made: Made | None = None
    """It is the run's first message; `fields` has the whole record."""
    end: Ended | None = None
    checkpoints: list[CheckpointPut] = []
    dropped: list[int] = []
    """Numbers of checkpoints that retention has removed."""
    marks: list[MarkPut] = []
    usage: list[UsagePut] = []
    budget: tuple[float, int] | None = None
    dispatch: Literal["given", "over"] | None = None
    """`given`: it is in WORK by this message; `over`: it waits again."""
    freed: bool = False
    """Its idempotency key may be used again."""
    timeout: float | None = None
    keep: int | None = None
    """With a claim: of the version."""
    early: tuple[str, str] | None = None
    """(actor, reason): a cancel that came before the run."""
    refused: tuple[str, str] | None = None
    """(code, reason): what became of an enqueue under this id."""
    alias: str = ""
    """The run that holds the key which an enqueue under this id asked for."""
    removed: bool = False
    """The run is past its retention: only this message stays.

    With `fields` a hub had not confirmed it: they tell how it ended.
    """
    blobs: bool = False
    """With `removed`: it named blobs."""


class Body(Struct, omit_defaults=True):
    """Any body on `hw.run.<ns>.<id>.>`; unknown fields are ignored."""

    run: str
    edge: Change
    ns: str = ""
    task: str = ""
    events: list[Event] = []
    queue: str = ""
    shared: bool = False


class KeyBody(Struct, omit_defaults=True):
    """The body on `hw.key.<ns>.<digest>`: who holds an idempotency key."""

    run: str
    hash: str
    until: datetime
    task: str = ""
    scope: str = ""
    key: str = ""


class Record(Struct, omit_defaults=True):
    """All that decides about one id. `run` is None where there is no run."""

    id: str
    ns: str
    seq: int = 0
    """Last sequence of the id in RUNS: what the next write expects."""
    run: Run | None = None
    hash: str = ""
    schema: str = ""
    scope: str = ""
    dispatch: int = 0
    """Sequence of the `ready` message; 0 = it waits."""
    dispatched_at: datetime | None = None
    queued_at: datetime | None = None
    timeout: float = 3600.0
    keep: int = 20
    open: tuple[OnceMark, ...] = ()
    """Once marks that are neither done nor resolved, in key order."""
    freed: bool = False
    early: tuple[str, str] | None = None
    refused: tuple[str, str] | None = None
    alias: str = ""
    noted_at: datetime | None = None
    """When `refused` or `alias` was written, or `early` before there was a run."""
    removed_at: datetime | None = None
    budget: tuple[float, int] | None = None


class KeptRecord(Record, omit_defaults=True):
    """A record as the projection keeps it: the run as its difference from a blank one."""

    fields: Fields | None = None  # pyright: ignore[reportInvalidTypeForm]


BODY = decoder(Body)
KEY_BODY = decoder(KeyBody)
KEPT = decoder(KeptRecord)


def blank(run: str, ns: str) -> Run:
    """What a run is before its first message."""
    return Run(run, ns, "", "", RunState.QUEUED, _NEVER)


_BLANK = blank("", "")


def difference(old: Run | None, new: Run) -> Any:
    """`Fields` that differ; without an old one all that is not as in a blank run, and the state."""
    base = _BLANK if old is None else old
    changed = {
        name: value for name in NAMES if (value := getattr(new, name)) != getattr(base, name)
    }
    if old is None:
        changed["state"] = new.state
    return Fields(**changed)


def changed(fields: Any) -> dict[str, Any]:
    """The fields that are set, by name."""
    return {name: v for name, v in asdict(fields).items() if v is not UNSET}


def freeze(record: Record) -> bytes:
    """The record as it is kept."""
    fields = None if record.run is None else difference(None, record.run)
    kept = KeptRecord(
        **{f: getattr(record, f) for f in Record.__struct_fields__ if f != "run"}, fields=fields
    )
    return encode(kept)


def thaw(data: bytes) -> Record:
    """The record that was kept."""
    kept = KEPT.decode(data)
    run = None
    if kept.fields is not None:
        run = replace(blank(kept.id, kept.ns), **changed(kept.fields))
    return Record(**{f: getattr(kept, f) for f in Record.__struct_fields__ if f != "run"}, run=run)
