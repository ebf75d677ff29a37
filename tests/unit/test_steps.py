"""Steps and keys, in memory: what is recorded, what runs again, what is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headway import (
    DuplicateKey,
    KeyMismatch,
    NestedVerb,
    checkpoint,
    once,
    resume,
    sleep,
    step,
    sync,
    task,
    testing,
)
from headway import tasks as tasks_module
from headway.runner.attempt import Attempt
from headway.wire.frames import Fail, Finish
from headway.wire.rpc import MarkRecord
from support.kit import (
    Data,
    State,
    execute,
    lambda_free,
    prepared,
    statuses,
)

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("empty_registry")


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


# --- a store that was set back under a running attempt


async def test_a_checkpoint_goes_on_after_the_last_one_that_the_store_still_has() -> None:
    keys: list[list[str]] = []

    async def body() -> None:
        for n in range(5):
            await sleep(0.001)
            await checkpoint(f"c{n}", State(n))
        run = calls.run
        del run.checkpoints[2:]
        run.marks = {k: m for k, m in run.marks.items() if k < "@3"}
        keys.append(sorted(run.marks))
        await checkpoint("after", State(5))
        # The keys that are counted from the lost checkpoints are free again.
        await sleep(0.001)
        await checkpoint("last", State(6))
        keys.append(sorted(run.marks))

    ctx, calls = prepared()
    ending = await Attempt(ctx, task(id="t")(body), grace=1).execute(b"{}")
    assert ending is not None
    assert isinstance(ending[0], Finish), ending[0]
    saved = [(c.number, c.name) for c in calls.run.checkpoints]
    assert saved == [(1, "c0"), (2, "c1"), (3, "after"), (4, "last")]
    assert keys == [["@0.1", "@1.1", "@2.1"], ["@0.1", "@1.1", "@2.1", "@3.1"]]
    assert ctx.number == 4
