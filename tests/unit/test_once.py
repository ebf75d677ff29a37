"""once, in memory: its marks, who decides after a crash, its token."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway import (
    Done,
    NotDone,
    NotExecuted,
    OnceAmbiguous,
    Unknown,
    checkpoint,
    once,
    resume,
    step,
    task,
    testing,
    token,
)
from headway import tasks as tasks_module
from headway.runner.attempt import Attempt
from headway.testing import MemoryRun
from headway.wire import ErrorInfo
from headway.wire.frames import Fail
from headway.wire.rpc import MarkRecord
from support.kit import (
    State,
    execute,
    lambda_free,
    lambda_free_value,
    once_mark,
    prepared,
    statuses,
)
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("empty_registry")


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


def not_done(_token: str) -> NotDone:
    return NotDone()


POLICIES: dict[str, dict[str, Any]] = {
    "rerun": {"on_ambiguous": "rerun"},
    "skip": {"on_ambiguous": "skip"},
    "check": {"check": not_done},
}


@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES)
async def test_no_policy_decides_while_an_older_attempt_may_still_be_inside(
    options: dict[str, Any],
) -> None:
    async def body() -> Any:
        def effect() -> None:
            raise AssertionError("ran although a zombie may run it")

        return await once("k", effect, **options)

    ctx, _ = prepared([once_mark("started")])
    ctx.unconfirmed = True
    ending = await Attempt(ctx, task(id="t")(lambda_free_value(body))).execute(b"{}")
    assert ending is not None
    frame = ending[0]
    assert isinstance(frame, Fail)
    assert (frame.cause, frame.key, frame.waits) == ("ambiguous", "k", True)
