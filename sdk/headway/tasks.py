"""@task: a typed, named, retryable function; options(), enqueue(), call(); the registry."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

import msgspec

from headway import codec, subjects
from headway.children import start_children
from headway.context import current_or_none
from headway.errors import BadPolicy, BadTask, NotEncodable, NotInRun
from headway.ids import new_run_id
from headway.payloads import Signature, import_name, place
from headway.retry import Duration, Retry, seconds
from headway.spans import traceparent
from headway.tags import A_TAG, TAGS_LIMIT, is_tag
from headway.wire import KEY_LIMIT, NOTHING, clean_text
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import TaskSpec
from headway.wire.sites import SEND_TTL, SEND_TTL_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from headway.client import RunHandle

P = ParamSpec("P")
R = TypeVar("R")

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"\A\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?\s*\Z", re.IGNORECASE)

_registry: dict[str, Task[..., Any]] = {}


def registry() -> Mapping[str, Task[..., Any]]:
    """The tasks that this process has defined, by id."""
    return _registry


def memory_bytes(value: str | int) -> int:
    """`"2g"`, `"512m"` or bytes; raises BadPolicy outside of 16 MiB to 1 TiB."""
    total = 0.0
    if isinstance(value, int) and not isinstance(value, bool):
        total = float(value)
    elif isinstance(value, str) and (m := _SIZE.match(value)):
        total = float(m[1]) * _UNITS[m[2].lower()]
    if not 16 * 1024**2 <= total <= 1024**4:
        raise BadPolicy("memory", value, 'a size such as "512m" or "2g", from 16 MiB to 1 TiB')
    return int(total)


class Options(TypedDict, total=False):
    """What `task.options(...)` takes."""

    key: str
    """Idempotency key: a second enqueue with it within `key_ttl` gives the same run."""
    key_ttl: Duration
    """24 h unless said; a fixed window."""
    key_scope: Literal["namespace", "parent"]
    keep_key: bool
    """A run that failed keeps its key."""
    priority: int
    """-1000 to 1000; higher goes first."""
    delay: Duration
    at: datetime
    """Not before that time (with a time zone)."""
    ttl: Duration
    """EXPIRED if not started within that time after it is due."""
    deadline: Duration
    """For the whole run, from its enqueue."""
    tags: Sequence[str]
    queue: str
    limit_key: str
    """The key of the queue's per-key limit (a tenant, say)."""
    version: str
    site: str
    """At a hub: the site that shall own and execute it; it waits there for the link."""
    site_ttl: Duration
    """With `site`: so long it may wait, 24 h unless said, at most 7 days."""
    step: str
    """Inside a task only: the key under which the call is recorded, as the key of `step`."""


class Task(Generic[P, R]):
    """A function that runs durably. Made by `@task`; calling it runs the function plainly."""

    def __init__(
        self, fn: Callable[..., Any], id: str, spec: TaskSpec, retry: Retry, state: Any = None
    ) -> None:
        self.id, self.fn, self.retry, self.state = id, fn, retry, state
        self.is_async = inspect.iscoroutinefunction(fn)
        self.signature = Signature(fn, id)
        self.place = place(fn)
        self._spec = spec
        self.__wrapped__ = fn
        self.__name__, self.__qualname__ = fn.__name__, fn.__qualname__
        self.__module__, self.__doc__ = fn.__module__, fn.__doc__

    def __repr__(self) -> str:
        return f"<task {self.id} at {self.place[0]}:{self.place[1]}>"

    def spec(self) -> TaskSpec:
        """Policy and schemas, as they are registered; raises BadTask if a type has no JSON form."""
        try:
            state = NOTHING if self.state is None else msgspec.Raw(codec.schema_of(self.state))
        except NotEncodable as e:
            raise BadTask(f"task {self.id!r}: state={e}") from None
        return msgspec.structs.replace(
            self._spec,
            state_schema=state,
            module=import_name(self.fn),
            payload_schema=msgspec.Raw(self.signature.schema),
            schema_hash=self.signature.schema_hash,
        )

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        """Start a run; returns when it is recorded. Raises BadPayload with the bad field's path.

        Inside a task it starts a child of the running run, once: see `headway.children`.
        """
        return await Bound(self, {}).enqueue(*args, **kwargs)

    async def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a run and wait for its result; raises RunFailed if it ends without one.

        Inside a task the caller keeps its container while it waits (giving it back meanwhile comes
        with a later release), so there must be a slot free for the child.
        """
        return await Bound(self, {}).call(*args, **kwargs)

    async def batch(self, calls: Iterable[Mapping[str, Any]]) -> list[RunHandle[R]]:
        """Start many runs in one message; each mapping holds one call's arguments by name."""
        return await Bound(self, {}).batch(calls)

    def options(self, **options: Unpack[Options]) -> Bound[P, R]:
        """The task with options for its next runs; raises BadPolicy or BadName for a bad one."""
        return Bound(self, options)


class AsyncTask(Task[P, R]):
    """A task made of an `async def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the function plainly, without Headway."""
        return self.fn(*args, **kwargs)


class SyncTask(Task[P, R]):
    """A task made of a plain `def`; its verbs come from `headway.sync`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function plainly, without Headway."""
        return self.fn(*args, **kwargs)


class Bound(Generic[P, R]):
    """A task with options; made by `task.options(...)`."""

    def __init__(self, task: Task[P, R], options: Options) -> None:
        self.task = task
        self._fields = _checked(options)
        self._step: str | None = self._fields.pop("step", None)
        self._site: str = self._fields.pop("site", "")
        self._site_ttl: float = self._fields.pop("site_ttl", SEND_TTL)

    def item(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> EnqueueItem:
        """The enqueue request of one call, checked; sends nothing."""
        return EnqueueItem(
            run=new_run_id(),
            task=self.task.id,
            payload=msgspec.Raw(self.task.signature.payload(args, kwargs)),
            schema=self.task.signature.schema_hash,
            trace=traceparent(),
            **self._fields,
        )

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        """Start a run; returns when it is recorded. Raises BadPayload with the bad field's path."""
        return (await self._submit([self.item(args, kwargs)]))[0]

    async def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a run and wait for its result; raises RunFailed if it ends without one."""
        return await (await self.enqueue(*args, **kwargs)).result()

    async def batch(self, calls: Iterable[Mapping[str, Any]]) -> list[RunHandle[R]]:
        """Start many runs in one message; each mapping holds one call's arguments by name."""
        return await self._submit([self.item((), kwargs) for kwargs in calls])

    async def _submit(self, items: list[EnqueueItem]) -> list[RunHandle[R]]:
        if current_or_none() is not None:
            if self._site:
                raise BadPolicy("site", self._site, "no site inside of a task: children run here")
            # A handle that has what works inside of a task (see ChildHandle).
            children: Any = await start_children(items, self.task.signature.result_type, self._step)
            return children
        if self._step is not None:
            raise NotInRun(f"options(step={self._step!r}) is for calls from inside a task")
        # Deferred: the task's process never loads the NATS client.
        from headway.client import default_client

        client = await default_client()
        if self._site:
            result_type = self.task.signature.result_type
            return await client.send(self._site, items, result_type, ttl=self._site_ttl)
        return await client.submit(items, self.task.signature.result_type)


def _text(what: str, value: str, limit: int = KEY_LIMIT) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limit or not clean_text(value):  # pyright: ignore[reportUnnecessaryIsInstance]  # from users
        raise BadPolicy(what, value, f"1 to {limit} characters, no NUL")
    return value


def _tag(value: str) -> str:
    if not isinstance(value, str) or not is_tag(value):  # pyright: ignore[reportUnnecessaryIsInstance]  # from users
        raise BadPolicy("tag", value, A_TAG)
    return value


def _checked(options: Options) -> dict[str, Any]:
    """Options as EnqueueItem fields; raises BadPolicy or BadName."""
    out: dict[str, Any] = dict(options)
    for what in ("key_ttl", "delay", "ttl", "deadline", "site_ttl"):
        if what in out:
            out[what] = seconds(out[what], what)
    for what in ("key", "limit_key", "version", "step"):
        if what in out:
            _text(what, out[what])
    if "site" in out:
        subjects.name(out["site"], "site")
    if not 0 < out.get("site_ttl", SEND_TTL) <= SEND_TTL_MAX:
        raise BadPolicy("site_ttl", options.get("site_ttl"), "more than zero, at most 7 days")
    if "queue" in out:
        subjects.name(out["queue"], "queue")
    if "tags" in out:
        tags = (out["tags"],) if isinstance(out["tags"], str) else tuple(out["tags"])
        if len(tags) > TAGS_LIMIT:
            raise BadPolicy("tags", tags[:3], f"at most {TAGS_LIMIT} tags")
        out["tags"] = tuple(_tag(t) for t in tags)
    if "at" in out:
        at: datetime = out["at"]
        if at.tzinfo is None:
            raise BadPolicy("at", str(at), "a time with a time zone")
        out["at"] = at.astimezone(UTC)
    priority = out.get("priority", 0)
    if not isinstance(priority, int) or not -1000 <= priority <= 1000:
        raise BadPolicy("priority", priority, "-1000 to 1000")
    if out.get("key_scope", "namespace") not in ("namespace", "parent"):
        raise BadPolicy("key_scope", out["key_scope"], '"namespace" or "parent"')
    return out


class _Decorator:
    """What `@task(...)` with arguments returns."""

    def __init__(self, **policy: Any) -> None:
        self._policy = policy

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]  # the first that fits is meant
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Any:
        """Make the task."""
        return _define(fn, **self._policy)


@overload
def task(  # pyright: ignore[reportOverlappingOverload]  # the first that fits is meant
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncTask[P, R]: ...
@overload
def task(fn: Callable[P, R], /) -> SyncTask[P, R]: ...
@overload
def task(
    *,
    id: str | None = None,
    retry: Retry | None = None,
    timeout: Duration = "1h",
    memory: str | int = "512m",
    cpus: float = 1.0,
    pids: int = 64,
    queue: str = "default",
    isolation: Literal["run", "shared"] = "run",
    network: str = "none",
    env: Sequence[str] = (),
    secrets: Sequence[str] = (),
    grace: Duration = "10s",
    keep_checkpoints: int = 20,
    suspend_after: Duration = "60s",
    budget_usd: float = 0.0,
    budget_tokens: int = 0,
    state: Any = None,
) -> _Decorator: ...
def task(fn: Callable[..., Any] | None = None, /, **policy: Any) -> Any:
    """Make a function a task, bare or with a policy.

    `id`: the function's name with `_` as `-`. `timeout`: wall clock of one attempt. `memory`,
    `cpus`, `pids`: limits of its container. `isolation`: "run" = one container per run, "shared" =
    many runs in one live process, for small trusted tasks. `env`, `secrets`: names of what the
    agent's provider gives. `grace`: between a cancel and the kill. `suspend_after`: a wait longer
    than this holds no container. `state`: the type of what it saves; whoever forks a run with an
    edited state hears at once which field does not fit. `budget_usd`, `budget_tokens`: what a run
    may use of language models (see `usage`), all its attempts together and without its children;
    beyond that it stops at its next checkpoint, step or other verb and waits in REVIEW for a
    person; 0 = any.

    Raises BadTask (also for an id that another function has), BadPolicy or BadName.
    """
    return _Decorator(**policy) if fn is None else _define(fn, **policy)


def _define(
    fn: Callable[..., Any],
    *,
    id: str | None = None,
    retry: Retry | None = None,
    timeout: Duration = "1h",
    memory: str | int = "512m",
    cpus: float = 1.0,
    pids: int = 64,
    queue: str = "default",
    isolation: str = "run",
    network: str = "none",
    env: Sequence[str] = (),
    secrets: Sequence[str] = (),
    grace: Duration = "10s",
    keep_checkpoints: int = 20,
    suspend_after: Duration = "60s",
    budget_usd: float = 0.0,
    budget_tokens: int = 0,
    state: Any = None,
) -> Task[..., Any]:
    if not inspect.isfunction(fn):
        raise BadTask(f"@task takes a function, not {fn!r}")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise BadTask(f"@task takes a function that returns, {fn.__name__} is a generator")
    task_id = subjects.name(
        fn.__name__.strip("_").replace("_", "-") if id is None else id, "task id"
    )
    if isolation not in ("run", "shared"):
        raise BadPolicy("isolation", isolation, '"run" or "shared"')
    if isinstance(cpus, bool) or not 0.01 <= cpus <= 1024:
        raise BadPolicy("cpus", cpus, "0.01 to 1024")
    if isinstance(pids, bool) or not 4 <= pids <= 100_000:
        raise BadPolicy("pids", pids, "4 to 100000")
    if isinstance(keep_checkpoints, bool) or not 1 <= keep_checkpoints <= 100_000:
        raise BadPolicy("keep_checkpoints", keep_checkpoints, "1 to 100000")
    if (limit := seconds(timeout, "timeout")) <= 0:
        raise BadPolicy("timeout", timeout, "more than zero")
    if isinstance(budget_usd, bool) or not 0 <= budget_usd <= 1e9:
        raise BadPolicy("budget_usd", budget_usd, "dollars, 0 (any) to 1e9")
    if isinstance(budget_tokens, bool) or not 0 <= budget_tokens <= 2**53:
        raise BadPolicy("budget_tokens", budget_tokens, "tokens, 0 (any) or more")
    for what, names in (("env", env), ("secrets", secrets)):
        if isinstance(names, str) or not all(
            re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", n) for n in names
        ):
            raise BadPolicy(what, names, "a list of variable names")
    retry = retry or Retry()
    policy = retry.policy
    made: Task[..., Any] = (AsyncTask if inspect.iscoroutinefunction(fn) else SyncTask)(
        fn,
        task_id,
        TaskSpec(
            task=task_id,
            queue=subjects.name(queue, "queue"),
            max_attempts=policy.max_attempts,
            factor=policy.factor,
            min_delay=policy.min_delay,
            max_delay=policy.max_delay,
            jitter=policy.jitter,
            retry_oom=policy.oom,
            retry_timeout=any(issubclass(TimeoutError, t) for t in retry.retry_on),
            timeout=limit,
            memory=memory_bytes(memory),
            cpus=float(cpus),
            pids=pids,
            isolation=isolation,
            network=_text("network", network, 64),
            env=tuple(env),
            secrets=tuple(secrets),
            grace=seconds(grace, "grace"),
            keep_checkpoints=keep_checkpoints,
            suspend_after=seconds(suspend_after, "suspend_after"),
            budget_usd=float(budget_usd),
            budget_tokens=int(budget_tokens),
            doc=(inspect.getdoc(fn) or "")[:2000],
        ),
        retry,
        state,
    )
    known = _registry.get(task_id)
    if known is not None and known.place != made.place:
        one, two = (f"{t.place[0]}:{t.place[1]}" for t in (known, made))
        raise BadTask(
            f"two tasks have the id {task_id!r}: {one} and {two}. Give one of them an id="
        )
    _registry[task_id] = made
    return made
