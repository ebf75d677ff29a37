"""Children in memory, their ids, and their handle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headway import (
    BadPayload,
    BadPolicy,
    HeadwayError,
    OnceAmbiguous,
    Refused,
    Retry,
    RunFailed,
    attempt,
    checkpoint,
    once,
    resume,
    sleep,
    sync,
    task,
    testing,
    token,
)
from headway import tasks as tasks_module
from headway.ids import child_root, child_run_id, new_run_id, time_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """Tasks of one test only."""
    registry = tasks_module._registry  # pyright: ignore[reportPrivateUsage]  # one id, many tasks
    known = dict(registry)
    registry.clear()
    yield
    registry.clear()
    registry.update(known)


def test_a_childs_id_comes_from_its_parent_and_key_and_its_root_from_the_roots_child() -> None:
    run = new_run_id()
    child = child_run_id(run, run, "k")
    assert (time_of(child), child_root(run, "k")) == (time_of(run), child)
    assert len({child, child_run_id(run, run, "l"), child_run_id(new_run_id(), run, "k")}) == 3
    # The parent's replay keeps its root: its child is another run, with the tokens of the first.
    replay = new_run_id()
    assert child_run_id(run, replay, "k") != child
    assert child_root(run, "k") == child


async def test_children_run_in_memory_and_know_their_parent() -> None:
    @task
    async def leaf(n: int) -> list[str]:
        me = attempt()
        await sleep("1h")
        return [me.run, me.parent, me.root, await once("effect", token), str(n)]

    @task
    async def parent() -> list[list[str]]:
        one = await leaf.enqueue(1)
        two, three = await asyncio.gather(leaf.call(2), leaf.options(step="x").call(3))
        assert one.id == (await one.result())[0]
        return [await one.result(), two, three, [attempt().run]]

    *leaves, (run,) = await testing.run(parent)
    assert [x[0] for x in leaves] == [child_run_id(run, run, k) for k in ("@0.1", "@0.2", "x")]
    assert [x[4] for x in leaves] == ["1", "2", "3"]
    assert all(x[1] == run and x[2] == x[0] for x in leaves)
    assert len({x[3] for x in leaves}) == 3, "siblings share no token"


async def test_a_parent_that_starts_over_finds_its_children() -> None:
    ran: list[int] = []

    @task
    async def leaf(n: int) -> int:
        ran.append(n)
        return n * 2

    @task
    async def parent() -> list[int]:
        empty: list[int] = []
        done = await resume(empty, type=list[int])
        while len(done) < 3:
            done.append(await leaf.options(step=f"n-{len(done)}").call(len(done)))
            await checkpoint(f"c-{len(done)}", done)
        return done

    report = await testing.crash_after_every_checkpoint(parent)
    assert report.result == [0, 2, 4]
    assert ran == [0, 1, 2] * 4


async def test_the_crash_test_finds_children_that_are_started_twice() -> None:
    @task
    async def leaf() -> None: ...

    @task
    async def parent() -> None:
        done = await resume(0, type=int)
        await leaf.enqueue()  # unkeyed, and before the point of return
        if not done:
            await checkpoint("c", 1)

    with pytest.raises(AssertionError, match="options"):
        await testing.crash_after_every_checkpoint(parent)


async def test_a_failed_child_stays_failed_for_every_attempt_of_its_parent() -> None:
    tries: list[str] = []

    @task(retry=Retry(1))
    async def broken() -> None:
        tries.append("child")
        raise ValueError("no good")

    @task(retry=Retry(2))
    async def parent() -> None:
        tries.append("parent")
        await broken.call()

    with pytest.raises(RunFailed, match="ValueError: no good"):
        await testing.run(parent)
    assert tries == ["parent", "child", "parent"]


async def test_a_plain_task_calls_and_a_batch_has_its_keys() -> None:
    @task
    async def leaf(n: int) -> str:
        return attempt().run

    @task
    def parent() -> list[str]:
        run = sync.enqueue(leaf, 1)
        assert sync.result(run) == run.id
        return [attempt().run, sync.call(leaf.options(step="s"), 2)]

    @task
    async def many() -> list[str]:
        runs = await leaf.options(step="b").batch([{"n": 1}, {"n": 2}])
        assert await leaf.batch([]) == []
        return [attempt().run, *(r.id for r in runs)]

    run, keyed = await testing.run(parent)
    assert keyed == child_run_id(run, run, "s")
    run, *ids = await testing.run(many)
    assert ids == [child_run_id(run, run, f"b[{i}]") for i in range(2)]


async def test_what_cannot_be_started_says_why() -> None:
    @task
    async def leaf(n: int) -> int:
        return n

    @task
    async def unfit() -> None:
        await leaf.call("x")  # pyright: ignore[reportArgumentType]  # on purpose

    @task
    async def nobody() -> str:
        tasks_module._registry.pop("leaf")  # pyright: ignore[reportPrivateUsage]  # on purpose
        try:
            await leaf.call(1)
        except Refused as e:
            return e.code
        return ""

    @task
    async def curious() -> str:
        run = await leaf.enqueue(1)
        assert (run.recorded, run.duplicate, run.enqueued_id) == ("recorded", False, run.id)
        try:
            await run.status()
        except HeadwayError as e:
            return str(e)
        return ""

    with pytest.raises(RunFailed, match="BadPayload"):
        await testing.run(unfit)
    assert "are for clients" in await testing.run(curious)
    assert await testing.run(nobody) == "unknown_task"
    with pytest.raises(BadPayload):
        await testing.run(leaf, "x")  # pyright: ignore[reportArgumentType]  # on purpose
    with pytest.raises(BadPolicy, match="step"):
        leaf.options(step="")


async def test_a_child_that_a_person_must_decide_on_ends_the_test() -> None:
    async def dies() -> None:
        raise asyncio.CancelledError

    @task
    async def unsure() -> None:
        await once("pay", dies)

    @task
    async def parent() -> None:
        await unsure.call()

    with pytest.raises(OnceAmbiguous):
        await testing.run(parent)
