"""Agent to engine: `hw.rpc.<ns>.<agent>.<verb>`, answered after the commit.

The agent stamps run and epoch itself, from which socket a frame came. Every request is safe to
repeat: claims by their nonce, saves by (run, epoch, number), reports by (run, epoch).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.wire import NOTHING, BlobRef, ErrorInfo, Instant, decoder
from headway.wire.budget import Budget
from headway.wire.commands import Ended, TaskSpec

# --- register / beat


class Register(Struct, omit_defaults=True):
    """`register`: an agent starts, or starts anew after `session_over`."""

    agent: str
    host: str
    runtime: str
    queues: tuple[str, ...]
    slots: int
    shared_slots: int
    protocol: int
    version: str
    holds: list[tuple[str, int]] = []
    """(run, epoch) of adopted attempts: kept if the store still gives them to this agent."""
    session: int = 0
    """The session it had (adoption); 0 = none."""
    images: tuple[str, ...] = ()


class Registered(Struct, omit_defaults=True):
    """The answer: the session under which the agent now holds its lease."""

    engine: str
    session: int
    lease: float
    """Seconds; renewed by `beat`."""
    beat_every: float
    kept: list[tuple[str, int]] = []
    stop: list[tuple[str, int]] = []
    """Attempts it reported that are not its own any more: kill them."""


class Beat(Struct, omit_defaults=True):
    """`beat`: one message renews the lease of everything the agent holds."""

    agent: str
    session: int
    digest: str
    """sha256 (16 hex) over the sorted `run:epoch` lines of what it holds."""
    holds: list[tuple[str, int]] | None = None
    """The full list: when the engine asked for it, or nothing was confirmed yet."""
    free: int = 0
    shared_free: int = 0
    degraded: str = ""
    images: tuple[str, ...] = ()


class Beaten(Struct, omit_defaults=True):
    """The answer of a beat."""

    ok: bool
    store_down: bool = False
    """Nothing could be renewed: freeze, do not kill (DECISIONS B1)."""
    session_over: bool = False
    """The lease ended: kill everything, register anew."""
    want_holds: bool = False
    stop: list[tuple[str, int, str]] = []
    """(run, epoch, why): repeated until those attempts are gone; why = cancel | stale | timeout."""
    drain: str = ""
    """An operator's word: `drain` = take nothing new; `now` = and give back what runs."""


# --- claim


class Claim(Struct, omit_defaults=True):
    """`claim`: these runs were pulled; give me those that may start. Repeating a nonce is safe."""

    agent: str
    session: int
    nonce: str
    runs: list[str]
    free: int = 0
    shared_free: int = 0


class MarkRecord(Struct, omit_defaults=True):
    """What is recorded under a key: of a step, a once block, a sleep or a wait."""

    key: str
    kind: str
    """step | once | sleep | wait | call | enqueue."""
    fn: str = ""
    status: str = "done"
    """started | done | failed | interrupted (once); done | error | open (others)."""
    epoch: int = 0
    value: Raw = NOTHING
    ref: BlobRef | None = None
    error: ErrorInfo | None = None
    due_at: Instant | None = None
    resolved: str = ""
    """An operator's or check's decision on an ambiguous once: `done` or `rerun`."""


class Assignment(Struct, omit_defaults=True):
    """One claimed run with all that its attempt needs."""

    run: str
    epoch: int
    task: str
    version: str
    attempt: int
    spec: TaskSpec | None = None
    """Only if the agent cannot know it: the first of this version in an answer."""
    payload: Raw = NOTHING
    payload_ref: BlobRef | None = None
    checkpoint: int = 0
    """Number of the last checkpoint; 0 = none."""
    checkpoint_name: str = ""
    schema: str = ""
    """Schema hash of the state."""
    state: Raw = NOTHING
    state_ref: BlobRef | None = None
    marks: list[MarkRecord] = []
    marks_more: bool = False
    """More marks than fit: page with `load`."""
    root: str = ""
    parent: str = ""
    deadline_at: Instant | None = None
    timeout: float = 3600.0
    trace: str = ""
    max_attempts: int = 3
    queue: str = ""
    tags: tuple[str, ...] = ()
    created_ms: int = 0
    """The run's creation, ms since the Unix epoch: the time half of derived child ids."""
    unconfirmed: bool = False
    """An older attempt may still run: no ambiguous once mark may be decided by its policy."""
    budget: Budget | None = None
    """What it may use, and what earlier attempts used; None = any."""


class VersionInfo(Struct, omit_defaults=True):
    """How to start a runner for a version."""

    version: str
    image: str = ""
    modules: tuple[str, ...] = ()
    source: str = ""
    dev: bool = False


class Claimed(Struct, omit_defaults=True):
    """The answer: what may start, and why the rest may not (the agent acks all of them)."""

    engine: str = ""
    assignments: list[Assignment] = []
    refused: list[tuple[str, str]] = []
    """(run, why)."""
    versions: list[VersionInfo] = []
    """One per version in the assignments."""
    session_over: bool = False
    busy: float = 0.0
    """Not decided (store down, overload): ask again after that many seconds, do not ack."""


class Load(Struct, omit_defaults=True):
    """`load`: more marks of a claimed run, in key order after `after`."""

    run: str
    epoch: int
    after: str = ""


class Loaded(Struct, omit_defaults=True):
    """The answer of `load`."""

    marks: list[MarkRecord]
    more: bool = False


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
"""Characters of a model's name; models that one attempt tells of."""


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


# --- reports: transitions of an attempt


class Started(Struct, tag="started", omit_defaults=True):
    """User code runs."""

    run: str
    epoch: int
    container: str = ""
    host: str = ""
    cold: bool = False
    pool_wait_ms: float = 0.0
    resumed_from: int = 0


class Finished(Struct, tag="finished", omit_defaults=True):
    """The function returned. Refused while a once mark is open (→ REVIEW)."""

    run: str
    epoch: int
    result: Raw = NOTHING
    ref: BlobRef | None = None
    size: int = 0
    sha256: str = ""
    warning: str = ""
    """Such as "a child process was OOM-killed"."""
    lines: int = 0
    """Number of the last line of its output; 0 = it printed nothing."""
    lines_lost: int = 0
    """Lines of its output that were dropped: too much at once."""
    spans_lost: int = 0
    """The same of its spans, as far as their numbers tell by now."""


class AttemptFailed(Struct, tag="failed", omit_defaults=True):
    """The attempt ended without a result.

    `cause`: error (user exception) · crash · oom · timeout · image (cannot start) · stop (StopRun)
    · encode · ambiguous (once) · state (StateMismatch) · payload (does not fit the version that
    runs) · too_large · budget · violation (channel abuse) · blob (payload or state is gone or
    damaged).
    """

    run: str
    epoch: int
    cause: str
    error: ErrorInfo
    exit_code: int | None = None
    retry_in: float | None = None
    retry_at: Instant | None = None
    retry: bool = True
    """False: the task's own verdict is not to retry (stop_on, not in retry_on, StopRun)."""
    key: str = ""
    """With `ambiguous`: the once key."""
    token: str = ""
    evidence: str = ""
    lines: int = 0
    """Number of the last line of its output; 0 = it printed nothing."""
    waits: bool = False
    """With `ambiguous`: the block's policy decides once older attempts are confirmed dead."""
    lines_lost: int = 0
    """See Finished."""
    spans_lost: int = 0
    """See Finished."""


class AttemptLost(Struct, tag="lost", omit_defaults=True):
    """The container went away through no fault of the task: killed from outside, daemon gone."""

    run: str
    epoch: int
    why: str
    evidence: str = ""


class GivenBack(Struct, tag="given_back", omit_defaults=True):
    """Claimed but not started: no container could be had, or the agent drains."""

    run: str
    epoch: int
    why: str
    fault: str = ""
    """agent | run: whom the failed start is charged to."""


class Suspend(Struct, tag="suspend", omit_defaults=True):
    """A wait longer than `suspend_after`: the run goes to WAITING, the container is given back."""

    run: str
    epoch: int
    key: str
    kind: Literal["sleep", "wait", "call"]
    fn: str = ""
    seconds: float | None = None
    """Until due, from the store's now; None = until answered."""
    after: int = 0


class Stopped(Struct, tag="stopped", omit_defaults=True):
    """The attempt's process is confirmed gone after a cancel (or drain: `why="drain"`)."""

    run: str
    epoch: int
    why: Literal["cancel", "drain", "stale"]
    lines: int = 0
    """Number of the last line of its output; 0 = it printed nothing."""
    lines_lost: int = 0
    """Lines of its output that were dropped: too much at once."""
    spans_lost: int = 0
    """The same of its spans, as far as their numbers tell by now."""


Report = Started | Finished | AttemptFailed | AttemptLost | GivenBack | Suspend | Stopped


class Reports(Struct, omit_defaults=True):
    """`report`: transitions of attempts, in order per run."""

    agent: str
    session: int
    reports: list[Report]
    free: int = 0
    shared_free: int = 0


class ReportOutcome(Struct, omit_defaults=True):
    """ok (also for a repeat) | stale_epoch | refused | review (an open once mark)."""

    outcome: str
    message: str = ""


class Reported(Struct, omit_defaults=True):
    """The answer: one outcome per report, in order; or `busy`."""

    outcomes: list[ReportOutcome] = []
    busy: float = 0.0


# --- children: runs that a run enqueues


class Child(Struct, omit_defaults=True):
    """A run to be enqueued by the attempt (run, epoch) under a key."""

    run: str
    epoch: int
    key: str
    item: Raw
    """A commands.EnqueueItem without payload; decoded strictly, it comes from a runner."""
    payload: Raw = NOTHING
    ref: BlobRef | None = None
    """A large payload, among the blobs of the parent."""
    after: int = 0


class Children(Struct, omit_defaults=True):
    """`enqueue`: what arrived together. Repeating is safe: the key gives the child's id."""

    agent: str
    session: int
    children: list[Child]


class ChildOutcome(Struct, omit_defaults=True):
    """ok (recorded now or before) | stale_epoch | cancelling | conflict | rejected."""

    outcome: str
    run: str = ""
    """The child, or the run that holds its idempotency key."""
    fresh: bool = False
    """Recorded just now: its end is pushed to `hw.reply.<agent>.<token>`."""
    code: str = ""
    message: str = ""


class Enqueued(Struct, omit_defaults=True):
    """The answer: one outcome per child, in order; or `busy`."""

    outcomes: list[ChildOutcome] = []
    busy: float = 0.0


class ChildAsk(Struct, omit_defaults=True):
    """The child that the attempt (run, epoch) enqueued under a key."""

    run: str
    epoch: int
    key: str


class ChildrenAsk(Struct, omit_defaults=True):
    """`ends`: which of these have ended? One request for all that the agent's attempts await."""

    agent: str
    children: list[ChildAsk]


class ChildEnd(Struct, omit_defaults=True):
    """What is known of one. `ended` is left out while it lives, and where the answer is full."""

    run: str = ""
    """The child's id, or its alias'; empty = none of this agent's business."""
    status: str = ""
    """In lower case; `unknown` if there is no such run (any more)."""
    ended: Ended | None = None


class ChildrenEnds(Struct, omit_defaults=True):
    """The answer: one per child, in order; or `busy`."""

    children: list[ChildEnd] = []
    more: bool = False
    """The answer was full: ask again for those that have no `ended`."""
    busy: float = 0.0


# --- blobs through the engine


class PutPart(Struct, omit_defaults=True):
    """`blob_put`: one part of a large body (state, result, step value), in order."""

    run: str
    epoch: int
    upload: str
    index: int
    last: bool
    data: bytes
    sha256: str = ""
    """Of the whole, with the last part."""


class PutAnswer(Struct, omit_defaults=True):
    """The last part's answer carries the reference."""

    outcome: str = "ok"
    ref: BlobRef | None = None
    message: str = ""
    busy: float = 0.0


class UrlAsk(Struct, omit_defaults=True):
    """`blob_url`: where to put a large body; `blob_done`: look at it, answered as `blob_put`."""

    run: str
    epoch: int
    size: int
    sha256: str


class UrlAnswer(Struct, omit_defaults=True):
    """PUT the body there with these headers. No URL = send parts."""

    outcome: str = "ok"
    url: str = ""
    headers: dict[str, str] = {}
    message: str = ""
    busy: float = 0.0


class GetPart(Struct, omit_defaults=True):
    """`blob_get`: a range of a blob of the run; `child_get`: of one of its children."""

    run: str
    epoch: int
    key: str
    offset: int = 0
    length: int = 512 * 1024
    child: str = ""
    """With `child_get`: the key under which the child was enqueued."""


class GetAnswer(Struct, omit_defaults=True):
    """A piece."""

    outcome: str = "ok"
    data: bytes = b""
    message: str = ""
    busy: float = 0.0


class Work(Struct, omit_defaults=True):
    """The body on `hw.work.<ns>.<queue>`: one dispatched run."""

    run: str
    shared: bool = False


class Ctl(Struct, omit_defaults=True):
    """`hw.ctl.<ns>.<agent>.<run>`: the fast path of a stop."""

    run: str
    epoch: int
    why: str


class RpcError(Struct, omit_defaults=True):
    """Any answer may be this: `{"rpc_error": code, "message": ...}`."""

    rpc_error: str
    message: str = ""


REGISTER, REGISTERED = decoder(Register), decoder(Registered)
BEAT, BEATEN = decoder(Beat), decoder(Beaten)
CLAIM, CLAIMED = decoder(Claim), decoder(Claimed)
LOAD, LOADED = decoder(Load), decoder(Loaded)
SAVES, SAVED = decoder(Saves), decoder(Saved)
REPORTS, REPORTED = decoder(Reports), decoder(Reported)
CHILDREN, ENQUEUED = decoder(Children), decoder(Enqueued)
CHILDREN_ASK, CHILDREN_ENDS = decoder(ChildrenAsk), decoder(ChildrenEnds)
PUT_PART, PUT_ANSWER = decoder(PutPart), decoder(PutAnswer)
URL_ASK, URL_ANSWER = decoder(UrlAsk), decoder(UrlAnswer)
GET_PART, GET_ANSWER = decoder(GetPart), decoder(GetAnswer)
WORK_BODY, CTL = decoder(Work), decoder(Ctl)
