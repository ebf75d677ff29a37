"""What happened: events of a run, log chunks, beats.

An event is one committed transition (or save) of a run. `n` counts per run without gaps; observers
drop doubles by (run, n). `kind` is an open word: observers show kinds they do not know by name.
"""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from msgspec import Meta, Struct

from headway.wire import Instant, decoder

KINDS = {
    "queued": "enqueued, or back in its queue (data.why)",
    "forked": "made from a checkpoint of another run (data: origin, checkpoint, name, edited, kept,"
    " cleared, by, job)",
    "delayed": "enqueued with a start time in the future (data.due_at)",
    "starting": "claimed by an agent: the epoch went up (data: agent, version, checkpoint)",
    "started": "user code runs (data: container, host, cold, pool_wait_ms, resumed_from)",
    "checkpoint": "state saved (data: number, name, size)",
    "step": "a step's result recorded (data: key, fn, size, seconds)",
    "once": "a once mark moved (data: key, fn, status: started|done|failed|interrupted, token)",
    "waiting": "a durable wait holds no container (data: key, due_at)",
    "retrying": "an attempt failed, another is due (data: error, due_at, attempt, max_attempts)",
    "lost": "the attempt's agent, host or container went away; no retry used (data.why)",
    "exited": "a lost attempt is confirmed dead at last",
    "given_back": "claimed but not started; no retry used (data.why)",
    "review": "a person decides (data.reason, data.key, data.token)",
    "resumed": "an operator asked for the next attempt now",
    "resolved": "an operator decided on an ambiguous once mark (data.key, data.decision)",
    "cancelling": "the cancel is final; running code is being stopped",
    "succeeded": "ended with a result (data.size, data.lines = the number of its last line)",
    "failed": "ended with an error (data.error, data.cause, data.lines)",
    "timed_out": "ended by timeout or deadline",
    "cancelled": "ended by a cancel (data.lines)",
    "expired": "never started in time",
    "acknowledged": "a person has seen the failure: it is no dead letter any more",
    "unacknowledged": "a person took that back",
    "tagged": "somebody changed its tags (data: tags as they are now, added, removed)",
    "rejected": "a save was refused as poison (data.why); the run goes on",
    "warning": "something an operator wants to know (data.why)",
}


PROGRESS = frozenset({"checkpoint", "step"})
"""Kinds of which a long run has very many in a row."""
EDGE = 3
"""So many of each stretch of progress are kept at both its ends by `gist`."""


class Event(Struct, omit_defaults=True):
    """One event. `source`/`target` are states, set when the run moved."""

    n: int
    at: Instant
    kind: str
    epoch: int = 0
    source: str = ""
    target: str = ""
    actor: str = ""
    """Who: `engine`, `agent:<id>`, `user:<name>`."""
    data: dict[str, Any] = {}


def gist(events: list[Event], room: int) -> list[Event]:
    """At most `room` (from 2) of a run's events, in order: those that tell most.

    All, if they fit. Else each stretch of progress loses its middle; if that is not enough, the
    first twentieth of the room goes to how the run began, and the rest to its last events.
    """
    if len(events) <= room:
        return events
    told: list[Event] = []
    for progress, stretch in groupby(events, lambda e: e.kind in PROGRESS):
        part = list(stretch)
        if progress and len(part) > 2 * EDGE:
            part[EDGE:-EDGE] = []
        told += part
    if len(told) > room:
        first = max(1, room // 20)
        told[first : len(told) - room + first] = []
    return told


class RunEvents(Struct, omit_defaults=True):
    """The body on `hw.run.<ns>.<run>.ev`: what one commit did to one run, oldest first."""

    run: str
    ns: str
    task: str
    events: list[Event]
    queue: str = ""


class LogChunk(Struct, omit_defaults=True):
    """The body on `hw.log.<ns>.<run>.<epoch>`.

    `first` is the number of the first line in this attempt, from 1; a jump is a gap. Lines that
    the token bucket dropped take numbers too: `dropped` of them came just before `first`.
    """

    first: int
    lines: list[str]
    at: Instant
    stream: str = "out"
    """`out` (stdout), `err`, `log` (the logging module) or `process` (not attributable)."""
    dropped: int = 0
    dropped_bytes: int = 0
    limit: int = 0
    """With `dropped`: bytes a second that its agent lets an attempt print; 0 = it did not say."""


SPAN_NAME = 256
"""Characters of a name: of a span, its library, an attribute."""
SPAN_TEXT = 4096
"""Characters of an attribute's value, and of a status message."""
SPAN_ATTRIBUTES = 64
SPAN_EVENTS = 16
"""So many attributes, and events, a span has at most."""

_SpanName = Annotated[str, Meta(max_length=SPAN_NAME)]
_SpanText = Annotated[str, Meta(max_length=SPAN_TEXT)]
_Nanos = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Hex = Annotated[str, Meta(max_length=32)]
SpanValue = _SpanText | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | bool
SpanValues = Annotated[dict[_SpanName, SpanValue], Meta(max_length=SPAN_ATTRIBUTES)]


class SpanEvent(Struct, omit_defaults=True):
    """Something that happened at a moment of a span; `at` in ns since the Unix epoch."""

    name: _SpanName
    at: _Nanos
    attributes: SpanValues = {}


class Span(Struct, omit_defaults=True):
    """A finished OpenTelemetry span; times in ns since the Unix epoch, on the task's clock."""

    trace: _Hex
    """32 hex digits."""
    span: _Hex
    """16 hex digits."""
    name: _SpanName
    start: _Nanos
    end: _Nanos
    parent: _Hex = ""
    """Of the span around it; empty = it begins its trace."""
    kind: _Hex = "internal"
    """internal | server | client | producer | consumer."""
    status: _Hex = "unset"
    """unset | ok | error."""
    message: _SpanText = ""
    """With status `error`: what went wrong."""
    attributes: SpanValues = {}
    events: Annotated[list[SpanEvent], Meta(max_length=SPAN_EVENTS)] = []
    scope: _SpanName = ""
    """The instrumented library; `headway` for our own verbs."""


class SpanChunk(Struct, omit_defaults=True):
    """The body on `hw.span.<ns>.<run>.<epoch>`: finished spans of one attempt.

    `first` is the number of the first one in this attempt, from 1; spans that were dropped take
    numbers too, so a jump is a gap.
    """

    first: int
    spans: list[Span]
    at: Instant
    task: str = ""


class Sample(Struct, frozen=True, omit_defaults=True):
    """What one engine did in its last second, for curves; it counts runs of all namespaces.

    Engines side by side: add up what is per second and the connections, take the greatest of the
    waits and of `pending`, which every engine sees alike.
    """

    at: Instant
    started: float = 0.0
    """Attempts a second of which user code began."""
    failed: float = 0.0
    """Runs a second that failed or timed out for good."""
    retried: float = 0.0
    """Attempts a second that failed and are tried again."""
    wait_p95: float | None = None
    """Seconds in the queue within which 95 of 100 of the last minute were claimed; None = none."""
    start_p95: float | None = None
    """The same from the claim until user code began."""
    save_p95: float | None = None
    """The same of groups of saves, checkpoints among them, until they were committed."""
    pending: int = 0
    """Messages of enqueues that wait in NATS to be recorded."""
    pool_used: int = 0
    """Connections to the store that are busy."""
    pool_size: int = 0
    """Connections to the store that there may be."""


class AgentBeat(Struct, omit_defaults=True):
    """`hw.hb.agent.<ns>.<agent>`, once a second, for the eyes."""

    agent: str
    ns: str
    host: str
    runtime: str
    queues: tuple[str, ...]
    slots: int
    open: int
    warm: int
    shared_slots: int = 0
    degraded: str = ""
    draining: bool = False
    at: Instant | None = None
    counters: dict[str, float] = {}
    """What it refused and saw again since its start; `tasks`: asyncio tasks now."""
    version: str = ""
    cpu: float | None = None
    """How busy its host is, all cores together: 0 to 1; None = not known."""
    memory: int = 0
    """Bytes of memory in use on its host."""
    memory_total: int = 0
    containers: int = 0
    """Runners that live, those of the warm pool included."""
    free: int | None = None
    """Of `slots`, those that wait for a run; None = not known."""
    shared_free: int | None = None


class EngineBeat(Struct, omit_defaults=True):
    """`hw.hb.engine.<id>`, once a second, for the eyes."""

    engine: str
    version: str
    store: str
    store_ok: bool
    durability: str
    at: Instant
    counters: dict[str, float] = {}
    roles: tuple[str, ...] = ()
    """Which of its services it runs; empty = all."""
    moves: int = 0
    """Grows with everything it did that may change what stands in a queue."""
    sample: Sample | None = None


class RunsDigest(Struct, omit_defaults=True):
    """`hw.hb.runs.<ns>`, four times a second while one engine tells of many events.

    Each engine tells of what it publishes itself: add up what all of them say.
    """

    engine: str
    at: Instant
    rate: float
    """Events a second, over the last second."""
    events: int = 0
    """Since the digest before."""
    new: list[str] = []
    """Runs that began since then."""
    moved: list[str] = []
    """Others of which there was an event."""
    partly: bool = False
    """There were more of them than it names."""


RUN_EVENTS = decoder(RunEvents)
RUNS_DIGEST = decoder(RunsDigest)
LOG_CHUNK = decoder(LogChunk)
SPAN_CHUNK = decoder(SpanChunk)
AGENT_BEAT = decoder(AgentBeat)
ENGINE_BEAT = decoder(EngineBeat)
