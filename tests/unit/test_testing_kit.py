"""The verbs, in memory: what is recorded, what runs again, what is refused."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest

from headway import (
    BadTask,
    Done,
    DuplicateKey,
    HeadwayError,
    KeyMismatch,
    NestedVerb,
    NotDone,
    NotExecuted,
    OnceAmbiguous,
    Retry,
    RunFailed,
    StopRun,
    Unknown,
    attempt,
    checkpoint,
    once,
    resume,
    sleep,
    step,
    sync,
    task,
    testing,
    token,
)
from headway import tasks as tasks_module
from headway.context import AttemptInfo, Context
from headway.runner.attempt import Attempt
from headway.testing import MemoryCalls, MemoryRun, Saved
from headway.wire import ErrorInfo
from headway.wire.frames import Ack, Fail, Finish
from headway.wire.rpc import MarkRecord
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable


class State(msgspec.Struct):
    """A state."""

    n: int = 0


class Renamed(msgspec.Struct):
    """The same with its field renamed."""

    count: int = 0


@dataclass
class Data:
    """As a dataclass."""

    n: int = 0


class Model(pydantic.BaseModel):
    """As a model."""

    n: int = 0


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "_registry", {})


class Slow(MemoryCalls):
    """Answers only when it is told to."""

    def __init__(self, run: MemoryRun, epoch: int) -> None:
        super().__init__(run, epoch)
        self.frames: list[Any] = []
        self.held: list[tuple[asyncio.Future[Ack], asyncio.Future[Ack]]] = []
        self.hold = False

    def save(self, frame: Any, body: bytes = b"") -> asyncio.Future[Ack]:
        """Record; keep the answer back while `hold`."""
        self.frames.append(frame)
        answer = super().save(frame, body)
        if not self.hold:
            return answer
        kept: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self.held.append((kept, answer))
        return kept

    def release(self) -> None:
        """Answer what was held."""
        self.hold = False
        for kept, answer in self.held:
            kept.set_result(answer.result())


def prepared(
    marks: list[MarkRecord] | None = None, *, epoch: int = 2, state: bytes = b"", schema: str = ""
) -> tuple[Context, Slow]:
    run = MemoryRun()
    calls = Slow(run, epoch)
    number = 1 if state else 0
    if state:
        run.checkpoints.append(Saved(1, "before", state, schema))
    info = AttemptInfo(run.id, "t", epoch, 1, 3, number, root=run.id)
    return Context(info, calls, marks=marks or [], state=state, schema=schema), calls


async def execute(
    fn: Callable[[], Any], marks: list[MarkRecord] | None = None, **fields: Any
) -> tuple[Finish | Fail, Any, Slow]:
    """The function as one attempt: its last frame, its value, what it sent."""
    ctx, calls = prepared(marks, **fields)
    ending = await Attempt(ctx, task(id="t")(fn), grace=1).execute(b"{}")
    assert ending is not None
    return ending[0], ending[2], calls


def once_mark(status: str, **fields: Any) -> MarkRecord:
    return MarkRecord(key="k", kind="once", fn="effect", status=status, epoch=1, **fields)


def statuses(calls: Slow) -> list[str]:
    return [f.status for f in calls.frames if hasattr(f, "status")]


# --- step


async def test_a_recorded_step_is_not_run_again_and_keeps_its_type() -> None:
    ran: list[int] = []

    def work(n: int) -> State:
        ran.append(n)
        return State(n)

    @task
    async def stepping() -> list[State]:
        state = await resume(Data())
        out = [await step(f"s{i}", work, i) for i in range(2)]
        await checkpoint("c", state)
        return out

    report = await testing.crash_after_every_checkpoint(stepping)
    assert report.result == [State(0), State(1)]
    assert ran == [0, 1, 0, 1]  # the clean run and the crashed one; none of them twice


async def test_a_step_without_an_annotation_gives_json_values_the_first_time_too() -> None:
    async def body() -> Any:
        return await step("s", lambda: State(1))

    _, value, _ = await execute(body)
    assert value == {"n": 1}


async def test_a_step_that_raises_records_nothing() -> None:
    def bad() -> None:
        raise ValueError("x")

    async def body() -> None:
        await step("s", bad)

    frame, _, calls = await execute(body)
    assert isinstance(frame, Fail)
    assert frame.error.type == "ValueError"
    assert statuses(calls) == []


async def test_steps_may_run_side_by_side() -> None:
    async def body() -> list[int]:
        return await asyncio.gather(*(step(f"s{i}", abs, -i) for i in range(5)))

    _, value, _ = await execute(body)
    assert value == [0, 1, 2, 3, 4]


# --- keys


async def test_a_key_used_twice_in_one_attempt_is_an_error_for_every_verb() -> None:
    for second in (
        lambda: step("k", abs, 1),
        lambda: once("k", abs, 1),
        lambda: sleep(1, "k"),
    ):

        async def body(second: Callable[[], Any] = second) -> None:
            await step("k", abs, 1)
            await second()

        ctx, _ = prepared()
        tasks_module._registry.clear()  # pyright: ignore[reportPrivateUsage]  # one id, many tasks
        ending = await Attempt(ctx, task(id="t")(lambda_free(body))).execute(b"{}")
        assert ending is not None
        assert isinstance(ending[0], Fail)
        assert ending[0].error.type == DuplicateKey.__name__


def lambda_free(body: Callable[[], Any]) -> Callable[[], Any]:
    async def fn() -> None:
        await body()

    return fn


async def test_a_key_that_names_another_function_is_an_error_that_says_both() -> None:
    async def body() -> None:
        with pytest.raises(KeyMismatch, match=r"step of old.*once of abs"):
            await once("k", abs, 1)

    await execute(body, [MarkRecord(key="k", kind="step", fn="old")])


async def test_a_verb_inside_a_step_or_once_is_refused() -> None:
    async def inner() -> None:
        await checkpoint("c", State())

    def blocking() -> None:
        sync.checkpoint("c", State())

    async def body() -> None:
        for i, fn in enumerate((inner, blocking)):
            with pytest.raises(NestedVerb):
                await step(f"s{i}", fn)
            with pytest.raises(NestedVerb):
                await once(f"o{i}", fn)

    await execute(body)


async def test_default_keys_count_from_the_last_checkpoint() -> None:
    async def body() -> None:
        await resume(State())
        await sleep(1)
        await checkpoint("c", State())
        await sleep(1)
        await sleep(1)

    _, _, calls = await execute(body, state=b'{"n":1}')
    opened = [f.key for f in calls.frames if getattr(f, "status", "") == "open"]
    assert opened == ["@1.1", "@2.1", "@2.2"]


# --- once


async def test_a_done_once_block_never_runs_again() -> None:
    def effect() -> int:
        raise AssertionError("ran again")

    async def body() -> int:
        return await once("k", effect)

    _, value, _ = await execute(body, [once_mark("done", value=msgspec.Raw(b"7"))])
    assert value == 7


async def test_the_started_mark_is_durable_before_the_effect() -> None:
    ran: list[int] = []

    def effect() -> None:
        ran.append(1)

    for policy, early in (("raise", []), ("rerun", [1])):
        ran.clear()
        ctx, calls = prepared()
        calls.hold = True

        async def body(policy: Any = policy) -> None:
            await once("k", effect, on_ambiguous=policy)

        tasks_module._registry.clear()  # pyright: ignore[reportPrivateUsage]  # one id, many tasks
        running = asyncio.create_task(Attempt(ctx, task(id="t")(lambda_free(body))).execute(b"{}"))
        await until(lambda c=calls, e=early: len(c.frames) == 1 + len(e))
        assert ran == early
        calls.release()
        await running
        assert ran == [1]


AMBIGUOUS = ("started", "interrupted", "failed")


@pytest.mark.parametrize("status", AMBIGUOUS)
async def test_an_ambiguous_block_is_decided_by_its_policy(status: str) -> None:
    ran: list[str] = []

    def effect() -> str:
        ran.append(token())
        return "ran"

    async def under(**options: Any) -> tuple[Any, Any]:
        async def body() -> Any:
            return await once("k", effect, **options)

        ran.clear()
        tasks_module._registry.clear()  # pyright: ignore[reportPrivateUsage]  # one id, many tasks
        frame, value, _ = await execute(lambda_free_value(body), [once_mark(status)])
        return frame, value

    frame, _ = await under()
    assert isinstance(frame, Fail)
    assert (frame.cause, frame.key, frame.retry, ran) == ("ambiguous", "k", False, [])
    assert frame.token
    assert (await under(on_ambiguous="rerun"))[1] == "ran"
    assert len(ran) == 1
    assert (await under(on_ambiguous="skip"))[1] is None
    assert ran == []
    asked: list[str] = []

    def found(token: str) -> Done:
        asked.append(token)
        return Done("was done")

    assert (await under(check=found))[1] == "was done"
    assert ran == []
    assert asked
    assert (await under(check=lambda _: NotDone()))[1] == "ran"  # pyright: ignore[reportUnknownLambdaType]  # any token
    assert (await under(check=lambda _: Unknown()))[0].cause == "ambiguous"  # pyright: ignore[reportUnknownLambdaType]  # any token
    wrong, _ = await under(check=lambda _: True)  # pyright: ignore[reportUnknownLambdaType]  # any token
    assert "Done(value)" in wrong.error.message


def lambda_free_value(body: Callable[[], Any]) -> Callable[[], Any]:
    async def fn() -> Any:
        return await body()

    return fn


@pytest.mark.parametrize(
    "mark",
    [
        once_mark("failed", error=ErrorInfo(NotExecuted.__name__)),
        once_mark("started", resolved="rerun"),
        MarkRecord(key="k", kind="once", fn="effect", status="started", epoch=2),
    ],
)
async def test_a_block_that_certainly_did_not_happen_runs(mark: MarkRecord) -> None:
    def effect() -> str:
        return "ran"

    async def body() -> str:
        return await once("k", effect)

    _, value, _ = await execute(body, [mark])
    assert value == "ran"


async def test_an_operators_done_counts() -> None:
    def effect() -> str:
        return "ran"

    async def body() -> str:
        return await once("k", effect)

    mark = once_mark("started", resolved="done", value=msgspec.Raw(b'"by hand"'))
    _, value, _ = await execute(body, [mark])
    assert value == "by hand"


async def test_once_marks_how_its_function_ended() -> None:
    class Refusal(NotExecuted):
        pass

    def bad() -> None:
        raise ValueError("x")

    def refused() -> None:
        raise Refusal

    for fn, kind in ((bad, "ValueError"), (refused, "NotExecuted")):

        async def body(fn: Callable[[], None] = fn) -> None:
            await once("k", fn)

        tasks_module._registry.clear()  # pyright: ignore[reportPrivateUsage]  # one id, many tasks
        _, _, calls = await execute(lambda_free(body))
        assert statuses(calls) == ["started", "failed"]
        assert calls.frames[1].error.type == kind


async def test_the_token_is_the_same_over_attempts_and_differs_by_key() -> None:
    seen: list[str] = []

    def effect() -> None:
        seen.append(token())

    @task
    async def tokens() -> None:
        state = await resume(State())
        await once("a", effect, on_ambiguous="rerun")
        await once("b", effect)
        if state.n == 0:
            await checkpoint("c", State(1))
            raise ValueError("again")

    run = MemoryRun()
    await testing.run(tokens)
    assert len(set(seen)) == 2
    ctx, _ = prepared()
    assert ctx.token("a") == ctx.token("a") != ctx.token("b")
    assert run.id not in ctx.token("a")


async def test_a_result_of_once_that_cannot_be_saved_is_still_done() -> None:
    def effect() -> Any:
        return object()

    async def body() -> None:
        await once("k", effect)

    frame, _, calls = await execute(body)
    assert isinstance(frame, Fail)
    assert (frame.cause, frame.retry) == ("encode", False)
    assert statuses(calls) == ["started", "done"]


async def test_a_swallowed_ambiguity_still_goes_to_review() -> None:
    def effect() -> None: ...

    async def body() -> str:
        with contextlib.suppress(BaseException):
            await once("k", effect)
        with pytest.raises(OnceAmbiguous):
            await step("other", abs, 1)
        return "as if nothing had happened"

    frame, _, _ = await execute(body, [once_mark("started")])
    assert isinstance(frame, Fail)
    assert frame.cause == "ambiguous"


async def test_done_is_refused_while_a_once_block_is_open() -> None:
    async def effect() -> None:
        await asyncio.Event().wait()

    async def body() -> str:
        left = asyncio.create_task(once("k", effect))
        await until(lambda: current_open())
        return str(left.done())

    def current_open() -> bool:
        return bool(contexts[0].open_once)

    ctx, calls = prepared()
    contexts = [ctx]
    attempt_ = Attempt(ctx, task(id="t")(body), grace=1)
    ctx.tasks.clear()
    loop = asyncio.get_running_loop()
    from headway.runner.main import _user_tasks  # pyright: ignore[reportPrivateUsage]  # its factory

    loop.set_task_factory(_user_tasks)
    ending = await attempt_.execute(b"{}")
    assert ending is not None
    assert isinstance(ending[0], Fail)
    assert (ending[0].cause, ending[0].key) == ("ambiguous", "k")
    assert statuses(calls) == ["started", "interrupted"]


# --- cancellation


async def test_cancelling_a_verb_stops_the_waiting_not_the_save() -> None:
    ctx, calls = prepared()
    order: list[str] = []

    async def body() -> None:
        calls.hold = True
        saving = asyncio.create_task(checkpoint("one", State(1)))
        await until(lambda: calls.frames)
        saving.cancel()
        await asyncio.wait((saving,))
        order.append("cancelled")
        asyncio.get_running_loop().call_later(0.01, calls.release)
        await checkpoint("two", State(2))

    ending = await Attempt(ctx, task(id="t")(body)).execute(b"{}")
    assert ending is not None
    assert isinstance(ending[0], Finish)
    assert order == ["cancelled"]
    assert [f.number for f in calls.frames if hasattr(f, "number")] == [1, 2]
    assert ctx.number == 2


async def test_a_plain_functions_end_is_awaited_and_recorded_when_cancelled() -> None:
    import threading

    entered, go, ended = threading.Event(), threading.Event(), threading.Event()

    def effect() -> str:
        entered.set()
        go.wait(10)
        ended.set()
        return "x"

    ctx, calls = prepared()

    async def body() -> None:
        await once("k", effect)

    attempt_ = Attempt(ctx, task(id="t")(body))
    running = asyncio.create_task(attempt_.execute(b"{}"))
    await until(entered.is_set)
    attempt_.stop("cancel")
    await asyncio.sleep(0)
    assert not running.done()
    go.set()
    ending = await running
    assert ended.is_set()
    assert ending is not None
    assert isinstance(ending[0], Fail)
    assert ending[0].cause == "cancelled"
    assert statuses(calls) == ["started", "done"]


# --- state


@pytest.mark.parametrize("kind", [State, Data, Model])
async def test_resume_gives_back_structs_dataclasses_and_models(kind: Any) -> None:
    @task
    async def states() -> Any:
        state = await resume(kind())
        if state.n == 0:
            state.n = 5
            await checkpoint("c", state)
        return [type(state).__name__, state.n]

    report = await testing.crash_after_every_checkpoint(states)
    assert report.result == [kind.__name__, 5]


async def test_builtins_need_a_type_and_then_come_back_whole() -> None:
    async def bare() -> None:
        with pytest.raises(BadTask, match="type"):
            await resume(list[int]())

    await execute(bare)

    @task
    async def listing() -> list[State]:
        states = await resume(list[State](), type=list[State])
        while len(states) < 2:
            states.append(State(len(states)))
            await checkpoint("c", states)
        return states

    assert (await testing.crash_after_every_checkpoint(listing)).result == [State(0), State(1)]


async def test_a_renamed_field_never_silently_becomes_its_default() -> None:
    async def body() -> Any:
        return await resume(Renamed())

    frame, _, _ = await execute(body, state=b'{"n":5}', schema="another")
    assert isinstance(frame, Fail)
    assert (frame.cause, frame.retry) == ("state", False)
    assert "$.n" in frame.error.message

    async def migrating() -> int:
        return (await resume(Renamed(), migrate=lambda old: Renamed(old["n"]))).count

    tasks_module._registry.clear()  # pyright: ignore[reportPrivateUsage]  # one id, many tasks
    _, value, _ = await execute(migrating, state=b'{"n":5}', schema="another")
    assert value == 5


async def test_a_field_added_with_a_default_fits() -> None:
    class Wider(msgspec.Struct):
        n: int
        more: str = "new"

    async def body() -> Any:
        state = await resume(Wider(0))
        return [state.n, state.more]

    _, value, _ = await execute(body, state=b'{"n":5}', schema="another")
    assert value == [5, "new"]


async def test_the_state_is_what_it_was_when_checkpoint_was_called() -> None:
    ctx, calls = prepared()

    async def body() -> None:
        state = State(1)
        calls.hold = True
        saving = asyncio.create_task(checkpoint("c", state))
        await until(lambda: calls.frames)
        state.n = 99
        calls.release()
        await saving

    await Attempt(ctx, task(id="t")(body)).execute(b"{}")
    assert calls.run.checkpoints[0].state == b'{"n":1}'


# --- sleep


async def test_a_crash_does_not_restart_a_sleep() -> None:
    due = datetime(2030, 1, 1, 0, 0, 10, tzinfo=UTC)
    mark = MarkRecord(key="nap", kind="sleep", status="open", due_at=due)

    async def body() -> None:
        await sleep(30, "nap")

    _, _, calls = await execute(body, [mark])
    assert calls.run.clock == due
    assert statuses(calls) == ["done"]


async def test_a_long_sleep_gives_the_container_back_once_no_other_verb_is_in_progress() -> None:
    @task
    async def both() -> str:
        await asyncio.gather(sleep("10h", "long"), sleep("5h", "other"), sleep("30s", "short"))
        return "up"

    run = MemoryRun()
    start = run.clock
    value, _ = await testing._to_the_end(both, run, b"{}")  # pyright: ignore[reportPrivateUsage]  # to see the record
    assert value == "up"
    assert (run.clock - start).total_seconds() == 36000
    assert run.attempts >= 2


# --- the kit itself


async def test_retries_follow_the_policy() -> None:
    @task(retry=Retry(3, stop_on=(KeyError,)))
    async def flaky(kind: str) -> int:
        if kind == "key":
            raise KeyError(kind)
        if kind == "stop":
            raise StopRun("no")
        if attempt().attempt < 3 or kind == "always":
            raise ValueError("again")
        return attempt().attempt

    assert await testing.run(flaky, "some") == 3
    for kind, error in (("key", "KeyError"), ("stop", "StopRun"), ("always", "ValueError")):
        with pytest.raises(RunFailed, match=error):
            await testing.run(flaky, kind)


async def test_the_crash_test_finds_state_kept_outside_of_the_checkpoint() -> None:
    @task
    async def forgetful() -> int:
        state = await resume(State())
        total = 0
        while state.n < 3:
            state.n += 1
            total += state.n
            await checkpoint("c", state)
        return total

    with pytest.raises(AssertionError, match="after checkpoint 1"):
        await testing.crash_after_every_checkpoint(forgetful)


async def test_the_crash_test_works_for_plain_tasks() -> None:
    @task
    def plain(to: int) -> int:
        state = sync.resume(State())
        while state.n < to:
            state.n += 1
            sync.checkpoint(f"n{state.n}", state)
            sync.sleep("2m")
        return state.n

    report = await testing.crash_after_every_checkpoint(plain, 3)
    assert (report.result, report.checkpoints) == (3, ("n1", "n2", "n3"))


async def test_a_task_that_never_ends_is_reported() -> None:
    @task
    async def endless() -> None:
        await sleep("1h", f"nap-{attempt().epoch}")

    with pytest.raises(HeadwayError, match="did not end"):
        await testing.run(endless)
