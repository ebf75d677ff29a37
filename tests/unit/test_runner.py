"""A real runner process against a scripted agent on a unix socket."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway import codec
from headway.wire.frames import (
    EXIT_ORPHAN,
    EXIT_STALE,
    WINDOW,
    Ack,
    Bye,
    Cancel,
    Checkpoint,
    Env,
    Fail,
    Finish,
    Freeze,
    Hello,
    LoadFailed,
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
from support.wait import never, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SUPPORT = str(Path(__file__).parents[1] / "support")


def env(**fields: Any) -> Env:
    return Env(vars={"GREETING": "hello"}, modules=("runner_tasks",), source=SUPPORT, **fields)


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent(env()) as made:
        yield made


@pytest.fixture
async def shared() -> AsyncIterator[FakeAgent]:
    async with FakeAgent(env(shared=True, slots=256)) as made:
        yield made


def result(frame: Finish) -> Any:
    return msgspec.json.decode(frame.result)


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
    assert not shared.got(Fail)


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


async def test_the_attempt_knows_itself(agent: FakeAgent) -> None:
    await agent.start()
    run = agent.run("who", epoch=4, checkpoint=2, state=msgspec.Raw(b"{}"))
    (done,) = await agent.wait_for(Finish)
    assert result(done) == [run.run, "4", "2"]


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
