from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from headway_engine.commits import Grouping
from headway_engine.service import Health, Probe, Service, Signal, run_services
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Gate:
    """An `act` that waits until it is let through, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self.entered = Signal()
        self.down = False

    async def __call__(self, items: list[str]) -> list[str]:
        """One round of I/O."""
        self.batches.append(items)
        self.entered.fire()
        await self.open.wait()
        if self.down:
            raise StoreDown("away")
        return [item.upper() for item in items]


def grouping(gate: Gate, **options: int) -> Grouping[str, str]:
    health = Health(lambda: 0.0)
    health.good()
    # The run is what stands before the colon.
    return Grouping("test", gate, lambda i: i.split(":")[0], health, **options)


@asynccontextmanager
async def running(*services: Service) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_services(services, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_what_arrives_while_a_batch_commits_goes_into_the_next_one() -> None:
    gate = Gate()
    g = grouping(gate, lanes=1)
    async with running(g):
        first = asyncio.create_task(g.call(["a:1"]))
        await gate.entered.next()
        rest = [asyncio.create_task(g.call([f"{r}:1"])) for r in "bcd"]
        await asyncio.sleep(0)
        gate.open.set()
        assert await first == ["A:1"]
        assert [await t for t in rest] == [["B:1"], ["C:1"], ["D:1"]]
        assert gate.batches == [["a:1"], ["b:1", "c:1", "d:1"]]


async def test_two_requests_of_one_run_are_never_in_flight_together_and_keep_their_order() -> None:
    gate = Gate()
    g = grouping(gate, lanes=3)
    async with running(g):
        calls = [asyncio.create_task(g.call(["a:1"]))]
        await gate.entered.next()
        calls += [asyncio.create_task(g.call([item])) for item in ("a:2", "b:1", "a:3")]
        await gate.entered.next()
        # Another lane took what does not touch the run in flight.
        assert gate.batches == [["a:1"], ["b:1"]]
        gate.open.set()
        await asyncio.gather(*calls)
        assert [i for batch in gate.batches for i in batch if i[0] == "a"] == ["a:1", "a:2", "a:3"]


async def test_a_request_that_waits_is_not_overtaken_by_a_later_one_of_its_runs() -> None:
    gate = Gate()
    g = grouping(gate, lanes=2)
    async with running(g):
        calls = [asyncio.create_task(g.call(["a:1"]))]
        await gate.entered.next()
        # The second request waits for run a; the third shares run b with the second.
        calls += [asyncio.create_task(g.call(items)) for items in (["a:2", "b:1"], ["b:2"])]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert gate.batches == [["a:1"]]
        gate.open.set()
        await asyncio.gather(*calls)
        flat = [i for batch in gate.batches for i in batch]
        assert flat.index("b:1") < flat.index("b:2")


async def test_a_request_stays_together_and_each_hears_its_own_outcomes() -> None:
    gate = Gate()
    gate.open.set()
    g = grouping(gate, lanes=1, batch=2)
    async with running(g):
        one, two = await asyncio.gather(g.call(["a:1", "b:1", "c:1"]), g.call(["d:1"]))
    assert (one, two) == (["A:1", "B:1", "C:1"], ["D:1"])
    assert gate.batches[0] == ["a:1", "b:1", "c:1"]


async def test_when_the_store_is_down_everybody_hears_busy_and_the_lane_goes_on() -> None:
    gate = Gate()
    gate.down = True
    gate.open.set()
    g = grouping(gate, lanes=1)
    async with running(g):
        with pytest.raises(StoreDown):
            await g.call(["a:1"])
        gate.down = False
        assert await g.call(["a:1"]) == ["A:1"]


async def test_nothing_gathers_while_the_store_is_known_to_be_down() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    g = Grouping[str, str]("test", Gate(), str, health, lanes=1)
    health.bad("away")
    now[0] = 60.0
    assert not g.submit(["a"], lambda _: None)
    assert g.waiting == 0
    health.good()
    assert g.submit(["a"], lambda _: None)


async def test_a_store_that_takes_the_question_and_never_answers_is_down() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    asked = asyncio.Event()

    async def ask() -> None:
        asked.set()
        await asyncio.Event().wait()

    probe = Probe(health, ask, patience=0.01)
    async with running(probe):
        await asked.wait()
        await probe.passed.after(0)
    assert "no answer" in health.down_reason
    assert health.down()


def test_an_outage_of_the_store_is_said_once_and_its_end_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health = Health(lambda: 1.0)
    for _ in range(3):
        health.bad("connection refused")
    health.good()
    health.good()
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]
    assert "connection refused" in caplog.messages[0]
    assert "answers again" in caplog.messages[1]


async def test_too_much_waiting_is_refused_at_once() -> None:
    gate = Gate()
    g = grouping(gate, lanes=1, capacity=2)
    heard: list[object] = []
    assert g.submit(["a:1", "b:1"], heard.append)
    assert not g.submit(["c:1"], heard.append)
    with pytest.raises(StoreDown):
        await g.call(["c:1"])
    assert heard == []


async def test_a_service_that_fails_ends_all_the_others() -> None:
    class Fails(Service):
        name = "fails"

        async def run(self) -> None:
            raise ValueError("broken")

    class Waits(Service):
        name = "waits"
        cancelled = False

        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                Waits.cancelled = True
                raise

    with pytest.raises(ExceptionGroup) as caught:
        await run_services([Waits(), Fails()], asyncio.Event())
    assert caught.group_contains(ValueError, match="broken")
    assert Waits.cancelled


async def test_a_service_that_lost_its_cancel_ends_all_the_same_when_another_fails() -> None:
    begun = asyncio.Event()

    class Deaf(Service):
        name = "deaf"

        async def run(self) -> None:
            with contextlib.suppress(asyncio.CancelledError):  # as wait_for of Python 3.11 may
                begun.set()
                await asyncio.Event().wait()
            await self.stopping.wait()

    class Fails(Service):
        name = "fails"

        async def run(self) -> None:
            await begun.wait()
            raise ValueError("broken")

    deaf = Deaf()
    all_of_them = asyncio.create_task(run_services([deaf, Fails()], asyncio.Event()))
    done, _ = await asyncio.wait([all_of_them], timeout=5)
    deaf.stopping.set()
    with pytest.raises(ExceptionGroup) as caught:
        await all_of_them
    assert caught.group_contains(ValueError, match="broken")
    assert done


async def test_a_service_that_ends_by_itself_is_a_failure() -> None:
    class Ends(Service):
        name = "ends"

        async def run(self) -> None:
            return

    with pytest.raises(ExceptionGroup) as caught:
        await run_services([Ends()], asyncio.Event())
    assert caught.group_contains(RuntimeError, match="ended by itself")


async def test_stop_may_come_before_start_and_twice() -> None:
    gate = Gate()
    g = grouping(gate)
    await g.stop()
    await g.stop()
    async with asyncio.TaskGroup() as group:
        g.start(group)
    assert not g.ready()


def test_ready_means_that_the_store_answered_within_two_seconds() -> None:
    now = [10.0]
    health = Health(lambda: now[0])
    assert not health.ready()
    health.good()
    now[0] += 1.9
    health.bad("away")
    assert health.ready()
    assert not health.down()
    now[0] += 0.2
    assert not health.ready()
    assert health.down()
    health.good()
    assert not health.down()
