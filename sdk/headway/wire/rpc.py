"""Agent to engine: `hw.rpc.<ns>.<agent>.<verb>`, answered after the commit.

The agent stamps run and epoch itself, from which socket a frame came. Every request is safe to
repeat: claims by their nonce, saves by (run, epoch, number), reports by (run, epoch).
"""

from __future__ import annotations

from msgspec import Raw, Struct

from headway.wire import NOTHING, BlobRef, ErrorInfo, Instant, decoder
from headway.wire.budget import Budget
from headway.wire.fleet import TaskSpec

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
PUT_PART, PUT_ANSWER = decoder(PutPart), decoder(PutAnswer)
URL_ASK, URL_ANSWER = decoder(UrlAsk), decoder(UrlAnswer)
GET_PART, GET_ANSWER = decoder(GetPart), decoder(GetAnswer)
WORK_BODY, CTL = decoder(Work), decoder(Ctl)
