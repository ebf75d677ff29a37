"""A real runner process that serves many runs at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from headway.wire.frames import (
    Bye,
    Cancel,
    Fail,
    Finish,
    RunStarted,
)
from support.fake_agent import FakeAgent
from support.runners import env, result
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def shared() -> AsyncIterator[FakeAgent]:
    async with FakeAgent(env(shared=True, slots=256)) as made:
        yield made


async def test_a_shared_runner_serves_many_runs_at_once(shared: FakeAgent) -> None:
    await shared.start()
    for slot in range(1, 201):
        shared.run("noop", b'{"value":%d}' % slot, slot=slot)
    done = await shared.wait_for(Finish, 200)
    assert {f.slot: result(f) for f in done} == {n: n for n in range(1, 201)}
    shared.send(Bye())
    assert await shared.exit_code() == 0


async def test_in_a_shared_runner_output_belongs_to_its_run(shared: FakeAgent) -> None:
    await shared.start()
    for slot, name in ((1, "one"), (2, "two")):
        shared.run("says", msgspec.json.encode({"name": name}), slot=slot)
    await shared.wait_for(Finish, 2)
    assert shared.log_lines(slot=1) == ["I am one", "still one"]
    assert shared.log_lines(slot=2) == ["I am two", "still two"]
    shared.run("talk", slot=3)
    await until(lambda: "past python" in shared.log_lines("process", slot=0))


async def test_in_a_shared_runner_a_stale_run_stops_alone(shared: FakeAgent) -> None:
    shared.outcome = lambda f: "stale_epoch" if f.slot == 1 else "ok"
    await shared.start()
    shared.run("counting", b'{"to":3}', slot=1)
    shared.run("counting", b'{"to":3}', slot=2)
    (done,) = await shared.wait_for(Finish)
    assert done.slot == 2
    shared.send(Bye())
    assert await shared.exit_code() == 0
    # Said once it has ended: the process lives on, so nothing else would tell.
    assert [(f.slot, f.cause) for f in shared.got(Fail)] == [(1, "cancelled")]


async def test_a_shared_noop_costs_little_cpu(shared: FakeAgent) -> None:
    await shared.start()
    assert shared.process is not None
    pid = shared.process.pid

    def cpu() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def many(first: int, count: int) -> None:
        for at in range(first, first + count, 100):
            for slot in range(at, at + 100):
                shared.run("noop", b'{"value":1}', slot=slot)
            await until(lambda n=at + 99: len(shared.got(Finish)) >= n, every=0.001)

    await many(1, 500)
    before = cpu()
    await many(501, 3000)
    each = (cpu() - before) / 3000 * 1e6
    # Generous, since the clock is coarse and the machine shared: it fails on a gross mistake only.
    assert each < 400


async def test_cancelled_runs_of_a_shared_runner_end_alone(shared: FakeAgent) -> None:
    await shared.start()
    shared.run("forever", slot=1)
    shared.run("forever", slot=2)
    await shared.wait_for(RunStarted, 2)
    shared.send(Cancel(slot=1))
    (fail,) = await shared.wait_for(Fail)
    assert fail.slot == 1
    await asyncio.sleep(0)
    shared.run("noop", b'{"value":5}', slot=3)
    (done,) = await shared.wait_for(Finish)
    assert done.slot == 3
