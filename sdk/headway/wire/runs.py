"""What is asked about runs on `hw.api`, and what is told of them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.retry import RetryPolicy
from headway.wire import NOTHING, BlobRef, ErrorInfo, Instant
from headway.wire.budget import Budget
from headway.wire.enqueue import Ended, Recorded
from headway.wire.events import Event
from headway.wire.fields import Text


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
    site: str = ""
    """At a hub: the site that owns it; empty = it is the hub's own."""
    job: str = ""
    """The replay job that made it."""
    claimed_at: Instant | None = None
    """When an agent last took it."""


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
    sites: dict[str, Instant | None] = {}
    """At a hub: sites that own runs on this page, and when all that is known of them was true."""


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
    before: Annotated[int, Meta(ge=0)] | None = None
    """Instead of those after `after`: the last ones with a sequence below it; 0 = of all."""


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
    """Ask again after the last one's `seq`; with `before`: before the first one's."""


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
    site: Text = ""
    """At a hub: of a site's runs alone, `-` of its own alone; empty = of all."""


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


KIN = 1000
"""So many forks, or runs that failed alike, are counted; there may be more."""
ALIKE_HOURS = 2
"""Runs that were made longer ago are not counted among those that failed alike."""


class Kin(Struct, omit_defaults=True):
    """How many runs have to do with this one; each number up to `KIN`."""

    forks: int = 0
    """Its replays and forks."""
    alike: int = 0
    """Of a failed run: those of the last `ALIKE_HOURS` with an error of its class, itself too."""
    first_at: Instant | None = None
    """When the first run with an error of its class failed, of those that are kept."""


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
    trace: str = ""
    """Of its spans: 32 hex digits, which came with the enqueue or were made of its root's id."""
    kin: Kin | None = None
    retry: RetryPolicy | None = None
    """Of its version; None = not known here."""
    env: tuple[str, ...] = ()
    """Names of the variables and secrets that its code gets; never their values."""


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
