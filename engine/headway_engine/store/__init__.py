"""The store port: the truth about runs.

A store carries out transitions atomically and conditionally; `lifecycle.decide` alone decides. Each
method below is described by its guarantee. All raise `StoreDown` when the store cannot be reached
or refuses to write (the caller answers `busy` and tries again: every method is safe to repeat), and
no other exception for anything that a user can send: a poison row is answered `rejected` alone.

Times in arguments and answers are on the store's clock, UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from headway.errors import HeadwayError
from headway.wire import BlobRef
from headway.wire.blobs import BlobPart
from headway_engine.store.records import (
    LAST_SEQ,
    AgentState,
    Claimed,
    Dispatch,
    EnqueueOutcome,
    NewRun,
    Outcome,
    Purge,
    QueueState,
    Renewed,
    Run,
    SaveDone,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.bundles import BundleMark
    from headway.wire.events import Event
    from headway.wire.fleet import AgentRow, Deployment, DeploymentRow, QueueAsk, QueueRow, TaskSpec
    from headway.wire.replays import JobItem, JobRow, Plan, PlanItem, SourcesAsk, SourcesPage
    from headway.wire.rpc import Beat, MarkRecord, Register
    from headway.wire.runs import (
        CheckpointRow,
        Facets,
        FacetsAsk,
        MarkRow,
        ResultsAnswer,
        Review,
        RunDetail,
        RunsPage,
        RunsQuery,
        UsageAsk,
        UsageRow,
    )
    from headway.wire.saves import AnySave
    from headway.wire.steering import DeadAsk, DeadPage
    from headway_engine.happenings import Told
    from headway_engine.jobrules import JobFacts
    from headway_engine.store.forking import ForkSource

__all__ = ["BlobPart", "BlobRef", "ClaimAnswer", "Store", "StoreDown", "StoreFacts"]


class StoreDown(HeadwayError):
    """The store cannot be reached or does not accept writes; nothing was decided, ask again."""

    code = "store_down"


class StoreFacts(Struct):
    """What an engine must know of its store at start; `doctor` shows it."""

    kind: str = "postgres"
    version: str = ""
    schema: int = 0
    durable: bool = True
    """synchronous_commit and fsync are on."""
    problems: list[str] = []
    """What an operator should change, in words."""
    identity: str = ""
    """Of this database among all others; the same after a failover, another after a copy."""


class ClaimAnswer(Struct):
    """What `claim` decided."""

    claimed: list[Claimed] = []
    refused: list[tuple[str, str]] = []
    session_over: bool = False
    overdue: bool = False
    """Nothing was decided: the lease is overdue, and a beat has to renew it first."""
    outcomes: list[Outcome] = []
    """Transitions besides the claims (VersionMissing → REVIEW), to be published."""
    imageless: list[tuple[str, str, str, str]] = []
    """Refused since this agent lacks the image: (run, queue, version, image)."""


class Store(Protocol):
    """The truth about runs; see the module's docstring for what holds for every method."""

    engine: str
    """Id of the engine that uses this store object (outbox rows carry it)."""

    async def open(self) -> StoreFacts:
        """Connect, migrate under a lock, check settings; raises StoreDown or a SetupError."""
        ...

    async def facts(self) -> StoreFacts:
        """Version and settings of the store, for `doctor`; raises StoreDown."""
        ...

    async def close(self) -> None:
        """Give connections back; idempotent."""
        ...

    async def now(self) -> datetime:
        """The store's clock; a cheap probe that the store answers."""
        ...

    # --- intake

    async def enqueue(
        self,
        ns: str,
        batch: Sequence[NewRun],
        room: dict[str, tuple[int, int]],
    ) -> tuple[list[EnqueueOutcome], list[Dispatch]]:
        """Record new runs, in one transaction, one outcome per item in order (DECISIONS C).

        The same id and payload again = `again`; the same id with another payload, or a live key
        with another payload = `rejected` (code `conflict`). A key's holder = `duplicate`. An early
        cancel of the id is honoured. `room`: per queue, how many runs (run-isolated, shared) may
        be dispatched at once within this very commit, if the queue has no limits, is not paused
        and has no older runs waiting; these come back as Dispatch, the rest waits for `dispatch`.
        """
        ...

    async def reject(self, ns: str, run: str, code: str, reason: str) -> None:
        """Keep the refusal of an enqueue for 7 days, so that `result()` can raise it."""
        ...

    async def ends(self, ns: str, runs: Sequence[str]) -> ResultsAnswer:
        """Which of these have ended, and what is known of the others."""
        ...

    # --- dispatch

    async def queues(self) -> list[QueueState]:
        """All queues of all namespaces that have settings, agents or waiting runs."""
        ...

    async def dispatch(self, ns: str, queue: str, room: int, shared_room: int) -> Dispatch | None:
        """Choose due runs within limits: priority, then runs that go on, then age; per-key heads.

        At most `room` run-isolated and `shared_room` shared ones. One dispatcher per queue at a
        time (the queue's row is locked, `SKIP LOCKED`). Without runs: nothing may go now. None:
        another engine is at it, or the queue is paused; what waits there is not known.
        """
        ...

    async def dispatched(self, batches: Sequence[tuple[int, int]], stream_created: str) -> None:
        """These are in WORK: (dispatch, sequence of its last message)."""
        ...

    async def undispatched(
        self,
        acked: dict[tuple[str, str], int],
        stream_created: str,
        older_than: float = 30.0,
        written: int = LAST_SEQ,
    ) -> list[Dispatch]:
        """Dispatches whose messages are gone, or that were never published: publish them again.

        `acked`: per (ns, queue) the consumer's ack floor in WORK (stream sequence). `written`: the
        last sequence of WORK: a killed server has forgotten what has a higher one. Older than so
        many seconds only, unless they are in another stream than `stream_created`. Batches with no
        run left to claim are forgotten.
        """
        ...

    async def claim(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        runs: Sequence[str],
        images: frozenset[str] | None,
    ) -> ClaimAnswer:
        """Give these runs to the agent's session, if its lease is live (DECISIONS B2).

        Each must be QUEUED and dispatched, its queue not paused and within its limits, its version
        known. Raises the epoch. The same nonce again gives the same answer. A refused run loses its
        dispatch in the same commit.
        """
        ...

    async def load_marks(
        self, ns: str, run: str, epoch: int, after: str
    ) -> tuple[list[MarkRecord], bool]:
        """A page of marks in key order, and whether there are more; none of another namespace."""
        ...

    # --- inside an attempt

    async def save(self, saves: Sequence[AnySave], ns: Sequence[str] = ()) -> list[SaveDone]:
        """Checkpoints and marks, one conditional statement per kind and batch (DECISIONS A1).

        `ns`: per save the namespace that its sender speaks for (empty: the caller vouches for all);
        a run of another one is as if it did not exist.

        Outcomes: ok (also for a repeat), stale_epoch, conflict (same number or key, other
        content), gap, cancelling (a started mark while CANCELLING), rejected.

        What an attempt has used is recorded beside them, whatever became of it since: the greatest
        total per attempt and model counts.
        """
        ...

    async def spent(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[int, int, float]]:
        """Of these runs, those that used something: (tokens in, tokens out, US dollars)."""
        ...

    async def set_budget(self, ns: str, run: str, usd: float, tokens: int, actor: str) -> None:
        """What a person gives to a run; 0 = as before."""
        ...

    async def budgets(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[float, int]]:
        """What persons gave to these runs, if anything; 0 = nothing of that kind."""
        ...

    async def usage(self, ns: str, ask: UsageAsk) -> list[UsageRow]:
        """Sums of what runs have used, over a window."""
        ...

    async def commit(self, moves: Sequence[Told]) -> list[Outcome]:
        """Load, decide, write: each run's transition whole or not at all, in order per run.

        One round of I/O per batch; repeated on a lost race. Events, end, marks, key release and
        outbox row are in the same commit. Outcomes besides decide's own: `unknown` (no such run,
        or none of the namespace that the move names), `rejected` (the store cannot take it).
        """
        ...

    async def published(self, events: Sequence[tuple[str, int]]) -> None:
        """RUNS has acknowledged the events of earlier commits up to these (run, n).

        Their outbox rows go with this engine's next batch, or tick.
        """
        ...

    async def unpublished(self, older_than: float) -> list[tuple[str, str, str, str, list[Event]]]:
        """What no engine has published for so many seconds: (run, ns, task, queue, events)."""
        ...

    # --- agents and leases

    async def register(
        self,
        ns: str,
        ask: Register,
        lease: float,
    ) -> tuple[int, list[tuple[str, int]], list[tuple[str, int]]]:
        """(session, kept, stop). The same session with a live lease keeps its attempts."""
        ...

    async def beat(
        self,
        ns: str,
        ask: Beat,
        lease: float,
    ) -> Renewed:
        """Renew the lease.

        With the full list: what the store gives to this agent but it does not hold, in two beats
        running, is lost now; what it holds but is not open is on the stop list (DECISIONS B3).
        Lost runs come out of `expire`.
        """
        ...

    async def drain(self, ns: str, agent: str, how: str, actor: str, reason: str = "") -> None:
        """Keep an operator's word for this agent, with who gave it and when (`Renewed.drain`).

        It outlives the agent's sessions; an agent that is not known is left unknown.
        """
        ...

    async def expire(self, lease: float) -> list[Outcome]:
        """End leases that are over: raise the agent's session, then lose its runs (B2).

        Only if the store has been writable and beats served for one whole lease (B1). Also those
        runs that beats found missing.
        """
        ...

    async def tick(self, lease: float = 15.0, elapsed: float | None = None) -> None:
        """This engine serves beats and the store commits: the clock of B1, once a second.

        `elapsed`: seconds since this engine's last tick, by a clock that nobody sets. If the
        store's clock has jumped ahead of that, open attempts get the jump on top of their time.
        """
        ...

    # --- timers

    async def due(self, limit: int) -> tuple[list[str], datetime | None, datetime]:
        """(runs that are due now, when the next one is due, now)."""
        ...

    async def overdue(self, limit: int) -> list[str]:
        """Runs whose TTL, deadline, start deadline or timeout backstop may have passed."""
        ...

    async def late_cancels(self, limit: int) -> list[tuple[str, str, str, str]]:
        """Early cancels whose run is recorded and live: (ns, run, actor, reason).

        The enqueue was under way when its cancel came, and did not see it. Such a run is not given
        to an agent; whoever reads this cancels it.
        """
        ...

    async def prune(self) -> int:
        """Remove expired keys, old refusals, runs past retention, spent dispatches; how many.

        Works in small batches.
        """
        ...

    # --- blobs that nobody names any more

    async def purges(self, limit: int) -> list[Purge]:
        """Blobs to remove now; no other engine gets them for five minutes.

        Those of a pruned run come a day after its rows went, those of pruned checkpoints an hour.
        A blob that a row still names is not among them. Answer with `purged`.
        """
        ...

    async def purged(self, ids: Sequence[int]) -> None:
        """These were removed."""
        ...

    async def keep_blob(self, ns: str, run: str, key: str) -> bool:
        """This blob is about to be written (again): forget that it was to be removed.

        False = an engine is removing it at this moment: ask again.
        """
        ...

    async def purge_later(self, ns: str, run: str, keys: Sequence[str]) -> None:
        """Remove these in a day, unless a row names them by then."""
        ...

    async def unnamed(self, runs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these (ns, run), those of which no row speaks and none is expected.

        No run, no outcome of an enqueue, no early cancel, no purge to come. Removed runs are among
        them once their blobs were purged.
        """
        ...

    # --- registry, control, lists

    async def deploy(self, ns: str, what: Deployment) -> list[str]:
        """Register a version and make it the current one of its tasks; warnings, if any."""
        ...

    async def spec(self, ns: str, task: str, version: str = "") -> tuple[str, TaskSpec] | None:
        """(version, spec) of a task, the current one by default; cached briefly."""
        ...

    async def deployments(self, ns: str) -> list[DeploymentRow]:
        """Newest first."""
        ...

    async def early_cancel(self, ns: str, run: str, actor: str, reason: str) -> None:
        """A cancel of an id that is not known yet: intake honours it (DECISIONS C4)."""
        ...

    async def find(self, ns: str, prefix: str) -> list[str]:
        """Run ids that begin so, at most 3."""
        ...

    async def get(self, ns: str, run: str) -> Run | None:
        """The record."""
        ...

    async def detail(self, ns: str, run: str) -> RunDetail | None:
        """Row, payload, result, events, checkpoints, marks."""
        ...

    async def events(self, ns: str, run: str, after: int, n: int) -> list[Event]:
        """Events with a number above `after`."""
        ...

    async def state(
        self, ns: str, run: str, number: int
    ) -> tuple[CheckpointRow, bytes, BlobRef | None] | None:
        """One checkpoint with its body; 0 = the last."""
        ...

    async def runs(self, ns: str, query: RunsQuery) -> RunsPage:
        """A page of the list, in the order of ids; raises BadQuery.

        Its work is bounded: a page may be short, or empty, and still say where it goes on.
        """
        ...

    async def dead(self, ns: str, ask: DeadAsk) -> DeadPage:
        """Failures that nobody has acknowledged, by class; reads those alone, by index."""
        ...

    async def reviews(self, ns: str, runs: Sequence[str]) -> dict[str, Review]:
        """Of these runs those in REVIEW, and what each waits for."""
        ...

    async def facets(self, ns: str, ask: FacetsAsk) -> Facets:
        """The values of some fields and how many runs have each; raises BadQuery.

        Of many runs only the newest are looked at: the answer says so.
        """
        ...

    async def marks(self, ns: str, run: str) -> list[MarkRow]:
        """Recorded steps, once marks and waits."""
        ...

    async def mark_page(self, ns: str, run: str, after: str, n: int) -> list[BundleMark]:
        """At most `n` marks with a key above `after`, in order of their keys, with values."""
        ...

    async def fork_source(self, ns: str, run: str) -> ForkSource | None:
        """All that a fork reads of the run; the copy itself is part of `enqueue`."""
        ...

    # --- replay jobs

    async def sources(self, ns: str, ask: SourcesAsk) -> SourcesPage:
        """What a plan has to know of a page of runs; raises BadQuery."""
        ...

    async def job_put(self, ns: str, plan: Plan, sha256: str, actor: str) -> None:
        """Record a job of this plan with the ids of its forks, unless there is one already."""
        ...

    async def jobs(self, ns: str, job: str = "") -> list[tuple[JobRow, Plan]]:
        """Newest first, each with its plan (maybe without items); `job`: this one alone."""
        ...

    async def job_items(self, ns: str, job: str, after: int, n: int) -> list[JobItem]:
        """Items in order, those with a number above `after`."""
        ...

    async def jobs_take(self, seconds: float) -> list[tuple[str, Plan, JobFacts]]:
        """Live jobs that this engine holds, or takes since nobody does, for so many seconds.

        (namespace, plan, facts); forks that ended are booked first.
        """
        ...

    async def job_next(
        self, ns: str, job: str, n: int, upto: int
    ) -> list[tuple[int, str, PlanItem]]:
        """(number, id of the fork, item) of the next `n` that wait, none above `upto`."""
        ...

    async def job_given(self, ns: str, job: str, number: int, reason: str = "") -> None:
        """A waiting item was forked, or refused for a reason."""
        ...

    async def job_moved(self, ns: str, job: str, items: Sequence[tuple[int, str]]) -> None:
        """Waiting items whose runs were moved, or not for a reason: (number, reason); they end."""
        ...

    async def job_paced(self, ns: str, job: str, at: datetime) -> None:
        """The pace is used up until then."""
        ...

    async def job_move(
        self,
        ns: str,
        job: str,
        seen: Sequence[str],
        state: str,
        reason: str = "",
        *,
        approve: bool = False,
    ) -> bool:
        """Change the job's state if it is in one of `seen`, and let go of it."""
        ...

    async def live(self) -> dict[tuple[str, str], int]:
        """Live runs by (namespace, state in lower case), of namespaces with a known queue."""
        ...

    def use(self) -> tuple[int, int]:
        """(connections to it that are busy, connections that there may be)."""
        ...

    async def named_queues(self, ns: str) -> frozenset[str]:
        """Queues that a deployed task, an agent or a setting names; none is forgotten."""
        ...

    async def set_queue(self, ns: str, ask: QueueAsk, actor: str) -> QueueRow:
        """Change a queue's settings."""
        ...

    async def queue_rows(self, ns: str) -> list[QueueRow]:
        """Queues with their numbers."""
        ...

    async def agents(self, ns: str = "") -> list[AgentState]:
        """Agents, with live leases or recently so; all namespaces if empty."""
        ...

    async def agent_rows(self, ns: str) -> list[AgentRow]:
        """As agents, for the api."""
        ...
