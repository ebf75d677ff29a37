"""DECISIONS C with three engines: intake and keys. Named after the rule that each test is of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from headway.ids import new_run_id
from headway.wire import ErrorInfo
from headway.wire.reports import AttemptFailed
from support.engines import calling
from support.trio import Trio, item, outcome, trio
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_ops.local.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(postgres_server: PostgresServer, migrated: str) -> AsyncGenerator[Trio]:
    async with trio(postgres_server, migrated) as made:
        yield made


async def test_C1_a_hundred_enqueues_of_one_key_are_one_run(three: Trio) -> None:
    """Fault row 47."""
    runs = [new_run_id() for _ in range(100)]
    await asyncio.gather(*(three.caller.send(item(run, "k-47")) for run in runs))
    words = [await three.caller.word(run) for run in runs]
    assert len({outcome(w)[1] for w in words}) == 1
    assert sorted(w.outcome for w in words) == ["duplicate"] * 99 + ["recorded"]
    other = new_run_id()
    await three.caller.send(item(other, "k-47", b'{"n":2}'))
    word = await three.caller.word(other)
    assert (word.outcome, word.code) == ("rejected", "key_conflict")


async def test_C1_batches_that_name_the_same_keys_in_other_orders_do_not_lock_each_other(
    three: Trio,
) -> None:
    before = await three.deadlocks()
    keys = [f"order-{i}" for i in range(40)]
    batches = [[item(new_run_id(), key) for key in order] for order in (keys, keys[::-1]) * 6]
    await asyncio.gather(*(three.caller.send(*batch) for batch in batches))
    winners: dict[str, set[str]] = {}
    for entry in (i for batch in batches for i in batch):
        word = await three.caller.word(entry.run)
        winners.setdefault(str(entry.key), set()).add(outcome(word)[1])
    assert all(len(found) == 1 for found in winners.values())
    assert await three.deadlocks() == before


async def test_C2_one_id_with_two_payloads_is_recorded_for_the_first_alone(three: Trio) -> None:
    async with calling(three.nats) as one, calling(three.nats) as two:
        for _ in range(12):
            run = new_run_id()
            told = {one: b'{"n":1}', two: b'{"n":2}'}
            for _ in "12":  # each sends its own once more: the answers stay
                one.recorded.clear()
                two.recorded.clear()
                await asyncio.gather(*(c.send(item(run, "", body)) for c, body in told.items()))
                words = {body: await c.word(run) for c, body in told.items()}
                (stored,) = await three.rows("SELECT body FROM payloads WHERE run = $1", run)
                for body, word in words.items():
                    first = body == bytes(stored["body"])
                    assert (word.outcome, word.code) == (
                        ("recorded", "") if first else ("rejected", "conflict")
                    )


async def test_C3_a_key_that_its_run_freed_has_one_next_holder(three: Trio) -> None:
    async with three.agent() as agent:
        (a,) = await three.running(agent, 1, key="k-freed")
        runs = [new_run_id() for _ in range(60)]
        error = ErrorInfo("ValueError", "no")
        failed = AttemptFailed(a.run, a.epoch, "stop", error, retry=False)

        async def enqueues() -> None:
            for run in runs:
                await three.caller.send(item(run, "k-freed"))

        await asyncio.gather(enqueues(), three.report(agent, "", failed))
        words = [await three.caller.word(run) for run in runs]
        holders = {outcome(w)[1] for w in words}
        assert len(holders - {a.run}) == 1
        assert (await three.run(a.run))["state"] == "FAILED"


async def test_C3_at_the_end_of_its_window_a_key_gives_the_old_run_or_one_new_one(
    three: Trio,
) -> None:
    """Fault row 48."""
    first = await three.caller.enqueue(key="k-48")
    await three.rows("UPDATE keys SET until = now() + interval '200 ms' WHERE key = 'k-48'")
    runs: list[str] = []

    async def until_new() -> bool:
        more = [new_run_id() for _ in range(6)]
        runs.extend(more)
        await asyncio.gather(*(three.caller.send(item(run, "k-48")) for run in more))
        words = [await three.caller.word(run) for run in more]
        return all(outcome(w)[1] != first.run for w in words)

    await until(until_new, 10)
    holders = [outcome(three.caller.recorded[run])[1] for run in runs]
    assert first.run in holders
    assert len(set(holders)) == 2


async def test_C4_a_cancel_that_overtakes_its_enqueue_is_honoured_by_whoever_records_it(
    three: Trio,
) -> None:
    for _ in range(8):
        run = new_run_id()
        await asyncio.gather(
            three.caller.api("cancel", {"run": run, "reason": "early"}),
            three.caller.send(item(run, "")),
        )
        await three.caller.word(run)

        async def cancelled(run: str = run) -> bool:
            return (await three.run(run))["state"] == "CANCELLED"

        await until(cancelled, 5)
