"""Children of an agent's attempts, over a link in memory: pushed ends, lost pushes, hand-overs."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec import Raw

from headway.wire import BlobRef, ErrorInfo, encode
from headway.wire.children import Child, ChildOutcome
from headway.wire.enqueue import Answers, Ended
from headway.wire.reports import AttemptFailed, Finished, Started, Stopped
from support.agentrig import Rig, first, rigged
from support.fakelink import FakeLink, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headway_engine.agent import Agent


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        yield made


def link_of(agent: Agent) -> FakeLink:
    assert isinstance(agent.link, FakeLink)
    return agent.link


def push(agent: Agent, *ended: Ended) -> None:
    link_of(agent).reply(encode(Answers(ended=list(ended))))


def awaited(agent: Agent, run: str) -> set[str]:
    """Keys of the children that the runner waits for."""
    live = agent.attempts.live.get(run)
    return {k for k, c in live.children.items() if c.seqs} if live else set()


async def finished(rig: Rig, run: str) -> object:
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    return msgspec.json.decode(done.result)


async def test_children_of_one_moment_travel_together_and_their_ends_are_pushed(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("calls", {"keys": ["a", "b"]})
    await until(lambda: awaited(agent, run) == {"a", "b"})
    for key in "ab":
        child = rig.engine.children[f"{run}/{key}"]
        assert (child.epoch, bytes(child.payload)) == (1, b'{"a":1,"b":2}')
    push(agent, Ended(f"{run}/b", "succeeded", Raw(b"20")), Ended("x", "succeeded", Raw(b"9")))
    await until(lambda: awaited(agent, run) == {"a"})
    push(agent, Ended(f"{run}/a", "succeeded", Raw(b"10")))
    assert await finished(rig, run) == [10, 20]
    assert rig.engine.asked == [], "nobody had to ask"
    assert not agent.attempts.children._by_run  # pyright: ignore[reportPrivateUsage]  # forgotten


async def test_an_end_that_was_pushed_before_anybody_waited_is_not_lost(rig: Rig):
    agent = await rig.agent()

    def quick(child: Child) -> ChildOutcome:
        name = f"{child.run}/{child.key}"
        ended = Ended(name, "failed", error=ErrorInfo("ValueError", "no good"))
        agent.attempts.uplink.loop.call_later(0.01, push, agent, ended)
        return ChildOutcome("ok", name, fresh=True)

    rig.engine.child_outcome = quick
    run = rig.engine.add("calls", {"keys": ["a"]})
    failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    assert isinstance(failed, AttemptFailed)
    assert failed.error.message == f"run {run}/a failed: ValueError: no good"
    assert (failed.cause, failed.retry) == ("error", True)


async def test_a_lost_push_is_asked_for(rig: Rig):
    agent = await rig.agent()
    agent.attempts.children.ask_first = 0.05
    run = rig.engine.add("calls", {"keys": ["a", "b"]})
    await until(lambda: awaited(agent, run) == {"a", "b"})
    rig.engine.ended = {f"{run}/{k}": Ended(f"{run}/{k}", "succeeded", Raw(b"5")) for k in "ab"}
    assert await finished(rig, run) == [5, 5]
    assert max(map(len, rig.engine.asked)) == 2, "one request for both"


async def test_after_a_reconnect_all_that_is_awaited_is_asked_for(rig: Rig):
    agent = await rig.agent()
    agent.attempts.children.ask_first = 1000.0
    run = rig.engine.add("calls", {"keys": ["a"]})
    await until(lambda: awaited(agent, run) == {"a"})
    rig.engine.ended = {f"{run}/a": Ended(f"{run}/a", "succeeded", Raw(b"5"))}
    link_of(agent).back()
    assert await finished(rig, run) == [5]


async def test_of_a_child_that_was_there_before_the_end_is_asked_for_at_once(rig: Rig):
    agent = await rig.agent()
    agent.attempts.children.ask_first = 1000.0
    rig.engine.child_outcome = lambda c: ChildOutcome("ok", f"{c.run}/{c.key}")
    run = rig.engine.add("calls", {"keys": ["a"]})
    rig.engine.ended = {f"{run}/a": Ended(f"{run}/a", "succeeded", Raw(b"5"))}
    assert await finished(rig, run) == [5]


async def test_an_agent_that_takes_over_hears_the_ends_too(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("calls", {"keys": ["a", "b"]})
    await until(lambda: awaited(agent, run) == {"a", "b"})
    await agent.stop(drain=False)
    rig.engine.ended = {f"{run}/a": Ended(f"{run}/a", "succeeded", Raw(b"1"))}
    second = await rig.agent()
    await until(lambda: awaited(second, run) == {"b"})
    # From the answer it knows which run this is, so that a push finds it.
    push(second, Ended(f"{run}/b", "succeeded", Raw(b"2")))
    assert await finished(rig, run) == [1, 2]
    assert second.pool.starts == 0


async def test_large_payloads_and_results_go_through_blobs(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("calls-large", {"size": 7}, isolation="shared")
    await until(lambda: awaited(agent, run) == {"@0.1"})
    text = b'"' + b"y" * 900_000 + b'"'
    digest = sha256(text).hexdigest()
    rig.engine.blobs[digest] = text
    ref = BlobRef(digest, len(text), digest)
    push(agent, Ended(f"{run}/@0.1", "succeeded", result_ref=ref))
    assert await finished(rig, run) == "900000"


async def test_a_stale_attempt_that_enqueues_is_stopped(rig: Rig):
    agent = await rig.agent()
    rig.engine.child_outcome = lambda _child: ChildOutcome("stale_epoch")
    run = rig.engine.add("calls", {"keys": ["a"]})
    await until(lambda: rig.engine.children and run not in agent.attempts.live)
    await until(lambda: len(rig.engine.reports) == 2)
    assert isinstance(rig.engine.reports[0], Started)
    assert rig.engine.reports[1] == Stopped(run, 1, "stale")


async def test_a_refusal_reaches_user_code_with_its_reason(rig: Rig):
    await rig.agent()
    rig.engine.child_outcome = lambda _child: ChildOutcome(
        "rejected", code="unknown_task", message="no such task"
    )
    run = rig.engine.add("calls", {"keys": ["a"]})
    failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    assert isinstance(failed, AttemptFailed)
    assert (failed.error.type, failed.error.message) == ("Refused", "no such task")


async def test_what_is_awaited_ends_with_the_attempt(rig: Rig):
    agent = await rig.agent()
    agent.attempts.children.ask_first = 0.02
    run = rig.engine.add("leaves-a-child", {}, isolation="shared")
    child = f"{run}/@0.1"
    assert await finished(rig, run) == f"{child} False"
    await until(lambda: run not in agent.attempts.live)
    asked = len(rig.engine.asked)
    push(agent, Ended(child, "succeeded"))
    other = rig.engine.add("noop", {}, isolation="shared")
    await finished(rig, other)
    assert len(rig.engine.asked) == asked


async def test_an_answer_that_a_lost_connection_swallowed_is_given_again(rig: Rig):
    agent = await rig.agent()
    agent.attempts.children.ask_first = 1000.0
    run = rig.engine.add("calls", {"keys": ["a", "b"]})
    await until(lambda: awaited(agent, run) == {"a", "b"})
    worker = agent.attempts.live[run].worker
    assert worker is not None
    assert worker.conn is not None
    ended = Ended(f"{run}/a", "succeeded", Raw(b"1"))
    rig.engine.ended = {ended.run: ended}
    worker.conn.abort()
    push(agent, ended)  # nobody is connected to hear it
    await until(lambda: rig.engine.asked)
    push(agent, Ended(f"{run}/b", "succeeded", Raw(b"2")))
    assert await finished(rig, run) == [1, 2]
    assert rig.engine.asked == [[f"{run}/a"]]
