"""DECISIONS B with three engines: leases, claims, losses. Named after the rule that each is of."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from msgspec import Raw
from nats import errors as nats_errors

from headway.wire.reports import AttemptLost, Finished, GivenBack, Started, Stopped
from support.trio import LEASE, NAMES, Trio, checkpoint, trio
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.wire import rpc
    from headway_ops.local.postgres import PostgresServer
    from support.scripted_agent import ScriptedAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(postgres_server: PostgresServer, migrated: str) -> AsyncGenerator[Trio]:
    async with trio(postgres_server, migrated) as made:
        yield made


async def test_B1_an_engine_that_lost_the_store_ends_no_lease_and_answers_beats(
    three: Trio,
) -> None:
    async with three.agent() as agent:
        (a,) = await three.running(agent, 1)
        three.link.cut()
        try:
            said: set[bool] = set()
            began = asyncio.get_running_loop().time()

            async def two_leases() -> bool:
                """They are over, and beats met the engine without a store and others."""
                with contextlib.suppress(nats_errors.TimeoutError):  # it just finds out
                    answer = await three.beat(agent)
                    assert not answer.session_over
                    said.add(answer.store_down)
                passed = asyncio.get_running_loop().time() - began
                return passed > 2 * LEASE and said == {True, False}

            # Any of the three hears a beat: how many it takes is up to NATS.
            await until(two_leases, 60, what="beats with and without a store", every=0.05)
        finally:
            three.link.heal()
        assert "lost" not in await three.kinds(a.run)
        assert await three.save(agent, "e1", checkpoint(a, 1)) == ["ok"]
        await until(three.engines["e3"].ready, 20)


async def test_B2_no_claim_outlives_the_end_of_its_lease(three: Trio) -> None:
    async with three.agent() as live, three.agent(beats=False) as agent:
        first = await three.running(agent, 1)
        queue = agent.queues[0]
        waiting = [(await three.caller.enqueue(queue=queue)).run for _ in range(30)]
        taken: list[rpc.Assignment] = []
        over = False

        async def claims(engine: str) -> None:
            nonlocal over
            while not over and waiting:
                got = await three.claim(agent, engine, [waiting[len(taken) % len(waiting)]])
                taken.extend(got.assignments)
                over = over or got.session_over
                await asyncio.sleep(0.01)

        await three.rows(
            "UPDATE agents SET lease_until = now() + interval '300 ms' WHERE id = $1", agent.name
        )
        await asyncio.wait_for(asyncio.gather(*map(claims, NAMES)), 20)
        assert over
        assert (await three.beat(agent)).session_over

        async def settled() -> bool:
            rows = await three.rows(
                "SELECT 1 FROM runs WHERE agent = $1 AND state IN ('STARTING', 'RUNNING')",
                agent.name,
            )
            return not rows

        await until(settled, 10, what="what was claimed in the last moment is lost too")
        done = [Finished(a.run, a.epoch) for a in [*first, *taken]]
        assert set(await three.report(agent, "", *done)) == {"stale_epoch"}
        assert not (await three.beat(live)).session_over


async def test_B3_what_is_gone_is_agreed_on_by_beats_at_any_engine(three: Trio) -> None:
    async with three.agent() as agent:
        gone, kept, cancelled = await three.running(agent, 3)
        del agent.held[gone.run]
        agent.held["01JD9K4W2M0000000000000000"] = 3  # nobody gave it that
        await three.caller.api("cancel", {"run": cancelled.run})

        async def lost() -> bool:
            answer = await three.beat(agent)
            stops = {(s[0], s[2]) for s in answer.stop}
            # Repeated by whichever engine, until they are gone.
            assert (cancelled.run, "cancel") in stops
            assert ("01JD9K4W2M0000000000000000", "stale") in stops
            return "lost" in await three.kinds(gone.run)

        await until(lost, 10, every=0.05)
        assert "lost" not in await three.kinds(kept.run)
        assert await three.report(agent, "", Stopped(cancelled.run, cancelled.epoch, "cancel"))
        del agent.held[cancelled.run]
        assert cancelled.run not in {s[0] for s in (await three.beat(agent)).stop}


async def test_B4_losses_told_to_any_engine_are_counted_as_one_history(three: Trio) -> None:
    async with (
        three.agent("a-one", queues=("q-losses",)) as one,
        three.agent("a-two", queues=("q-losses",)) as two,
    ):
        (a,) = await three.running(one, 1)
        await three.save(one, "", checkpoint(a, 1))
        agents = cycle((two, one))
        for left in reversed(range(6)):
            holder = one if left % 2 else two
            lost = AttemptLost(a.run, a.epoch, "its host went away")
            assert await three.report(holder, "", lost) == ["ok"]
            if left:
                agent = next(agents)
                a = await claimed_again(three, agent, a.run)
                await three.report(agent, "", Started(a.run, a.epoch))
        row = await three.run(a.run)
        assert (row["state"], row["reason"], row["failures"]) == ("REVIEW", "lost", 0)
        # Poison: it never starts, on two agents (fault row 55).
        word = await three.caller.enqueue(queue="q-losses")
        for agent in (one, two, one):
            b = await claimed_again(three, agent, word.run)
            given = GivenBack(b.run, b.epoch, "it killed its agent", fault="run")
            assert await three.report(agent, "", given) == ["ok"]
        row = await three.run(word.run)
        assert (row["state"], row["reason"], row["failures"]) == ("FAILED", "poison", 0)


async def claimed_again(three: Trio, agent: ScriptedAgent, run: str) -> rpc.Assignment:
    found: list[rpc.Assignment] = []

    async def taken() -> bool:
        found.extend((await three.claim(agent, "", [run])).assignments)
        return bool(found)

    await until(taken, 10, what=f"{run} claimed", every=0.02)
    return found[0]


async def test_B_a_cancel_against_an_end_has_one_winner_whoever_hears_which(three: Trio) -> None:
    """Fault row 45: at three engines, and the claim after it."""
    async with three.agent(slots=64) as agent:
        runs = await three.running(agent, 24)

        async def end(a: rpc.Assignment, engine: str) -> None:
            (outcome,) = await three.report(agent, engine, Finished(a.run, a.epoch, Raw(b"1")))
            assert outcome in {"ok", "refused", "stale_epoch"}

        async def cancel(a: rpc.Assignment) -> None:
            await three.caller.api("cancel", {"run": a.run})

        await asyncio.gather(
            *(end(a, NAMES[i % 3]) for i, a in enumerate(runs)), *map(cancel, runs)
        )
        await three.report(agent, "", *[Stopped(a.run, a.epoch, "cancel") for a in runs])
        for a in runs:
            kinds = await three.kinds(a.run)
            assert sum(kind in ("succeeded", "cancelled") for kind in kinds) == 1
            assert kinds[-1] in ("succeeded", "cancelled")
        for engine in NAMES:
            got = await three.claim(agent, engine, [a.run for a in runs])
            assert not got.assignments
