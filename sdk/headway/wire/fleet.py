"""Queues, agents, metrics and deployments: what is asked and told on `hw.api`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.retry import RetryPolicy
from headway.wire import DEFAULT_QUEUE, DURATION_LIMIT, NOTHING, Instant
from headway.wire.events import Sample
from headway.wire.fields import Name, Seconds, Text


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

    def policy(self) -> RetryPolicy:
        """How often and how soon a failed run of it is tried again."""
        return RetryPolicy(
            self.max_attempts, self.factor, self.min_delay, self.max_delay, self.jitter,
            self.retry_oom, self.retry_timeout,
        )  # fmt: skip

    def variables(self) -> tuple[str, ...]:
        """Names of what its code gets from its surroundings, secrets last; never their values."""
        return (*self.env, *self.secrets)


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
