"""A real runner process whose agent, lease or code fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from headway.wire.frames import (
    EXIT_ORPHAN,
    EXIT_STALE,
    Cancel,
    Checkpoint,
    Env,
    Fail,
    Finish,
    Freeze,
    LoadFailed,
    Mark,
    RunStarted,
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


async def test_a_stale_attempt_ends_with_87(agent: FakeAgent) -> None:
    agent.outcome = lambda f: "stale_epoch" if isinstance(f, Checkpoint) else "ok"
    await agent.start()
    agent.run("counting", b'{"to":3}')
    assert await agent.exit_code() == EXIT_STALE
    assert not agent.got(Finish)
    assert not agent.got(Fail)


async def test_after_the_agents_restart_unacknowledged_saves_are_sent_again(
    agent: FakeAgent,
) -> None:
    agent.outcome = lambda f: "" if isinstance(f, Checkpoint) and f.number == 2 else "ok"
    await agent.start()
    run = agent.run("counting", b'{"to":3}')
    await agent.wait_for(Checkpoint, 2)
    await agent.close()
    agent.outcome = lambda _: "ok"
    agent.open()
    (done,) = await agent.wait_for(Finish)
    assert result(done) == 3
    assert agent.hellos[1].slots == [(1, run.run, 1)]
    numbers = [(c.number, c.seq) for c in agent.got(Checkpoint)]
    assert numbers[1] == numbers[2]
    assert [n for n, _ in numbers] == [1, 2, 2, 3]
    assert await agent.exit_code() == 0


async def test_a_runner_that_nobody_adopts_ends_with_75(agent: FakeAgent) -> None:
    agent.env = env(orphan_after=0.3)
    await agent.start()
    agent.run("forever")
    await agent.wait_for(RunStarted)
    await agent.close()
    assert await agent.exit_code() == EXIT_ORPHAN


async def test_saves_wait_while_the_lease_is_overdue(agent: FakeAgent) -> None:
    await agent.start()
    agent.send(Freeze(on=True))
    agent.run("counting", b'{"to":2}')
    await agent.wait_for(RunStarted)
    await never(lambda: agent.got(Checkpoint), 0.2)
    agent.send(Freeze(on=False))
    await agent.wait_for(Finish)


async def test_a_once_block_is_not_entered_while_the_lease_is_overdue(
    agent: FakeAgent, tmp_path: Path
) -> None:
    await agent.start()
    agent.send(Freeze(on=True))
    effect = tmp_path / "effect"
    agent.run("once-quick", msgspec.json.encode({"path": str(effect)}))
    await agent.wait_for(RunStarted)
    await never(effect.exists, 0.2)
    agent.send(Freeze(on=False))
    (done,) = await agent.wait_for(Finish)
    assert [m.status for m in agent.got(Mark)] == ["started", "done"]
    assert effect.read_text().splitlines() == [result(done)]


async def test_a_frozen_answer_is_asked_again(agent: FakeAgent) -> None:
    answers = iter(["frozen"])
    agent.outcome = lambda f: next(answers, "ok") if isinstance(f, Checkpoint) else "ok"
    await agent.start()
    agent.run("counting", b'{"to":1}')
    await agent.wait_for(Finish)
    assert [c.seq for c in agent.got(Checkpoint)] == [1, 1]


async def test_once_cancelled_half_way_leaves_an_interrupted_mark(
    agent: FakeAgent, tmp_path: Path
) -> None:
    await agent.start()
    effect = tmp_path / "effect"
    agent.run("once-hanging", msgspec.json.encode({"path": str(effect)}))
    await until(effect.exists)
    agent.send(Cancel(slot=1, why="drain", grace=5))
    (fail,) = await agent.wait_for(Fail)
    assert fail.cause == "cancelled"
    assert [m.status for m in agent.got(Mark)] == ["started", "interrupted"]


async def test_a_once_block_that_a_kill_interrupted_is_ambiguous(
    agent: FakeAgent, tmp_path: Path
) -> None:
    await agent.start()
    effect = tmp_path / "effect"
    payload = msgspec.json.encode({"path": str(effect)})
    first = agent.run("once-hanging", payload)
    await until(lambda: effect.exists() and effect.read_text().endswith("\n"))
    agent.kill()
    await agent.exit_code()
    (mark,) = agent.got(Mark)
    record = MarkRecord(key="effect", kind="once", fn="hang", status="started", epoch=1)
    await agent.start()
    agent.run("once-hanging", payload, epoch=2, marks=[record], root=first.run)
    (fail,) = await agent.wait_for(Fail)
    assert (fail.cause, fail.key, fail.retry) == ("ambiguous", "effect", False)
    assert fail.token == mark.token == effect.read_text().strip()


async def test_how_an_exception_ends_the_attempt(agent: FakeAgent) -> None:
    for task, cause, retry, kind in (
        ("fails", "error", True, "ValueError"),
        ("stops", "stop", False, "StopRun"),
        ("later", "error", True, "RetryIn"),
        ("picky", "error", False, "ValueError"),
        ("exits", "error", True, "SystemExit"),
        ("nobody", "error", False, "BadTask"),
    ):
        await agent.start()
        agent.run(task)
        (fail,) = await agent.wait_for(Fail)
        assert (fail.cause, fail.retry, fail.error.type) == (cause, retry, kind), task
        assert "headway/runner" not in fail.error.traceback
        assert "\x00" not in fail.error.message
        assert fail.retry_in == (7 if task == "later" else None)
        assert await agent.exit_code() == 1


async def test_a_payload_that_does_not_fit_fails_without_a_retry(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("counting", b'{"to":"three"}')
    (fail,) = await agent.wait_for(Fail)
    assert (fail.cause, fail.error.type, fail.retry) == ("payload", "BadPayload", False)
    assert "$.to" in fail.error.message


async def test_a_module_that_cannot_be_imported_is_reported(agent: FakeAgent) -> None:
    agent.env = Env(modules=("no_such_module",))
    await agent.start()
    (failed,) = agent.got(LoadFailed)
    assert failed.error.type == "ModuleNotFoundError"
    assert await agent.exit_code() == 1
