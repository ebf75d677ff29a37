"""Children of a run in a real runner process, against a scripted agent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway.children import ChildRecord
from headway.codec import payload_hash
from headway.ids import child_run_id
from headway.wire import NOTHING, ErrorInfo, decode, encode
from headway.wire.enqueue import ITEM
from headway.wire.frames import (
    Ack,
    Await,
    Cancel,
    Checkpoint,
    Enqueue,
    Env,
    Fail,
    Finish,
    Part,
    Wait,
)
from headway.wire.rpc import MarkRecord
from support.fake_agent import FakeAgent
from support.wait import never, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SUPPORT = str(Path(__file__).parents[1] / "support")


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent(Env(modules=("runner_tasks",), source=SUPPORT)) as made:
        yield made


@pytest.fixture
async def shared() -> AsyncIterator[FakeAgent]:
    env = Env(modules=("runner_tasks",), source=SUPPORT, shared=True, slots=16)
    async with FakeAgent(env) as made:
        yield made


def end(frame: Await, value: Any = None, **fields: Any) -> Ack:
    raw = NOTHING if value is None else msgspec.Raw(msgspec.json.encode(value))
    fields = {"status": "succeeded", "value": raw, **fields}
    return Ack(frame.slot, frame.seq, **fields)


def recorded(run: str, payload: bytes) -> msgspec.Raw:
    return msgspec.Raw(encode(ChildRecord(run, payload_hash(payload))))


async def test_calls_of_one_gather_have_keys_and_ids_in_their_order(agent: FakeAgent) -> None:
    await agent.start()
    run = agent.run("calls", b'{"values":[10,20,30]}')
    enqueues: list[Enqueue] = await agent.wait_for(Enqueue, 3)
    assert [(f.key, bytes(f.payload)) for f in enqueues] == [
        ("@0.1", b'{"value":10}'),
        ("@0.2", b'{"value":20}'),
        ("@0.3", b'{"value":30}'),
    ]
    items = [decode(ITEM, bytes(f.item)) for f in enqueues]
    assert [i.run for i in items] == [child_run_id(run.run, run.run, f.key) for f in enqueues]
    assert {i.task for i in items} == {"noop"}
    assert all(i.schema and not bytes(i.payload) for i in items)
    awaits: list[Await] = await agent.wait_for(Await, 3)
    for frame in reversed(awaits):
        agent.send(end(frame, int(frame.key[-1]) * 7))
    (done,) = await agent.wait_for(Finish)
    assert bytes(done.result) == b"[7,14,21]"
    assert await agent.exit_code() == 0


async def test_what_is_not_answered_is_asked_again_after_a_redial(agent: FakeAgent) -> None:
    agent.outcome = lambda f: "" if isinstance(f, Enqueue) and f.key == "@0.2" else "ok"
    await agent.start()
    agent.run("calls", b'{"values":[1,2]}')
    first: list[Enqueue] = await agent.wait_for(Enqueue, 2)
    waiting: list[Await] = await agent.wait_for(Await)
    await agent.close()
    agent.outcome = lambda _: "ok"
    agent.open()
    again: list[Enqueue] = await agent.wait_for(Enqueue, 3)
    assert again[2] == first[1]
    awaits: list[Await] = await agent.wait_for(Await, 3)
    assert awaits[1] == waiting[0]
    for frame in awaits[1:]:
        agent.send(end(frame, 5))
    (done,) = await agent.wait_for(Finish)
    assert bytes(done.result) == b"[5,5]"


async def test_a_failed_child_is_an_error_that_the_policy_may_retry(agent: FakeAgent) -> None:
    await agent.start()
    run = agent.run("calls", b'{"values":[1]}')
    (frame,) = await agent.wait_for(Await)
    error = ErrorInfo("ValueError", "no good", "traceback")
    agent.send(end(frame, status="failed", error=error))
    (fail,) = await agent.wait_for(Fail)
    child = child_run_id(run.run, run.run, "@0.1")
    assert (fail.cause, fail.error.type, fail.retry) == ("error", "RunFailed", True)
    assert fail.error.message == f"run {child} failed: ValueError: no good"


async def test_a_refused_child_raises_what_a_client_would_raise(agent: FakeAgent) -> None:
    agent.outcome = lambda f: "" if isinstance(f, Enqueue) else "ok"
    await agent.start()
    agent.run("calls", b'{"values":[1]}')
    (frame,) = await agent.wait_for(Enqueue)
    agent.send(Ack(1, frame.seq, "rejected", "payload.value: no", code="bad_payload"))
    (fail,) = await agent.wait_for(Fail)
    assert (fail.error.type, fail.error.message) == ("BadPayload", "payload.value: no")
    assert not fail.retry


async def test_a_default_key_is_not_taken_for_another_call(agent: FakeAgent) -> None:
    await agent.start()
    mark = MarkRecord("@0.1", "enqueue", "noop", value=recorded("R", b'{"value":2}'))
    agent.run("calls", b'{"values":[1]}', marks=[mark])
    (fail,) = await agent.wait_for(Fail)
    assert fail.error.type == "KeyMismatch"
    assert "other arguments (run R)" in fail.error.message
    assert not agent.got(Enqueue)


async def test_under_a_key_of_its_own_the_recorded_child_counts(agent: FakeAgent) -> None:
    await agent.start()
    mark = MarkRecord("the call", "enqueue", "noop", value=recorded("R", b'{"value":2}'))
    agent.run("calls-under-a-key", b'{"value":1}', marks=[mark])
    (asked,) = await agent.wait_for(Enqueue)
    assert decode(ITEM, bytes(asked.item)).tags == ("t",)
    (frame,) = await agent.wait_for(Await)
    assert frame.key == "the call"
    agent.send(end(frame, 2))
    (done,) = await agent.wait_for(Finish)
    assert bytes(done.result) == b"2"


async def test_a_key_recorded_for_another_task_is_refused(agent: FakeAgent) -> None:
    await agent.start()
    mark = MarkRecord("the call", "enqueue", "says", value=recorded("R", b"{}"))
    agent.run("calls-under-a-key", b'{"value":1}', marks=[mark])
    (fail,) = await agent.wait_for(Fail)
    assert "enqueue of says, and this is enqueue of noop" in fail.error.message


async def test_an_end_that_nobody_awaits_holds_nothing_up(shared: FakeAgent) -> None:
    await shared.start()
    run = shared.run("leaves-a-child")
    (done,) = await shared.wait_for(Finish)
    child = child_run_id(run.run, run.run, "@0.1")
    assert msgspec.json.decode(done.result) == child
    (frame,) = shared.got(Enqueue)
    body = shared.bodies[frame.blob]
    assert (len(body), bytes(frame.payload)) == (200_011, b"")
    await shared.close()
    shared.open()
    await until(lambda: len(shared.hellos) == 2)
    await never(lambda: len(shared.got(Await)) > 1, 0.1)


async def test_a_large_result_comes_in_parts(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("impatient")
    first: list[Await] = await agent.wait_for(Await)
    await agent.wait_for(Checkpoint)
    text = msgspec.json.encode("y" * 700_000)
    agent.send(Part(9, 0, text[:400_000]))
    agent.send(Part(9, 1, text[400_000:], last=True))
    agent.send(end(first[0], blob=9))
    (done,) = await agent.wait_for(Finish)
    got = msgspec.json.decode(agent.bodies[done.blob])
    assert got == "run it has not ended within 0.01 s; then " + "y" * 700_000
    assert len(agent.got(Await)) == 1, "asked once, however often it is awaited"


async def test_no_long_sleep_gives_the_container_back_while_a_child_is_awaited(
    agent: FakeAgent,
) -> None:
    await agent.start()
    agent.run("naps-beside-a-call")
    (frame,) = await agent.wait_for(Await)
    await never(lambda: agent.got(Wait), 0.2)
    agent.send(end(frame, "me"))
    await agent.wait_for(Wait)


async def test_a_cancel_ends_the_waiting(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("calls", b'{"values":[1]}')
    await agent.wait_for(Await)
    agent.send(Cancel(1))
    (fail,) = await agent.wait_for(Fail)
    assert fail.cause == "cancelled"


async def test_inside_a_step_nothing_is_enqueued(agent: FakeAgent) -> None:
    await agent.start()
    agent.run("calls-in-a-step")
    (fail,) = await agent.wait_for(Fail)
    assert fail.error.type == "NestedVerb"
    assert not agent.got(Enqueue)
