"""State, sleep and cancellation, in memory: what a next attempt finds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from headway import (
    BadTask,
    checkpoint,
    once,
    resume,
    sleep,
    task,
    testing,
)
from headway import tasks as tasks_module
from headway.runner.attempt import Attempt
from headway.testing import MemoryRun
from headway.wire.frames import Fail, Finish
from headway.wire.rpc import MarkRecord
from support.kit import (
    Data,
    Model,
    Renamed,
    State,
    execute,
    prepared,
    statuses,
)
from support.wait import until

pytestmark = pytest.mark.usefixtures("empty_registry")


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
