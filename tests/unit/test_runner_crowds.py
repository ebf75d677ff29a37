"""A real runner process under a crowd of requests, and before an agent that is none."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from headway.wire.frames import EXIT_ORPHAN, WINDOW, Ack, Finish, Freeze, Mark, RunStarted
from support.fake_agent import FakeAgent
from support.runners import env, result
from support.wait import never

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent(env()) as made:
        yield made


async def test_a_crowd_of_steps_waits_in_the_runner_and_keeps_to_its_window(
    agent: FakeAgent,
) -> None:
    agent.outcome = lambda frame: "" if isinstance(frame, Mark) else "ok"
    await agent.start()
    agent.run("crowd", b'{"count":1000}')
    await agent.wait_for(Mark, WINDOW)
    await never(lambda: len(agent.got(Mark)) > WINDOW, 0.2)
    for mark in agent.got(Mark)[:10]:
        agent.send(Ack(slot=1, seq=mark.seq))
    await agent.wait_for(Mark, WINDOW + 10)
    await never(lambda: len(agent.got(Mark)) > WINDOW + 10, 0.1)
    # After a redial the same ones come again, still no more than the window.
    await agent.close()
    agent.open()
    await agent.wait_for(Mark, 2 * WINDOW + 10)
    await never(lambda: len(agent.got(Mark)) > 2 * WINDOW + 10, 0.1)
    again = agent.got(Mark)[-WINDOW:]
    assert [m.seq for m in again] == [m.seq for m in agent.got(Mark)[10 : WINDOW + 10]]
    agent.outcome = lambda _: "ok"
    for mark in again:
        agent.send(Ack(slot=1, seq=mark.seq))
    (done,) = await agent.wait_for(Finish)
    assert result(done) == sum(range(1000))


async def test_a_crowd_that_is_frozen_goes_on_with_the_thaw(agent: FakeAgent) -> None:
    agent.outcome = lambda frame: "" if isinstance(frame, Mark) else "ok"
    await agent.start()
    agent.run("crowd", b'{"count":600}')
    marks = await agent.wait_for(Mark, WINDOW)
    agent.send(Freeze(on=True))
    for mark in marks:
        agent.send(Ack(slot=1, seq=mark.seq, outcome="frozen"))
    agent.outcome = lambda _: "ok"
    agent.send(Freeze(on=False))
    (done,) = await agent.wait_for(Finish)
    assert result(done) == sum(range(600))


async def test_an_agent_that_hangs_up_at_once_is_none(agent: FakeAgent) -> None:
    agent.env = env(orphan_after=0.3)
    await agent.start()
    agent.run("forever")
    await agent.wait_for(RunStarted)
    await agent.close()
    refused = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        refused += 1
        writer.close()

    server = await asyncio.start_unix_server(refuse, agent.address.removeprefix("unix:"))
    assert await agent.exit_code() == EXIT_ORPHAN
    # It dials ever slower: 20 ms at first, 1 s at last.
    assert 1 < refused < 12
    server.close()


@pytest.mark.parametrize("said", [b"", b"\n"])
async def test_without_its_token_a_runner_ends_at_once(said: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headway.runner",
        env={**os.environ, "HEADWAY_CHANNEL": "tcp:127.0.0.1:9", "HEADWAY_CHANNEL_TOKEN_FD": "0"},
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, stderr = await asyncio.wait_for(process.communicate(said), 20)
    assert process.returncode == 2
    assert b"no token came" in stderr
