"""A real runner process against a scripted agent on a unix socket: one run, its output, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway import codec
from headway.wire.frames import (
    Cancel,
    Checkpoint,
    Fail,
    Finish,
    Hello,
    Log,
    Mark,
    Part,
    Ping,
    Pong,
    Ready,
    RunStarted,
    Wait,
)
from headway.wire.rpc import MarkRecord
from support.fake_agent import FakeAgent
from support.runners import env, result
from support.wait import never, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent(env()) as made:
        yield made


async def test_a_run_from_hello_to_exit(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("counting", b'{"to":3}')
    (done,) = await agent.wait_for(Finish)
    assert result(done) == 3
    assert await agent.exit_code() == 0
    kinds: list[Any] = [type(f) for f in agent.frames if not isinstance(f, Log)]
    assert kinds == [Hello, Ready, RunStarted, Checkpoint, Checkpoint, Checkpoint, Finish]
    assert [c.number for c in agent.got(Checkpoint)] == [1, 2, 3]
    assert "counting" in agent.got(Ready)[0].tasks
    assert "module imported" in agent.log_lines()


async def test_the_channels_address_and_token_leave_the_environment(agent: FakeAgent) -> None:
    await agent.start(HEADWAY_CHANNEL_TOKEN="t0k3n")
    assert agent.hellos[0].token == "t0k3n"
    agent.run("environment")
    (done,) = await agent.wait_for(Finish)
    assert result(done) == ["hello"]


async def test_started_is_said_before_user_code_can_end_the_process(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("exits-at-once")
    assert await agent.exit_code() == 7
    await agent.wait_for(RunStarted)


async def test_output_is_taken_over_from_a_regular_file_too(
    agent: FakeAgent, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("wb") as file:
        await agent.start(stdout=file)
        agent.run("talk")
        assert await agent.exit_code() == 0
    assert "to stdout" in agent.log_lines("out")
    assert (tmp_path / "out").read_bytes() == b""


async def test_a_checkpoint_returns_only_after_its_ack(agent: FakeAgent) -> None:
    agent.outcome = lambda _: ""
    await agent.start()
    agent.run("counting", b'{"to":3}')
    await agent.wait_for(Checkpoint)
    await never(lambda: len(agent.got(Checkpoint)) > 1, 0.2)


async def test_a_killed_run_goes_on_from_its_last_acknowledged_checkpoint(
    agent: FakeAgent,
) -> None:
    agent.outcome = lambda f: "" if isinstance(f, Checkpoint) and f.number == 3 else "ok"
    await agent.start()
    agent.run("counting", b'{"to":4}')
    saved = await agent.wait_for(Checkpoint, 3)
    agent.kill()
    await agent.exit_code()
    agent.outcome = lambda _: "ok"
    await agent.start()
    agent.run(
        "counting",
        b'{"to":4}',
        epoch=2,
        checkpoint=2,
        state=saved[1].state,
        schema=saved[1].schema,
    )
    (done,) = await agent.wait_for(Finish)
    assert result(done) == 4
    assert [c.number for c in agent.got(Checkpoint)] == [3, 4]


async def test_a_cancel_raises_in_user_code_whose_cleanup_may_still_save(
    agent: FakeAgent,
) -> None:
    await agent.start()
    agent.run("forever")
    await agent.wait_for(RunStarted)
    agent.send(Cancel(slot=1, why="cancel", grace=5))
    (fail,) = await agent.wait_for(Fail)
    assert (fail.cause, fail.retry) == ("cancelled", False)
    assert agent.got(Checkpoint)[0].name == "cleanup"
    assert await agent.exit_code() == 1
    assert "cleaned up" in agent.log_lines()


async def test_a_timeout_is_retried_only_if_the_policy_lists_it(agent: FakeAgent) -> None:
    for task, retry in (("forever", False), ("patient", True)):
        await agent.start()
        agent.run(task)
        await agent.wait_for(RunStarted)
        agent.send(Cancel(slot=1, why="timeout", grace=5))
        (fail,) = await agent.wait_for(Fail)
        assert (fail.cause, fail.retry) == ("timeout", retry)
        await agent.exit_code()


async def test_a_run_that_ignores_its_cancel_ends_after_its_grace(
    agent: FakeAgent, tmp_path: Path
) -> None:
    await agent.start()
    agent.run("blocks", msgspec.json.encode({"path": str(tmp_path / "in")}))
    await until((tmp_path / "in").exists)
    agent.send(Cancel(slot=1, grace=0.1))
    assert await agent.exit_code() == 143


async def test_a_ping_is_answered_while_user_code_blocks_the_loop(
    agent: FakeAgent, tmp_path: Path
) -> None:
    await agent.start()
    agent.run("blocks", msgspec.json.encode({"path": str(tmp_path / "in")}))
    await until((tmp_path / "in").exists)
    agent.send(Ping())
    (pong,) = await agent.wait_for(Pong)
    assert pong.lag_ms > 500


async def test_a_flood_is_dropped_counted_and_numbered(agent: FakeAgent) -> None:
    agent.env = env(log_rate=10_000, log_burst=20_000)
    await agent.start()
    agent.run("flood", b'{"lines":20000}')
    await agent.wait_for(Finish)
    logs = agent.got(Log)
    shown = sum(len(f.lines) for f in logs)
    dropped = sum(f.dropped for f in logs)
    assert shown + dropped == 20_002  # and the line at import
    assert dropped > 15_000
    at = 1
    for frame in logs:
        assert frame.first == at + frame.dropped
        at = frame.first + len(frame.lines)


async def test_output_is_told_apart_by_stream(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("talk")
    await agent.wait_for(Finish)
    assert agent.log_lines("err") == ["to stderr"]
    assert agent.log_lines("log") == ["INFO mine: to the log"]
    assert agent.log_lines("out") == [
        "module imported",
        "to stdout",
        "past python",
        "no newline",
    ]


async def test_a_long_sleep_suspends_and_the_next_attempt_passes_it(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("naps")
    (wait,) = await agent.wait_for(Wait)
    assert (wait.key, wait.seconds) == ("nap", pytest.approx(3600, abs=1))
    assert await agent.exit_code() == 0
    assert not agent.got(Fail)
    await agent.start()
    record = MarkRecord(key="nap", kind="sleep", status="done", epoch=1)
    agent.run("naps", epoch=2, marks=[record])
    (done,) = await agent.wait_for(Finish)
    assert result(done) == "rested"


async def test_leftover_tasks_are_cancelled_before_done(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("leaves")
    (done,) = await agent.wait_for(Finish)
    assert result(done) == "False"
    assert "straggler ended" in agent.log_lines()


async def test_a_plain_def_task_runs_and_is_cancelled_at_its_next_verb(
    agent: FakeAgent,
) -> None:
    await agent.start()
    agent.run("plain", b'{"to":2}')
    (done,) = await agent.wait_for(Finish)
    assert result(done) == 2
    await agent.exit_code()
    await agent.start()
    agent.run("plain-forever")
    await agent.wait_for(Mark, 3)
    agent.send(Cancel(slot=1, grace=5))
    (fail,) = await agent.wait_for(Fail)
    assert fail.cause == "cancelled"


async def test_large_bodies_travel_in_parts(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("large", b'{"size":2000000}')
    (mark,) = await agent.wait_for(Mark)
    (done,) = await agent.wait_for(Finish)
    body = codec.encode("y" * 2_000_000)
    assert agent.bodies[mark.blob] == agent.bodies[done.blob] == body
    assert mark.size == done.size == len(body)
    assert max(len(p.data) for p in agent.got(Part)) <= 512 * 1024


async def test_sigterm_stops_the_run_and_the_process(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("forever")
    await agent.wait_for(RunStarted)
    assert agent.process is not None
    agent.process.terminate()
    (fail,) = await agent.wait_for(Fail)
    assert fail.cause == "cancelled"
    await agent.exit_code()


async def test_the_attempt_knows_itself(agent: FakeAgent) -> None:
    await agent.start()
    run = agent.run("who", epoch=4, checkpoint=2, state=msgspec.Raw(b"{}"))
    (done,) = await agent.wait_for(Finish)
    assert result(done) == [run.run, "4", "2"]
