"""Lists, registry and settings, for every store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headway.ids import encode
from headway.states import RunState
from headway.wire import ErrorInfo
from headway.wire.fleet import QueueAsk
from headway.wire.runs import RunsQuery
from headway_engine.happenings import Failed, Finished, Lost
from support.factories import NS, a_checkpoint, a_deployment, a_step, an_agent, an_enqueue

if TYPE_CHECKING:
    from support.stores import Kit

RUNS = {name: encode(1_767_225_600_000 + i, i) for i, name in enumerate("abcde")}
NAMES = {run: name for name, run in RUNS.items()}


async def some_runs(kit: Kit) -> None:
    """a: failed, b: succeeded, c: running, d: queued with tags, e: another task and queue."""
    session = await kit.ready()
    for name, tags in zip("abcd", ((), (), (), ("eu", "demo")), strict=True):
        await kit.enqueued(an_enqueue(id=RUNS[name], tags=tags))
        if name != "d":
            got = await kit.claimed(RUNS[name], session, nonce=name)
            await kit.store.save([a_checkpoint(got.run, 1)])
    await kit.enqueued(
        an_enqueue(
            id=RUNS["e"], task="re_port", queue="slow", created_at=kit.now() + timedelta(hours=1)
        )
    )
    error = ErrorInfo("SmtpError", "no route to host")
    await kit.move(RUNS["a"], Failed(1, "stop", error, retry=False))
    await kit.move(RUNS["b"], Finished(1))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "edcba"),
        ({"status": ("live",)}, "edc"),
        ({"status": ("ended",)}, "ba"),
        ({"status": ("failed", "running")}, "ca"),
        ({"status": ("no_such",)}, ""),
        ({"task": "re*"}, "edcba"),
        ({"task": "re_port"}, "e"),
        ({"queue": "slow"}, "e"),
        ({"tags": ("demo", "eu")}, "d"),
        ({"tags": ("demo", "us")}, ""),
        ({"ids": (RUNS["a"], RUNS["d"])}, "da"),
        ({"text": "NO ROUTE"}, "a"),
        ({"text": "100%"}, ""),
        ({"text": "demo"}, "d"),
        ({"n": 2}, "ed"),
        ({"n": 2, "after": RUNS["d"]}, "cb"),
        ({"since": "later"}, "e"),
        ({"until": "later"}, "dcba"),
    ],
    ids=str,
)
async def test_a_list_holds_what_was_asked_for(
    kit: Kit, query: dict[str, Any], expected: str
) -> None:
    await some_runs(kit)
    later = kit.now() + timedelta(minutes=30)
    asked: dict[str, Any] = {k: later if v == "later" else v for k, v in query.items()}
    page = await kit.store.runs(NS, RunsQuery(**asked))
    assert "".join(NAMES[r.run] for r in page.runs) == expected
    assert page.counts == {"running": 1, "queued": 2}
    assert page.more is ((query.get("n") == 2 and expected == "ed") or "after" in query)


async def test_a_row_says_where_the_run_is(kit: Kit) -> None:
    await some_runs(kit)
    rows = {NAMES[r.run]: r for r in (await kit.store.runs(NS, RunsQuery())).runs}
    assert rows["a"].error == ErrorInfo("SmtpError", "no route to host")
    assert (rows["a"].status, rows["a"].reason, rows["a"].attempt) == ("failed", "stop", 1)
    assert (rows["b"].attempt, rows["c"].attempt, rows["d"].attempt) == (1, 1, 0)
    assert (rows["c"].checkpoint, rows["c"].checkpoint_name, rows["c"].agent) == (1, "turn-1", "a1")
    assert (rows["c"].max_attempts, rows["d"].tags) == (3, ("eu", "demo"))
    assert rows["b"].claimed_at == (await kit.record(RUNS["b"])).claimed_at is not None
    assert rows["d"].claimed_at is None


async def test_a_run_is_shown_with_all_that_belongs_to_it(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.store.save([a_checkpoint(run, 1), a_step(run, "s", {"x": 1})])
    detail = await kit.store.detail(NS, run.id)
    assert detail is not None
    assert [c.number for c in detail.checkpoints] == [1]
    assert [(m.key, m.kind, m.size) for m in detail.marks] == [("s", "step", 7)]
    assert [e.n for e in detail.events] == list(range(1, detail.row.n + 1))
    assert [e.n for e in await kit.store.events(NS, run.id, 2, 2)] == [3, 4]
    assert await kit.store.state(NS, run.id, 0) == await kit.store.state(NS, run.id, 1)


async def test_another_namespace_sees_nothing(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_checkpoint(run, 1), a_step(run, "s")])
    assert await kit.store.get("other", run.id) is None
    assert await kit.store.detail("other", run.id) is None
    assert await kit.store.events("other", run.id, 0, 10) == []
    assert await kit.store.state("other", run.id, 1) is None
    assert await kit.store.marks("other", run.id) == []
    assert await kit.store.find("other", run.id[:20]) == []
    assert (await kit.store.ends("other", [run.id])).others == {run.id: "unknown"}
    assert (await kit.store.runs("other", RunsQuery())).runs == []


async def test_a_prefix_finds_runs(kit: Kit) -> None:
    await kit.enqueued(*[an_enqueue(id=run) for run in RUNS.values()])
    assert await kit.store.find(NS, RUNS["a"].lower()) == [RUNS["a"]]
    assert len(await kit.store.find(NS, RUNS["a"][:9])) == 3
    assert await kit.store.find(NS, "7Z") == []


async def test_the_version_that_was_deployed_last_is_current(kit: Kit) -> None:
    assert await kit.store.spec(NS, "research") is None
    assert await kit.store.deploy(NS, a_deployment(timeout=5.0)) == []
    await kit.advance(1)
    assert await kit.store.deploy(NS, a_deployment("v2", timeout=6.0)) == []
    current = await kit.store.spec(NS, "research")
    old = await kit.store.spec(NS, "research", "v1")
    assert current is not None
    assert old is not None
    assert (current[0], current[1].timeout, old[1].timeout) == ("v2", 6.0, 5.0)
    rows = await kit.store.deployments(NS)
    assert [(r.version, r.current, r.tasks) for r in rows] == [
        ("v2", True, ("research",)),
        ("v1", False, ("research",)),
    ]
    assert len(await kit.store.deploy(NS, a_deployment("v2"))) == 1
    assert await kit.store.spec("other", "research") is None


async def test_queue_settings_change_one_by_one(kit: Kit) -> None:
    row = await kit.store.set_queue(NS, QueueAsk("q", limit=4, priority=2), "user:me")
    assert (row.limit, row.key_limit, row.paused, row.priority) == (4, 0, False, 2)
    row = await kit.store.set_queue(NS, QueueAsk("q", paused=True), "user:me")
    assert (row.limit, row.paused, row.priority) == (4, True, 2)


async def test_known_queues_are_those_of_tasks_agents_and_settings(kit: Kit) -> None:
    await kit.store.deploy(NS, a_deployment("v1", queue="of-task"))
    await kit.store.register(NS, an_agent("a9", queues=("of-agent",)), 15.0)
    await kit.store.set_queue(NS, QueueAsk("of-setting"), "user:me")
    await kit.enqueued(an_enqueue(queue="of-nobody"))
    known = await kit.store.named_queues(NS)
    assert {"default", "of-task", "of-agent", "of-setting"} <= known
    assert "of-nobody" not in known
    assert await kit.store.named_queues("other") == {"default"}


async def test_queue_rows_count_by_state(kit: Kit) -> None:
    session = await kit.ready()
    for state in (RunState.RUNNING, RunState.RETRYING):
        await kit.in_state(state, session)
    await kit.in_state(RunState.DELAYED, session)
    await kit.enqueued(an_enqueue())
    (row,) = await kit.store.queue_rows(NS)
    assert (row.queued, row.open, row.retrying, row.delayed, row.agents) == (1, 1, 1, 1, 1)
    assert row.oldest_at is not None


async def test_bodies_come_back_bit_exact(kit: Kit) -> None:
    session = await kit.ready()
    body = '{"s":"\\u0000 \\ud800 ü \U0001f9ea"}'.encode()
    run = await kit.attempt(session)
    save = a_checkpoint(run, 1)
    save.state = type(save.state)(body)
    await kit.store.save([save])
    found = await kit.store.state(NS, run.id, 0)
    assert found is not None
    assert found[1] == body


async def test_a_queue_keeps_who_paused_it_and_why(kit: Kit) -> None:
    row = await kit.store.set_queue(NS, QueueAsk("q", paused=True, reason="llm bill"), "user:ana")
    assert (row.paused_by, row.reason, row.paused_at is not None) == ("user:ana", "llm bill", True)
    row = await kit.store.set_queue(NS, QueueAsk("q", limit=4), "user:bob")
    assert (row.paused, row.paused_by, row.reason) == (True, "user:ana", "llm bill")
    (state,) = [q for q in await kit.store.queues() if q.queue == "q"]
    assert (state.paused_by, state.reason) == ("user:ana", "llm bill")
    assert state.paused_at == row.paused_at
    row = await kit.store.set_queue(NS, QueueAsk("q", paused=False), "user:bob")
    assert (row.paused, row.paused_by, row.reason) == (False, "user:bob", "")


async def test_live_runs_are_counted_by_namespace_and_state(kit: Kit) -> None:
    session = await kit.ready()
    for state in (RunState.RUNNING, RunState.RETRYING, RunState.DELAYED):
        await kit.in_state(state, session)
    await kit.enqueued(an_enqueue())
    ended = await kit.attempt(session)
    await kit.move(ended.id, Finished(ended.epoch))
    wanted = dict.fromkeys(("running", "retrying", "delayed", "queued"), 1)
    assert await kit.store.live() == {(NS, state): n for state, n in wanted.items()}


async def test_the_longest_wait_of_a_queue_counts_from_its_last_coming(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    await kit.advance(50.0)
    await kit.move(run.id, Lost(run.epoch, "gone"))
    (row,) = await kit.store.queue_rows(NS)
    (state,) = await kit.store.queues()
    assert row.at is not None
    assert row.oldest_at is not None
    assert row.oldest_at == state.oldest_at
    assert (row.at - row.oldest_at).total_seconds() < 40
