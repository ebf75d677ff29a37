"""Bodies of every size and kind through the whole stack: nothing is cut, changed or refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headway.client import Client
from headway.errors import RunFailed, TooLarge
from headway.wire.fleet import QueueAsk
from support import body_tasks as t
from support.engines import running_engine
from support.live import live, live_config
from support.servers import settings_for

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
ODD = "a\x00b \ud800 \udfff é \u2028 \U0001f600 \x7f"
"""NUL, lone surrogates, line separators: all of it is a Python string, and JSON can carry it."""


@pytest.mark.parametrize("size", [127 * KIB, 129 * KIB, 700 * KIB, 1100 * KIB, 5000 * KIB])
async def test_payloads_of_any_size_arrive_whole(nats: str, database: str, size: int):
    async with live(nats, database) as stack:
        assert await stack.result(t.b_size, "p" * size) == size


@pytest.mark.parametrize("size", [129 * KIB, 690 * KIB, 1100 * KIB, 7000 * KIB])
async def test_a_large_state_comes_back_after_a_kill(
    nats: str, database: str, tmp_path: Path, size: int
):
    async with live(nats, database) as stack:
        got = await stack.result(t.b_grows, str(tmp_path), size)
        assert got == [1, 1, 1, size]  # lost: no retry was used


@pytest.mark.parametrize("size", [129 * KIB, 700 * KIB, 1500 * KIB, 9000 * KIB])
async def test_results_of_any_size_reach_the_caller(nats: str, database: str, size: int):
    async with live(nats, database) as stack:
        assert await stack.result(t.b_result, size) == "r" * size
        assert await stack.result(t.b_shared, "r" * size) == "r" * size


async def test_two_engines_share_large_bodies_through_the_object_store(
    nats: str, database: str, tmp_path: Path
):
    # Parts of one body, and the requests for them, reach either engine.
    beside = live_config(nats, database, "objects", id="e2")
    async with live(nats, database, blobs="objects", id="e1") as stack, running_engine(beside):
        assert await stack.result(t.b_size, "p" * (3000 * KIB)) == 3000 * KIB
        assert await stack.result(t.b_grows, str(tmp_path), 7000 * KIB) == [1, 1, 1, 7000 * KIB]
        assert await stack.result(t.b_result, 3000 * KIB) == "r" * (3000 * KIB)
        sizes = await asyncio.gather(
            *(stack.result(t.b_size, "p" * (200 * KIB + i)) for i in range(12))
        )
        assert sizes == [200 * KIB + i for i in range(12)]


async def test_many_payloads_claimed_together_are_more_than_a_message_holds(
    nats: str, database: str
):
    async with live(nats, database) as stack:
        await stack.client.api("queue-set", QueueAsk("default", paused=True), object)
        runs = [await stack.start(t.b_shared, f"{i:02d}" + "p" * (120 * KIB)) for i in range(14)]
        await stack.client.api("queue-set", QueueAsk("default", paused=False), object)
        got = await asyncio.gather(*(run.result(30) for run in runs))
        assert [g[:2] for g in got] == [f"{i:02d}" for i in range(14)]
        for run in runs:
            kinds = [e.kind for e in await stack.events(run.id)]
            assert kinds.count("starting") == 1, kinds


async def test_many_large_results_reach_a_client_that_asks_for_all_at_once(
    nats: str, database: str
):
    async with live(nats, database) as stack:
        runs = [await stack.start(t.b_result, 100 * KIB + i) for i in range(25)]
        for run in runs:
            await run.result(30)
        async with await Client.open(settings_for(nats)) as other:
            got = await asyncio.gather(*(other.result(run.id, str, within=20) for run in runs))
        assert [len(g) for g in got] == [100 * KIB + i for i in range(25)]


async def test_thousands_of_recorded_steps_come_back_page_by_page(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        count = 3000
        got = await stack.result(t.b_steps, str(tmp_path), count, 900, within=60)
        assert divmod(got, 1_000_000) == (sum(range(count)), 0), "a recorded step ran again"


async def test_large_step_values_are_fetched_when_they_are_asked_for(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        got = await stack.result(t.b_steps, str(tmp_path), 6, 1500 * KIB, within=60)
        assert divmod(got, 1_000_000) == (sum(range(6)), 0)


async def test_many_middle_sized_steps_at_once_do_not_break_the_channel(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        got = await stack.result(t.b_steps, str(tmp_path), 100, 150 * KIB, within=60)
        assert divmod(got, 1_000_000) == (sum(range(100)), 0)


async def test_a_checkpoint_over_the_limit_is_final_and_named(nats: str, database: str):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_too_large)
        with pytest.raises(RunFailed, match="checkpoint 'giant'") as e:
            await run.result(30)
        assert e.value.error_type == "TooLarge"
        detail = await run.detail()
        assert [c.name for c in detail.checkpoints] == ["first"]
        assert [e.kind for e in detail.events].count("started") == 1


async def test_a_payload_over_the_limit_is_refused_before_anything_is_sent(
    nats: str, database: str
):
    async with live(nats, database) as stack:
        with pytest.raises(TooLarge, match="payload"):
            await stack.start(t.b_size, "p" * (17 * KIB * KIB))


async def test_any_text_is_kept_exactly(nats: str, database: str, tmp_path: Path):
    async with live(nats, database) as stack:
        assert await stack.result(t.b_echo, ODD) == ODD
        assert await stack.result(t.b_odd_state, str(tmp_path), ODD) == ODD
        deep = {"k\x00": [1.5, 2**70, None, {"s": "\ud83d"}]}
        assert await stack.result(t.b_echo, deep) == deep
