"""What is asked of the engine by clients, and its answers.

Enqueue requests travel on `hw.in.<ns>` (stream INGEST), many in one message; everything else is a
request on `hw.api.<ns>.<user>.<verb>`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from headway.wire import (
    DEFAULT_QUEUE,
    DURATION_LIMIT,
    NOTHING,
    BlobRef,
    ErrorInfo,
    Instant,
    decoder,
)
from headway.wire.budget import Budget
from headway.wire.events import Event, Sample

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_-]{0,63}\Z")]
RunId = Annotated[str, Meta(pattern=r"\A[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")]
Text = Annotated[str, Meta(max_length=256)]
Seconds = Annotated[float, Meta(ge=0, le=DURATION_LIMIT)]
Priority = Annotated[int, Meta(ge=-1000, le=1000)]


class EnqueueItem(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One run to be made. `payload` is a JSON object: parameter name to value."""

    run: RunId
    task: Name
    payload: Raw = NOTHING
    payload_ref: BlobRef | None = None
    schema: Text = ""
    """Hash of the payload schema it was checked against; empty = the engine checks it."""
    queue: Name | None = None
    """Instead of the task's own queue."""
    key: Text | None = None
    key_ttl: Seconds = 86400.0
    key_scope: Literal["namespace", "parent"] = "namespace"
    keep_key: bool = False
    """A run that failed keeps its key."""
    priority: Priority = 0
    """Higher goes first."""
    delay: Seconds = 0.0
    at: datetime | None = None
    ttl: Seconds | None = None
    """EXPIRED if not started within that time after it is due."""
    deadline: Seconds | None = None
    """The whole run, from its enqueue."""
    tags: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    limit_key: Text = ""
    """The key of the queue's per-key limit (a tenant, say)."""
    version: Text | None = None
    parent: RunId | None = None
    root: RunId | None = None
    trace: Annotated[str, Meta(max_length=64)] = ""
    """W3C traceparent of the enqueuing span."""


class EnqueueBatch(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of an INGEST message."""

    items: Annotated[list[Raw], Meta(max_length=2000)]
    """EnqueueItems; decoded one by one, so that one bad item fails alone."""
    client: Annotated[str, Meta(max_length=64)] = ""
    reply: Annotated[str, Meta(max_length=160)] = ""
    """Where to answer *recorded* and send results: `hw.reply.<user>.<token>`."""
    want: Literal["recorded", "result"] = "result"
    """`result`: the end of each run is pushed to `reply` as well."""


class Recorded(Struct, frozen=True, omit_defaults=True):
    """The engine's word on one enqueue."""

    run: str
    outcome: Literal["recorded", "duplicate", "rejected"]
    winner: str = ""
    """With `duplicate`: the run that holds the key."""
    code: str = ""
    reason: str = ""


class Ended(Struct, frozen=True, omit_defaults=True):
    """A run has ended. `result` is raw JSON when SUCCEEDED; large ones come as a reference."""

    run: str
    status: str
    result: Raw = NOTHING
    result_ref: BlobRef | None = None
    error: ErrorInfo | None = None


class Answers(Struct, omit_defaults=True):
    """What the engine publishes on `hw.reply.<client>.<token>`: any number of both kinds."""

    recorded: list[Recorded] = []
    ended: list[Ended] = []
    durability: str = ""
    """`fsynced`, `replicated` or `lazy`: what *accepted* is worth on this NATS."""


# --- hw.api


class ApiError(Struct, omit_defaults=True):
    """Any api answer may be this instead: `{"error": {...}}`."""

    code: str
    """bad_request, bad_query, not_found, refused, conflict, stale, unavailable, not_served ..."""
    message: str
    column: int = 0
    """With `bad_query`: where in the text, from 1."""


class ApiAnswer(Struct, omit_defaults=True):
    """The envelope of every api answer: one of the two is set."""

    data: Raw = NOTHING
    error: ApiError | None = None


class RunsQuery(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`runs`: a page of the list, newest first. Empty filters match all."""

    status: tuple[str, ...] = ()
    """Lower-case states, or `live`, `ended`."""
    task: str = ""
    """Exact, or with `*` as a glob."""
    queue: str = ""
    tags: tuple[str, ...] = ()
    """All of these."""
    ids: tuple[str, ...] = ()
    since: Instant | None = None
    until: Instant | None = None
    text: str = ""
    """In id, task, tag or error."""
    after: str = ""
    """Keyset paging: `next` of the page before."""
    n: Annotated[int, Meta(ge=1, le=1000)] = 200
    query: str = ""
    """In the query language (`headway.query`); the filters above must hold as well."""
    sort: Literal["newest", "oldest"] = "newest"
    total: bool = False
    """Say how many runs match."""


class OpenMark(Struct, omit_defaults=True):
    """A once mark that was interrupted: whether its effect happened is not known."""

    key: str
    token: str
    epoch: int
    status: str
    """started | interrupted | failed."""


class Review(Struct, omit_defaults=True):
    """What a run in REVIEW waits for."""

    since: Instant | None = None
    why: str = ""
    marks: tuple[OpenMark, ...] = ()
    """To be decided on, by key."""
    unconfirmed: tuple[int, ...] = ()
    """Epochs of older attempts that nobody has seen end: they may still run an effect."""


class RunRow(Struct, omit_defaults=True):
    """One run in a list."""

    run: str
    task: str
    status: str
    queue: str
    created_at: Instant
    version: str = ""
    epoch: int = 0
    n: int = 0
    attempt: int = 0
    """Attempts that used a retry, the current one included."""
    max_attempts: int = 0
    checkpoint: int = 0
    checkpoint_name: str = ""
    agent: str = ""
    priority: int = 0
    tags: tuple[str, ...] = ()
    due_at: Instant | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None
    reason: str = ""
    error: ErrorInfo | None = None
    parent: str = ""
    origin: str = ""
    """The run that this one replays or forks."""
    key: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    """Used by all its attempts together, as they told it."""
    failure: str = ""
    """FAILED, TIMED_OUT: the class of its error, by which dead letters are grouped."""
    acked: bool = False
    """A person has seen the failure; until then it is a dead letter."""
    review: Review | None = None
    """While it is in REVIEW."""


class RunsPage(Struct, omit_defaults=True):
    """The answer of `runs`."""

    runs: list[RunRow]
    as_of: Instant
    more: bool = False
    counts: dict[str, int] = {}
    """Live runs by status, in the namespace."""
    next: str = ""
    """With `more`: `after` of the next page. A page may have few rows, or none, and still be
    followed by others: one request looks at so many runs only."""
    total: int | None = None
    """How many match, if that was asked for."""
    estimated: bool = False
    """`total` is what the database expects: too many to count."""


class FacetsAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`facets`: which values have the runs that a query means, and how many runs each?"""

    query: str = ""
    by: Annotated[
        tuple[Literal["status", "task", "queue", "tag", "error", "agent", "image"], ...],
        Meta(min_length=1, max_length=7),
    ] = ("status", "error")
    """`error`: the type alone."""
    n: Annotated[int, Meta(ge=1, le=100)] = 10
    """Values of each, the most frequent ones."""


class Facet(Struct):
    """One value of a field."""

    value: str
    runs: int


class Facets(Struct, omit_defaults=True):
    """The answer of `facets`."""

    as_of: Instant
    matched: int
    """Runs that were counted."""
    partly: bool = False
    """They are those among the newest runs only: more than one request looks at."""
    values: dict[str, list[Facet]] = {}
    """By field, the most frequent first. Runs without a value are left out."""


class RunAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`run`, `why`, `result`, `events`, `checkpoints`: about one run.

    `run` answers RunDetail, `events` a list of events.Event (those above `after`, at most `n`).
    """

    run: str
    """The id, or for `run` a prefix of at least 6 characters that only one run has."""
    after: int = 0
    """`events`: those with n above it."""
    n: int = 1000


class LogsAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`logs`: a run's stored output, oldest first."""

    run: str
    after: Annotated[int, Meta(ge=0)] = 0
    """Chunks with a sequence above it."""
    attempt: Annotated[int, Meta(ge=0)] = 0
    """Of this attempt (its epoch) alone; 0 = of all."""
    n: Annotated[int, Meta(ge=1, le=1000)] = 1000


class StoredLog(Struct):
    """One stored chunk."""

    seq: int
    """Its sequence in the stream, as `Nats-Sequence` of the live message."""
    epoch: int
    chunk: Raw
    """An events.LogChunk."""


class LogsPage(Struct, omit_defaults=True):
    """The answer of `logs`."""

    logs: list[StoredLog]
    more: bool = False
    """Ask again after the last one's `seq`."""


class SpansAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`spans`: a run's stored spans, oldest first."""

    run: str
    after: Annotated[int, Meta(ge=0)] = 0
    """Chunks with a sequence above it."""
    attempt: Annotated[int, Meta(ge=0)] = 0
    """Of this attempt (its epoch) alone; 0 = of all."""
    n: Annotated[int, Meta(ge=1, le=1000)] = 1000


class StoredSpans(Struct):
    """One stored chunk of spans."""

    seq: int
    """Its sequence in the stream, as `Nats-Sequence` of the live message."""
    epoch: int
    chunk: Raw
    """An events.SpanChunk."""


class SpansPage(Struct, omit_defaults=True):
    """The answer of `spans`."""

    spans: list[StoredSpans]
    more: bool = False
    """Ask again after the last one's `seq`."""


class UsageAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`usage`: what runs have used of language models, summed."""

    by: Literal["task", "model", "run", "day"] = "task"
    """`day`: of UTC, by when an attempt told it last."""
    task: Text = ""
    """Of this task alone."""
    model: Text = ""
    """Of this model alone."""
    run: Text = ""
    """Of this run alone."""
    since: Instant | None = None
    until: Instant | None = None
    n: Annotated[int, Meta(ge=1, le=1000)] = 200


class UsageRow(Struct, omit_defaults=True):
    """One row of the answer of `usage`, the dearest first."""

    key: str
    """The task, the model, the run's id, or the day (`2026-01-31`)."""
    runs: int = 0
    attempts: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


class CheckpointRow(Struct, omit_defaults=True):
    """One checkpoint."""

    number: int
    name: str
    size: int
    at: Instant
    epoch: int
    sha256: str = ""
    schema: str = ""
    """Hash of the type that it was saved with."""


class StateAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`state`: the body of one checkpoint; 0 = the last."""

    run: str
    number: int = 0


class StateAnswer(Struct, omit_defaults=True):
    """A checkpoint with its state; a large one comes as a reference, to be read by `blob-get`."""

    row: CheckpointRow
    state: Raw = NOTHING
    key: str = ""


class MarkRow(Struct, omit_defaults=True):
    """One recorded step, once mark or wait."""

    key: str
    kind: str
    fn: str
    status: str
    epoch: int
    at: Instant
    token: str = ""
    size: int = 0


class RunDetail(Struct, omit_defaults=True):
    """The answer of `run`."""

    row: RunRow
    payload: Raw = NOTHING
    payload_ref: BlobRef | None = None
    result: Raw = NOTHING
    result_ref: BlobRef | None = None
    events: list[Event] = []
    """At most 500: of a long run those that tell most (`events.gist`); `events` pages all."""
    checkpoints: list[CheckpointRow] = []
    """The last 500 of those that are kept."""
    marks: list[MarkRow] = []
    """The last 500."""
    why: str = ""
    """In plain words: why the run is where it is, and what would move it."""
    budget: Budget | None = None
    """What it may use, and has used; None = any."""


class ResultsAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`result`: which of these have ended? One batched request per client."""

    runs: Annotated[list[str], Meta(max_length=1000)]


class ResultsAnswer(Struct, omit_defaults=True):
    """Ended runs, and what is known of the others (`rejected`, `unknown`, or a live status)."""

    ended: list[Ended] = []
    others: dict[str, str] = {}
    aliases: dict[str, str] = {}
    """Run id to the winner of its key."""
    refused: dict[str, Recorded] = {}
    """Why intake refused those that are `rejected`."""


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


class DeadAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`dead`: failures that nobody has acknowledged, by class."""

    by: Literal["task", "error"] = "task"
    """`task`: a class is an error of one task; `error`: of all tasks together."""
    n: Annotated[int, Meta(ge=1, le=1000)] = 200


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


class DeadPage(Struct, omit_defaults=True):
    """The answer of `dead`: the largest class first."""

    classes: list[DeadClass]
    as_of: Instant
    total: int = 0
    """Runs of all classes."""
    more: int = 0
    """Classes that are not listed."""


class BulkAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`bulk`: cancel, resume or acknowledge what a query means, oldest first, a page at a time.

    The first request has no `as_of`; those after it repeat the one of its answer, so that relative
    times stand still and nothing that was made since is touched, and go on after `next`.
    """

    verb: Literal["cancel", "resume", "ack"]
    query: str
    dry_run: bool = False
    """Count only."""
    as_of: Instant | None = None
    after: Annotated[str, Meta(max_length=26)] = ""
    reason: Text = ""


class BulkPage(Struct, omit_defaults=True):
    """The answer of `bulk`: what became of one page of runs."""

    as_of: Instant
    matched: int = 0
    done: int = 0
    already: int = 0
    """Somebody was first, or a request is repeated."""
    refused: dict[str, str] = {}
    """Run to reason."""
    runs: list[str] = []
    """Those that matched."""
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


class QueueAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`queue-set`: change a queue live; absent fields stay. `limit` 0 = none.

    A queue that no task, agent or setting knows is refused (`unknown_queue`), unless `create`.
    """

    queue: Name
    limit: int | None = None
    key_limit: int | None = None
    paused: bool | None = None
    priority: int | None = None
    create: bool = False
    reason: Text = ""
    """With `paused`: why, for those who see it paused."""


class QueueFlow(Struct, frozen=True, omit_defaults=True):
    """What one engine saw of a queue: each run that comes or goes is seen by one engine alone.

    All engines together: add up `came` and `went`; of the waits take the longest.
    """

    engine: str
    at: Instant
    came: float = 0.0
    """Runs a second that came into the queue, new or again, over the last 10 s."""
    went: float = 0.0
    """Runs a second that left it for an agent, over the last 10 s."""
    wait_p95: float | None = None
    """Seconds within which 95 of 100 of the last minute left it; None = none did."""


class QueueRow(Struct, omit_defaults=True):
    """One queue: in the answer of `queues`, and once a second on `hw.hb.queue.<ns>.<queue>`.

    An engine that does not read the store beats without `at`: then only `flows` says something.
    """

    queue: str
    limit: int = 0
    key_limit: int = 0
    paused: bool = False
    priority: int = 0
    queued: int = 0
    dispatched: int = 0
    open: int = 0
    retrying: int = 0
    """Like `delayed` and `agents`: not in beats."""
    delayed: int = 0
    agents: int = 0
    oldest_at: Instant | None = None
    """Since when the one waits that has waited longest, of those not yet given to WORK."""
    paused_by: str = ""
    """Who paused it, or resumed it last: `user:<name>`."""
    paused_at: Instant | None = None
    reason: str = ""
    """Why it is paused, if that was said."""
    at: Instant | None = None
    """When these numbers were read from the store."""
    flows: tuple[QueueFlow, ...] = ()
    """In a beat its engine's own; in an answer those of all engines that were heard."""
    depth: tuple[int, ...] = ()
    """In an answer: how many waited, second by second, at most a minute, the latest last."""


class AgentRow(Struct, omit_defaults=True):
    """One agent."""

    agent: str
    host: str
    alive: bool
    session: int
    lease_until: Instant
    runtime: str = ""
    queues: tuple[str, ...] = ()
    slots: int = 0
    shared_slots: int = 0
    open: int = 0
    degraded: str = ""
    versions: tuple[str, ...] = ()
    drain: str = ""
    """`drain`: it takes nothing new, what runs goes on; `now`: what runs is given back."""
    drain_by: str = ""
    """Who said so last, also of its end."""
    drain_at: Instant | None = None
    drain_reason: str = ""
    """Why, if that was said."""
    version: str = ""
    """This and what follows: of its last beat, if the engine that answers has heard one lately."""
    cpu: float | None = None
    memory: int = 0
    memory_total: int = 0
    containers: int = 0
    warm: int = 0
    beat_at: Instant | None = None


class MetricsAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`metrics`: what engines and agents did, second by second."""

    last: Annotated[int, Meta(ge=1, le=900)] = 900
    """Seconds; with very many engines the answer has fewer."""


class AgentsSample(Struct, frozen=True, omit_defaults=True):
    """What all agents of a namespace did in a second."""

    at: Instant
    log_lines: float = 0.0
    """Lines of output a second."""
    log_dropped: float = 0.0
    """Of those that runners or agents dropped over the rate limit."""
    spans_dropped: float = 0.0


class Metrics(Struct, omit_defaults=True):
    """The answer of `metrics`: samples as the engine that answers has heard them, oldest first."""

    now: Instant
    engines: dict[str, list[Sample]] = {}
    """By engine, of all namespaces; one that is gone stays for 15 minutes."""
    agents: list[AgentsSample] = []
    """Of the namespace."""
    log_lines: int = 0
    """This and what follows: of the agents heard lately, since each one's start."""
    log_dropped: int = 0
    spans_dropped: int = 0


class TaskSpec(Struct, frozen=True, omit_defaults=True):
    """What is registered of a task under a version: its policy and its schemas."""

    task: Name
    queue: Name = DEFAULT_QUEUE
    max_attempts: Annotated[int, Meta(ge=1, le=10_000)] = 3
    factor: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    min_delay: Seconds = 1.0
    max_delay: Seconds = 60.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    retry_oom: bool = False
    retry_timeout: bool = False
    timeout: Annotated[float, Meta(gt=0, le=DURATION_LIMIT)] = 3600.0
    """Wall clock of one attempt from `started`, seconds."""
    # Zero and less would mean "no limit" to a container engine.
    memory: Annotated[int, Meta(ge=16 * 1024**2, le=1024**4)] = 512 * 1024 * 1024
    cpus: Annotated[float, Meta(ge=0.01, le=1024)] = 1.0
    pids: Annotated[int, Meta(ge=4, le=100_000)] = 64
    isolation: Literal["run", "shared"] = "run"
    network: Text = "none"
    env: tuple[Text, ...] = ()
    """Names of variables that the agent's provider gives."""
    secrets: tuple[Text, ...] = ()
    grace: Seconds = 10.0
    """Seconds between a cancel and SIGKILL."""
    keep_checkpoints: Annotated[int, Meta(ge=1, le=100_000)] = 20
    suspend_after: Seconds = 60.0
    """A wait longer than this holds no container."""
    budget_usd: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    """What a run may use of language models, all attempts together, before it asks; 0 = any."""
    budget_tokens: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """As that: tokens in and out."""
    module: str = ""
    """Where the function is: `package.module:function`."""
    payload_schema: Raw = NOTHING
    schema_hash: str = ""
    doc: str = ""
    state_schema: Raw = NOTHING
    """Of what it saves, if `@task(state=...)` says so: edited states are checked against it."""


class Deployment(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`deploy`: a version with its tasks; it becomes the current one of its tasks."""

    version: Text
    tasks: list[TaskSpec]
    image: Text = ""
    """Image id (`sha256:...`) for the docker runtime; empty = process runtime or dev base."""
    image_tag: Text = ""
    modules: tuple[str, ...] = ()
    """Modules that the runner imports."""
    source: str = ""
    """Development: a folder on the agent's host that is mounted read-only."""
    dev: bool = False


class DeploymentRow(Struct, omit_defaults=True):
    """A registered version."""

    version: str
    image: str
    image_tag: str
    tasks: tuple[str, ...]
    created_at: Instant
    current: bool = False
    live_runs: int = 0
    dev: bool = False


class BlobPut(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`blob-put`: one part of a client's large payload; the last part's answer is the BlobRef."""

    run: RunId
    upload: Annotated[str, Meta(max_length=64)]
    index: int
    last: bool
    data: bytes
    sha256: str = ""


class BlobUrl(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`blob-url`: where to put a client's large payload; `blob-done`: its BlobRef, once checked."""

    run: RunId
    size: Annotated[int, Meta(ge=0)]
    sha256: str


class SignedPut(Struct, omit_defaults=True):
    """The answer of `blob-url`: PUT the body there with these headers. No URL = send parts."""

    url: str = ""
    headers: dict[str, str] = {}


class BlobGet(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`blob-get`: a range of a blob of this namespace; the answer is `{"data": base64}`."""

    key: str
    offset: int = 0
    length: Annotated[int, Meta(ge=1, le=512 * 1024)] = 512 * 1024


class BlobPart(Struct, omit_defaults=True):
    """A piece of a blob."""

    data: bytes
    size: int = 0
    """Of the whole blob."""


class Done(Struct, omit_defaults=True):
    """The answer of a command: what happened, and the run's status after it."""

    run: str
    outcome: str
    """`ok`, `already`, or the code of a refusal."""
    status: str = ""
    message: str = ""


class Info(Struct, omit_defaults=True):
    """`info`: who answers."""

    engine: str
    version: str
    store: str
    """`postgres`, `edge`."""
    store_ok: bool
    durability: str
    now: Instant
    schema: int = 0
    detail: dict[str, Any] = {}
    roles: tuple[str, ...] = ()
    """Which of its services this engine runs; empty = all."""


ENQUEUE = decoder(EnqueueBatch)
ITEM = decoder(EnqueueItem)
ANSWERS = decoder(Answers)
API_ANSWER = decoder(ApiAnswer)


def schemas() -> dict[str, Any]:
    """JSON Schemas of what foreign clients may send and hear."""
    from headway.wire.replays import ForkAsk

    types = [
        EnqueueBatch,
        EnqueueItem,
        Answers,
        ApiAnswer,
        RunsQuery,
        FacetsAsk,
        RunAsk,
        ResultsAsk,
        CancelAsk,
        ResumeAsk,
        AckAsk,
        BulkAsk,
        ReplayAsk,
        ForkAsk,
        QueueAsk,
        Deployment,
    ]
    from headway.wire.twins import twin

    made: dict[type, Any] = {}
    _, components = msgspec.json.schema_components([twin(t, made) for t in types])
    return components
