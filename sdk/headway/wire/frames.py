"""Runner and agent on the channel: u32 big-endian length + one JSON frame.

A frame names no run: `slot` is a number that the agent gave with `run` on this very connection, and
the agent knows which run and epoch that is (isolation `run` has one slot, `shared` many). What must
be durable carries `seq`, growing per connection-independent runner life; the agent answers each
with `ack`, the runner keeps it until then and sends it again after a redial; the agent repeats the
answer of a `seq` it has answered.

Order: hello → env → (import user modules) → ready → run → started → ... → done | fail.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Raw, Struct

from headway.wire import NOTHING, ErrorInfo, decoder
from headway.wire.rpc import MarkRecord

# --- from the runner


class Hello(Struct, tag="hello", forbid_unknown_fields=True, omit_defaults=True):
    """The first frame of every connection. `slots`: live (slot, run, epoch) after a redial."""

    protocol: int
    sdk: str
    python: str
    pid: int
    token: str = ""
    """The one-time token on a TCP channel."""
    slots: list[tuple[int, str, int]] = []


class Ready(Struct, tag="ready", forbid_unknown_fields=True, omit_defaults=True):
    """User modules are imported."""

    tasks: tuple[str, ...]
    load_ms: float = 0.0


class LoadFailed(Struct, tag="load_failed", forbid_unknown_fields=True, omit_defaults=True):
    """The user's module cannot be imported; the runner exits 1."""

    error: ErrorInfo


class RunStarted(Struct, tag="started", forbid_unknown_fields=True, omit_defaults=True):
    """The answer to `run`: user code is about to run."""

    slot: int


class Part(Struct, tag="part", forbid_unknown_fields=True, omit_defaults=True):
    """A piece (≤ 512 KiB) of a body too large for one frame, sent before its frame."""

    blob: int
    index: int
    data: bytes
    last: bool = False


class Checkpoint(Struct, tag="checkpoint", forbid_unknown_fields=True, omit_defaults=True):
    """Save the state. `blob` names parts sent before, instead of `state`."""

    slot: int
    seq: int
    number: int
    name: str
    sha256: str
    size: int
    state: Raw = NOTHING
    blob: int = 0
    schema: str = ""
    keep: bool = False


class Mark(Struct, tag="mark", forbid_unknown_fields=True, omit_defaults=True):
    """Record a step's result, a once mark or a short sleep. Fields as rpc.SaveMark."""

    slot: int
    seq: int
    key: str
    kind: str
    fn: str
    status: str
    token: str = ""
    value: Raw = NOTHING
    blob: int = 0
    size: int = 0
    seconds: float = 0.0
    error: ErrorInfo | None = None
    after: int = 0


class Wait(Struct, tag="wait", forbid_unknown_fields=True, omit_defaults=True):
    """Suspend: the run goes to WAITING; on its `ack` the runner ends this attempt."""

    slot: int
    seq: int
    key: str
    kind: str
    fn: str = ""
    seconds: float | None = None
    after: int = 0


class Enqueue(Struct, tag="enqueue", forbid_unknown_fields=True, omit_defaults=True):
    """Start a child run. Its `ack` names the run, after the child was recorded.

    `item` is a commands.EnqueueItem without payload, whose id is `ids.child_run_id(...)`.
    """

    slot: int
    seq: int
    key: str
    item: Raw
    payload: Raw = NOTHING
    blob: int = 0
    after: int = 0
    """The number of the last checkpoint."""


class Await(Struct, tag="await", forbid_unknown_fields=True, omit_defaults=True):
    """Hear the end of the child that was enqueued under `key`: its `ack` comes with the end."""

    slot: int
    seq: int
    key: str


class Finish(Struct, tag="done", forbid_unknown_fields=True, omit_defaults=True):
    """The function returned."""

    slot: int
    seq: int
    result: Raw = NOTHING
    blob: int = 0
    size: int = 0
    sha256: str = ""


class Fail(Struct, tag="fail", forbid_unknown_fields=True, omit_defaults=True):
    """The function raised.

    `cause` as rpc.AttemptFailed: error, stop, encode, ambiguous, state, payload, too_large,
    timeout, cancelled (after a `cancel` frame).
    """

    slot: int
    seq: int
    cause: str
    error: ErrorInfo
    retry: bool = True
    retry_in: float | None = None
    retry_at: datetime | None = None
    key: str = ""
    token: str = ""


class Log(Struct, tag="log", forbid_unknown_fields=True, omit_defaults=True):
    """Lines of output. `slot` 0 in a shared runner = not attributable. `first` counts from 1."""

    slot: int
    first: int
    lines: list[str]
    stream: str = "out"
    dropped: int = 0
    dropped_bytes: int = 0


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
    deadline_at: datetime | None = None
    grace: float = 10.0
    suspend_after: float = 60.0
    trace: str = ""
    max_attempts: int = 3
    queue: str = ""
    tags: tuple[str, ...] = ()
    created_ms: int = 0
    ns: str = ""


class Marks(Struct, tag="marks", omit_defaults=True):
    """More marks of a run, before it starts."""

    slot: int
    marks: list[MarkRecord]
    more: bool = False


class Fetch(Struct, tag="fetch", forbid_unknown_fields=True, omit_defaults=True):
    """From the runner: the value of a mark that lies in blobs; answered by parts and `ack`."""

    slot: int
    seq: int
    key: str


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
