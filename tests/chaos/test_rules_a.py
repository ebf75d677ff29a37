"""DECISIONS A with three engines: saves and the store. Each is named after its rule."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from msgspec import Raw

from headway.wire.reports import Finished
from support.trio import NAMES, Trio, checkpoint, mark, trio
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.wire import rpc
    from headway_ops.local.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(postgres_server: PostgresServer, migrated: str) -> AsyncGenerator[Trio]:
    # No lease ends here, however busy the machine is.
    async with trio(postgres_server, migrated, lease=60.0) as made:
        yield made


async def test_A1_saves_that_three_engines_hear_several_times_are_stored_once(three: Trio) -> None:
    chance = random.Random(1)
    async with three.agent() as agent:
        runs = await three.running(agent, 6)

        async def attempt(a: rpc.Assignment) -> None:
            for number in range(1, 9):
                saves = (checkpoint(a, number), mark(a, f"s{number}"))
                # Its answer was lost, or is only late: the same save is with other engines too.
                asked = chance.choices(NAMES, k=3)
                found = await asyncio.gather(*(three.save(agent, e, *saves) for e in asked))
                assert found == [["ok", "ok"]] * 3
            late = await three.save(agent, chance.choice(NAMES), checkpoint(a, 3))
            other = await three.save(agent, chance.choice(NAMES), checkpoint(a, 8, b"2"))
            gap = await three.save(agent, chance.choice(NAMES), checkpoint(a, 11))
            assert (late, other, gap) == (["ok"], ["conflict"], ["gap"])

        await asyncio.gather(*(attempt(a) for a in runs))
        for a in runs:
            kinds = await three.kinds(a.run)
            assert (kinds.count("checkpoint"), kinds.count("step")) == (8, 8)
            assert (await three.run(a.run))["ck"] == 8


async def test_A2_poison_fails_alone_while_the_stores_connections_are_cut(three: Trio) -> None:
    async with three.agent() as agent:
        runs = await three.running(agent, 9)

        async def cut() -> None:
            for _ in range(5):
                await three.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0.1)

        async def saves(a: rpc.Assignment, engine: str) -> None:
            for number in range(1, 6):
                poison = mark(a, "nul\0")
                found = await three.save(agent, engine, checkpoint(a, number), poison)
                assert found == ["ok", "rejected"]

        await asyncio.gather(cut(), *(saves(a, NAMES[i % 3]) for i, a in enumerate(runs)))
        for a in runs:
            assert (await three.kinds(a.run)).count("checkpoint") == 5
        await until(lambda: all(e.ready() for e in three.engines.values()), 10)


async def test_A3_writers_of_three_engines_that_meet_at_the_same_runs_never_deadlock(
    three: Trio,
) -> None:
    before = await three.deadlocks()
    async with three.agent() as agent:
        runs = await three.running(agent, 24)

        async def saves(engine: str, order: list[rpc.Assignment]) -> None:
            for number in range(1, 9):
                await three.save(agent, engine, *[mark(a, f"{engine}-{number}") for a in order])

        async def cancels(order: list[rpc.Assignment]) -> None:
            for a in order:
                await three.caller.api("cancel", {"run": a.run})

        async def ends(engine: str, order: list[rpc.Assignment]) -> None:
            await three.report(agent, engine, *[Finished(a.run, a.epoch) for a in order])

        away = list(reversed(runs))
        await asyncio.gather(
            saves("e1", runs), saves("e2", away), cancels(runs[:6]), ends("e3", away[:6]),
            ends("e2", runs[6:12]),
        )  # fmt: skip
        for a in runs:
            await three.kinds(a.run)
    assert await three.deadlocks() == before


async def test_A5_an_attempt_needs_no_engine_of_its_own(three: Trio) -> None:
    async with three.agent() as agent:
        (a,) = await three.running(agent, 1)
        for number in range(1, 7):
            assert await three.save(agent, NAMES[number % 3], checkpoint(a, number)) == ["ok"]
        done = Finished(a.run, a.epoch, Raw(b"7"), size=1)
        ends = await asyncio.gather(*(three.report(agent, e, done) for e in NAMES))
        assert ends == [["ok"]] * 3
        assert (await three.caller.end(a.run)).status == "succeeded"
        assert (await three.kinds(a.run)).count("succeeded") == 1
