"""Two engines at the same rows at the same moment: no deadlock, no loss, no double."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headway.states import TERMINAL, RunState
from headway.wire.fleet import QueueAsk
from headway_engine.happenings import Cancel, Finished, Started
from headway_engine.store.postgres import db
from support.factories import NS, a_checkpoint, a_step, an_enqueue
from support.locks import transaction, waiting_for_a_lock
from support.stores import LEASE
from support.wait import until

if TYPE_CHECKING:
    from headway_engine.store.records import Run
    from support.stores import PostgresKit


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a lock does so until the test lets go.

    Half a second may be over before that, and the same statement again sees what came meanwhile.
    """
    monkeypatch.setitem(db.SETTINGS, "lock_timeout", "30s")


async def deadlocks(kit: PostgresKit) -> int:
    (row,) = await kit.fetch(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return row[0]


async def running(kit: PostgresKit, count: int) -> list[Run]:
    session = await kit.ready()
    runs = await kit.enqueued(*[an_enqueue() for _ in range(count)])
    await kit.store.dispatch(NS, "default", count, 0)
    answer = await kit.store.claim(NS, "a1", session, "n", [r.id for r in runs], None)
    await kit.store.commit([(c.run.id, Started(c.run.epoch)) for c in answer.claimed])
    return [await kit.record(c.run.id) for c in answer.claimed]


async def gapless(kit: PostgresKit, run: str) -> bool:
    return await kit.numbers(run) == list(range(1, (await kit.record(run)).n + 1))


async def test_saves_of_two_engines_lock_in_one_order(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    other = await kit.engine("e2")
    runs = await running(kit, 24)

    async def steps(store: Any, tag: str, order: list[Run]) -> list[str]:
        done: list[str] = []
        for i in range(12):
            found = await store.save([a_step(run, f"{tag}{i}") for run in order])
            done += [d.outcome for d in found]
        return done

    answers = await asyncio.gather(
        steps(kit.store, "a", runs), steps(other, "b", runs[::-1]), steps(other, "c", runs)
    )
    assert {o for found in answers for o in found} == {"ok"}
    for run in runs[::6]:
        assert len(await kit.store.marks(NS, run.id)) == 36
        assert await gapless(kit, run.id)
    assert await deadlocks(kit) == 0


async def test_the_same_saves_sent_to_two_engines_are_stored_once(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    other = await kit.engine("e2")
    runs = await running(kit, 8)
    for number in range(1, 9):
        saves = [a_checkpoint(run, number) for run in runs]
        saves += [a_step(run, f"s{number}") for run in runs]  # type: ignore[misc]  # a union
        both = await asyncio.gather(kit.store.save(saves), other.save(saves[::-1]))
        assert {d.outcome for found in both for d in found} == {"ok"}
    for run in runs:
        record = await kit.record(run.id)
        assert (record.ck, record.n) == (8, run.n + 16)
        assert await gapless(kit, run.id)


async def test_cancel_against_completion_has_one_winner(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    other = await kit.engine("e2")
    runs = await running(kit, 20)
    await asyncio.gather(
        kit.store.commit([(r.id, Finished(r.epoch)) for r in runs]),
        other.commit([(r.id, Cancel("user:me")) for r in runs[::-1]]),
    )
    for run in runs:
        await kit.move(run.id, Finished(run.epoch))  # a cancelled attempt's end
        events = await kit.store.events(NS, run.id, 0, 100)
        ends = [e for e in events if e.target and RunState(e.target) in TERMINAL]
        assert [e.n for e in ends] == [events[-1].n]
        assert await gapless(kit, run.id)
    assert await deadlocks(kit) == 0


async def test_a_claim_that_waited_for_the_end_of_its_lease_is_refused(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await kit.store.dispatch(NS, "default", 1, 0)
    async with transaction(kit) as ending:
        await ending.execute("SELECT 1 FROM agents WHERE id = 'a1' FOR UPDATE")
        claim = asyncio.create_task(kit.store.claim(NS, "a1", session, "n", [run.id], None))
        await until(lambda: waiting_for_a_lock(kit))
        await ending.execute("UPDATE agents SET session = session + 1, live = false")
    answer = await claim
    assert (answer.session_over, answer.claimed) == (True, [])
    assert (await kit.record(run.id)).state is RunState.QUEUED


async def test_a_lease_does_not_end_under_a_claim(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    await kit.ready()
    for _ in range(15):
        await kit.advance(1)
        await kit.store.tick()
    async with transaction(kit) as claiming:
        await claiming.execute("SELECT 1 FROM agents WHERE id = 'a1' FOR KEY SHARE")
        await kit.store.expire(LEASE)
        (agent,) = await kit.fetch("SELECT live, session FROM agents")
        assert tuple(agent) == (True, 1)
    await kit.store.expire(LEASE)
    (agent,) = await kit.fetch("SELECT live, session FROM agents")
    assert tuple(agent) == (False, 2)


async def test_one_key_and_two_engines_make_one_run(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    other = await kit.engine("e2")
    until_ = kit.now() + timedelta(days=1)

    def batch(keys: list[int]) -> list[Any]:
        return [an_enqueue(key=f"k{k}", key_until=until_, queued_at=kit.now()) for k in keys]

    for turn in range(10):
        keys = list(range(turn * 10, turn * 10 + 10))
        one, two = await asyncio.gather(
            kit.store.enqueue(NS, batch(keys), {}), other.enqueue(NS, batch(keys[::-1]), {})
        )
        done = zip(one[0], two[0][::-1], strict=True)
        for a, b in done:
            assert sorted((a.outcome, b.outcome)) == ["duplicate", "recorded"]
            assert (a.winner or a.run) == (b.winner or b.run)
    assert await deadlocks(kit) == 0


async def test_the_same_enqueue_at_two_engines_is_one_run(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    other = await kit.engine("e2")
    for _ in range(10):
        items = [an_enqueue() for _ in range(20)]
        one, two = await asyncio.gather(
            kit.store.enqueue(NS, items, {"default": (99, 0)}),
            other.enqueue(NS, items[::-1], {"default": (99, 0)}),
        )
        for a, b in zip(one[0], two[0][::-1], strict=True):
            assert sorted((a.outcome, b.outcome)) == ["again", "recorded"]
        given = [run for _, batches in (one, two) for b in batches for run, _ in b.runs]
        assert len(given) == len(set(given))


async def test_one_dispatcher_per_queue_at_a_time(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    await kit.store.set_queue(NS, QueueAsk("default", limit=5), "user:me")
    await kit.enqueued(*[an_enqueue() for _ in range(9)])
    async with transaction(kit) as dispatcher:
        await dispatcher.execute("SELECT 1 FROM queues FOR UPDATE")
        assert await kit.store.dispatch(NS, "default", 9, 9) is None
    other = await kit.engine("e2")
    found = await asyncio.gather(
        *[store.dispatch(NS, "default", 2, 0) for store in (kit.store, other) * 4]
    )
    rest: list[Any] = []
    while (batch := await kit.store.dispatch(NS, "default", 9, 9)) is not None and batch.runs:
        rest.append(batch)
    given = [run for b in (*found, *rest) if b is not None for run, _ in b.runs]
    assert len(given) == len(set(given)) == 5


async def test_claims_of_two_agents_give_a_run_once(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    other = await kit.engine("e2")
    sessions = [await kit.ready(agent) for agent in ("a1", "a2")]
    runs = await kit.enqueued(*[an_enqueue() for _ in range(20)])
    await kit.store.dispatch(NS, "default", 99, 0)
    ids = [r.id for r in runs]
    one, two = await asyncio.gather(
        kit.store.claim(NS, "a1", sessions[0], "n1", ids, None),
        other.claim(NS, "a2", sessions[1], "n2", ids[::-1], None),
    )
    claimed = [c.run.id for c in (*one.claimed, *two.claimed)]
    assert sorted(claimed) == sorted(ids)
    assert {(await kit.record(run)).epoch for run in ids} == {1}


async def test_a_cancel_during_the_enqueue_is_found_afterwards(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    new = an_enqueue()
    async with asyncio.TaskGroup() as group, transaction(kit) as other:
        # Intake's statement has its view of the cancels, and waits.
        await other.execute(
            "INSERT INTO runs (id, ns, task, queue, state, n, created_at)"
            " VALUES ($1, 'elsewhere', 't', 'q', 'CANCELLED', 1, hw_now())",
            new.run.id,
        )
        enqueue = group.create_task(kit.store.enqueue(NS, [new], {}))
        await until(lambda: waiting_for_a_lock(kit), what="the enqueue waits")
        await kit.store.early_cancel(NS, new.run.id, "user:me", "")
        assert await kit.store.get(NS, new.run.id) is None
        await other.execute("DELETE FROM runs WHERE id = $1", new.run.id)
    outcomes, _ = enqueue.result()
    assert [o.outcome for o in outcomes] == ["recorded"]
    assert (await kit.record(new.run.id)).state is RunState.QUEUED
    assert await kit.store.late_cancels(10) == [(NS, new.run.id, "user:me", "")]
