"""Runner and agent on the channel: u32 big-endian length + one JSON frame.

A frame names no run: `slot` is a number that the agent gave with `run` on this very connection, and
the agent knows which run and epoch that is (isolation `run` has one slot, `shared` many). What must
be durable carries `seq`, growing per connection-independent runner life; the agent answers each
with `ack`, the runner keeps it until then and sends it again after a redial; the agent repeats the
answer of a `seq` it has answered.

Order: hello → env → (import user modules) → ready → run → started → ... → done | fail.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.wire import BLOB_PART, DURATION_LIMIT, KEY_LIMIT, NOTHING, ErrorInfo, Instant, decoder
from headway.wire.budget import Budget
from headway.wire.events import Span
from headway.wire.rpc import MarkRecord
from headway.wire.saves import MODELS, ModelUsage

# What a runner may say is bounded where it is decoded: its sender may be anybody's code.
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Big = Annotated[int, Meta(ge=0, le=2**53)]
Key = Annotated[str, Meta(max_length=KEY_LIMIT, pattern=r"\A[^\x00]*\Z")]
Word = Annotated[str, Meta(max_length=64, pattern=r"\A[^\x00]*\Z")]
MarkKind = Literal["step", "once", "sleep", "wait", "call"]
MarkStatus = Literal["started", "done", "failed", "interrupted", "error", "open"]
Duration = Annotated[float, Meta(ge=0, le=DURATION_LIMIT)]

# --- from the runner


class Hello(Struct, tag="hello", forbid_unknown_fields=True, omit_defaults=True):
    """The first frame of every connection. `slots`: live (slot, run, epoch) after a redial."""

    protocol: int
    sdk: Word
    python: Word
    pid: int
    token: Key = ""
    """The one-time token on a TCP channel."""
    slots: list[tuple[int, str, int]] = []


class Ready(Struct, tag="ready", forbid_unknown_fields=True, omit_defaults=True):
    """User modules are imported."""

    tasks: tuple[Key, ...]
    load_ms: float = 0.0


class LoadFailed(Struct, tag="load_failed", forbid_unknown_fields=True, omit_defaults=True):
    """The user's module cannot be imported; the runner exits 1."""

    error: ErrorInfo


class RunStarted(Struct, tag="started", forbid_unknown_fields=True, omit_defaults=True):
    """The answer to `run`: user code is about to run."""

    slot: Count


class Part(Struct, tag="part", forbid_unknown_fields=True, omit_defaults=True):
    """A piece (≤ 512 KiB) of a body too large for one frame, sent before its frame."""

    blob: Big
    index: Count
    data: Annotated[bytes, Meta(max_length=BLOB_PART)]
    last: bool = False


class Checkpoint(Struct, tag="checkpoint", forbid_unknown_fields=True, omit_defaults=True):
    """Save the state. `blob` names parts sent before, instead of `state`."""

    slot: Count
    seq: Big
    number: Count
    name: Key
    sha256: Word
    size: Big
    state: Raw = NOTHING
    blob: Big = 0
    schema: Word = ""
    keep: bool = False


class Mark(Struct, tag="mark", forbid_unknown_fields=True, omit_defaults=True):
    """Record a step's result, a once mark or a short sleep. Fields as rpc.SaveMark."""

    slot: Count
    seq: Big
    key: Key
    kind: MarkKind
    fn: Key
    status: MarkStatus
    token: Key = ""
    value: Raw = NOTHING
    blob: Big = 0
    size: Big = 0
    seconds: Duration = 0.0
    error: ErrorInfo | None = None
    after: Count = 0


class Wait(Struct, tag="wait", forbid_unknown_fields=True, omit_defaults=True):
    """Suspend: the run goes to WAITING; on its `ack` the runner ends this attempt."""

    slot: Count
    seq: Big
    key: Key
    kind: Literal["sleep", "wait", "call"]
    fn: Key = ""
    seconds: Duration | None = None
    after: Count = 0


class Enqueue(Struct, tag="enqueue", forbid_unknown_fields=True, omit_defaults=True):
    """Start a child run. Its `ack` names the run, after the child was recorded.

    `item` is a commands.EnqueueItem without payload, whose id is `ids.child_run_id(...)`.
    """

    slot: Count
    seq: Big
    key: Key
    item: Raw
    payload: Raw = NOTHING
    blob: Big = 0
    after: Count = 0
    """The number of the last checkpoint."""


class Await(Struct, tag="await", forbid_unknown_fields=True, omit_defaults=True):
    """Hear the end of the child that was enqueued under `key`: its `ack` comes with the end."""

    slot: Count
    seq: Big
    key: Key


class Finish(Struct, tag="done", forbid_unknown_fields=True, omit_defaults=True):
    """The function returned."""

    slot: Count
    seq: Big
    result: Raw = NOTHING
    blob: Big = 0
    size: Big = 0
    sha256: Word = ""


Cause = Literal[
    "error",
    "stop",
    "encode",
    "ambiguous",
    "state",
    "payload",
    "too_large",
    "timeout",
    "cancelled",
    "budget",
]


class Fail(Struct, tag="fail", forbid_unknown_fields=True, omit_defaults=True):
    """The function raised.

    `cause` as rpc.AttemptFailed: error, stop, encode, ambiguous, state, payload, too_large,
    timeout, cancelled (after a `cancel` frame).
    """

    slot: Count
    seq: Big
    cause: Cause
    error: ErrorInfo
    retry: bool = True
    retry_in: Duration | None = None
    retry_at: Instant | None = None
    key: Key = ""
    token: Key = ""
    waits: bool = False
    """Ambiguous, and the block has a policy: it decides once older attempts are confirmed dead."""


class Log(Struct, tag="log", forbid_unknown_fields=True, omit_defaults=True):
    """Lines of output. `slot` 0 in a shared runner = not attributable. `first` counts from 1."""

    slot: Count
    first: Big
    lines: list[str]
    stream: Word = "out"
    dropped: Big = 0
    dropped_bytes: Big = 0


class Spans(Struct, tag="spans", forbid_unknown_fields=True, omit_defaults=True):
    """Finished spans. `first` numbers them per attempt, from 1; a jump is a gap."""

    slot: Count
    first: Annotated[int, Meta(ge=1, le=2**53)]
    spans: Annotated[list[Span], Meta(max_length=128)]


class Usage(Struct, tag="usage", forbid_unknown_fields=True, omit_defaults=True):
    """What the attempt has used so far, by model."""

    slot: Count
    seq: Big
    used: Annotated[list[ModelUsage], Meta(max_length=MODELS)]


class Pong(Struct, tag="pong", forbid_unknown_fields=True, omit_defaults=True):
    """The answer to `ping`, from a thread beside user code. `lag_ms`: delay of the user's loop."""

    lag_ms: float = 0.0


FromRunner = (
    Hello
    | Ready
    | LoadFailed
    | RunStarted
    | Part
    | Checkpoint
    | Mark
    | Wait
    | Enqueue
    | Await
    | Finish
    | Fail
    | Log
    | Spans
    | Usage
    | Pong
)

# --- to the runner


class Env(Struct, tag="env", omit_defaults=True):
    """The environment class: variables and secret values, and what to import."""

    vars: dict[str, str] = {}
    modules: tuple[str, ...] = ()
    source: str = ""
    """A folder to put first on sys.path."""
    shared: bool = False
    log_rate: int = 262_144
    log_burst: int = 524_288
    orphan_after: float = 300.0
    """No agent for that long: the runner exits 75."""
    slots: int = 1


class Run(Struct, tag="run", omit_defaults=True):
    """Execute this. Bodies that were too large come as parts before (`payload_blob` ...)."""

    slot: int
    run: str
    epoch: int
    task: str
    attempt: int
    payload: Raw = NOTHING
    payload_blob: int = 0
    checkpoint: int = 0
    checkpoint_name: str = ""
    schema: str = ""
    state: Raw = NOTHING
    state_blob: int = 0
    marks: list[MarkRecord] = []
    """Marks with a `ref` come with value empty; ask with `fetch`."""
    marks_more: bool = False
    """Further marks follow in `marks` frames, the last one with more=False."""
    root: str = ""
    parent: str = ""
    timeout: float = 3600.0
    deadline_at: Instant | None = None
    grace: float = 10.0
    suspend_after: float = 60.0
    trace: str = ""
    max_attempts: int = 3
    queue: str = ""
    tags: tuple[str, ...] = ()
    created_ms: int = 0
    ns: str = ""
    unconfirmed: bool = False
    """An older attempt may still run: no ambiguous once mark may be decided here."""
    budget: Budget | None = None
    """What the run may use, and what earlier attempts used; None = any."""


class Marks(Struct, tag="marks", omit_defaults=True):
    """More marks of a run, before it starts."""

    slot: int
    marks: list[MarkRecord]
    more: bool = False


class Fetch(Struct, tag="fetch", forbid_unknown_fields=True, omit_defaults=True):
    """From the runner: the value of a mark that lies in blobs; answered by parts and `ack`."""

    slot: Count
    seq: Big
    key: Key


class Ack(Struct, tag="ack", omit_defaults=True):
    """The store's word on a `seq`: outcome as rpc.SaveOutcome.

    `frozen`: the lease is overdue; saves wait. `blob`: parts sent before (for `fetch`, `await`).
    """

    slot: int
    seq: int
    outcome: str = "ok"
    message: str = ""
    value: Raw = NOTHING
    blob: int = 0
    run: str = ""
    """Of `enqueue`, `await`: the child, or the run that holds its idempotency key."""
    code: str = ""
    """Of `enqueue`: why the child was refused, as commands.Recorded."""
    status: str = ""
    """Of `await`: how the child ended; `succeeded` comes with `value` or `blob`."""
    error: ErrorInfo | None = None
    number: int = 0
    """Of a checkpoint that is refused as `gap`: the last number that the store has."""


class Cancel(Struct, tag="cancel", omit_defaults=True):
    """Stop this attempt: CancelledError in user code, cleanup within grace, then SIGKILL."""

    slot: int
    why: str = "cancel"
    """cancel | timeout | drain | stale."""
    grace: float = 10.0


class Freeze(Struct, tag="freeze", omit_defaults=True):
    """The lease is overdue (on=True): saves wait, once() does not start; off: go on."""

    on: bool


class Ping(Struct, tag="ping", omit_defaults=True):
    """Are you there?"""


class Bye(Struct, tag="bye", omit_defaults=True):
    """End the process when its slots are empty (pool shrink, drain, reload)."""

    why: str = ""


ToRunner = Env | Run | Marks | Ack | Cancel | Freeze | Ping | Bye | Part

FROM_RUNNER = decoder(FromRunner | Fetch)
TO_RUNNER = decoder(ToRunner)

WINDOW = 256
"""Requests of one slot that may be without an answer at once (`await` not counted, it lasts as long
as a child). A runner keeps the rest to itself; an agent cuts off whoever sends far more."""

EXIT_STALE = 87
"""The runner was told `stale_epoch`."""
EXIT_ORPHAN = 75
"""No agent adopted the runner in time."""
