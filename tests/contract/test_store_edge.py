"""The edge store by itself: what it makes of RUNS, and of messages that nobody of us wrote."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec import Raw

from headway import bus, subjects
from headway.errors import TooLarge
from headway.history import Stored, history
from headway.ids import encode as make_id
from headway.wire import decode, encode
from headway.wire.events import RUN_EVENTS
from headway.wire.fleet import QueueAsk
from headway.wire.rpc import WORK_BODY, Beat
from headway_engine.assembly import make_store
from headway_engine.config import load_config
from headway_engine.happenings import Cancel, Lost
from headway_engine.streams import drift, ensure_streams
from support.edgestories import rows, story
from support.factories import (
    NS,
    a_checkpoint,
    a_deployment,
    a_once,
    a_step,
    an_agent,
    an_enqueue,
)
from support.stores import LEASE
from support.wait import until

if TYPE_CHECKING:
    from headway_engine.store.edge import EdgeStore
    from support.stores import EdgeKit, MemoryKit


@pytest.mark.parametrize("seed", range(3))
async def test_the_same_history_gives_the_same_records_as_in_memory_and_made_anew(
    edge_kit: EdgeKit, memory_kit: MemoryKit, seed: int
) -> None:
    ids = await story(edge_kit, seed)
    assert await story(memory_kit, seed) == ids
    for run in ids:
        assert await edge_kit.store.get(NS, run) == await memory_kit.store.get(NS, run)
        ours, theirs = [await k.store.events(NS, run, 0, 999) for k in (edge_kit, memory_kit)]
        assert encode(ours) == encode(theirs)
        last = [await k.store.state(NS, run, 0) for k in (edge_kit, memory_kit)]
        assert last[0] == last[1]
    assert await edge_kit.store.ends(NS, ids) == await memory_kit.store.ends(NS, ids)
    assert await edge_kit.store.queue_rows(NS) == await memory_kit.store.queue_rows(NS)
    other = await edge_kit.open("other")
    assert rows(other) == rows(edge_kit.edge)
    assert other.projection.skipped == 0


async def test_what_is_stored_is_what_observers_read(edge_kit: EdgeKit) -> None:
    session = await edge_kit.ready()
    run = await edge_kit.attempt(session)
    await edge_kit.store.save([a_checkpoint(run, 1)])
    told: list[int] = []
    subject = subjects.run_event(NS, run.id)
    async for message in history(edge_kit.edge.nc, subjects.RUNS, subject):
        told += [e.n for e in RUN_EVENTS.decode(message.data).events]
    assert told == await edge_kit.numbers(run.id) == list(range(1, len(told) + 1))


async def test_a_dispatch_is_in_work_and_comes_again_when_work_has_lost_it(
    edge_kit: EdgeKit,
) -> None:
    nc, place = edge_kit.edge.nc, (NS, "default")
    runs = await edge_kit.enqueued(*[an_enqueue(shared=shared) for shared in (False, True)])
    await edge_kit.store.dispatch(NS, "default", 5, 5)

    async def in_work(count: int) -> list[Stored]:
        async def look() -> list[Stored]:
            found = [m async for m in history(nc, subjects.WORK, subjects.work(*place))]
            return found if len(found) == count else []

        return await until(look)

    found = await in_work(2)
    works = [decode(WORK_BODY, m.data) for m in found]
    assert {(w.run, w.shared) for w in works} == {(r.id, r.shared) for r in runs}
    await edge_kit.advance(31)
    assert await edge_kit.store.undispatched({place: 0}, "s") == []
    # WORK writes after its ack: a power cut took the first one.
    await bus.jsapi(nc, "STREAM.MSG.DELETE.WORK", {"seq": found[0].seq})
    (again,) = await edge_kit.store.undispatched({place: 0}, "s")
    assert [run for run, _ in again.runs] == [works[0].run]
    await in_work(2)
    assert await edge_kit.store.undispatched({place: 0}, "s") == []


async def test_work_made_anew_gets_what_waits_for_an_agent_and_nothing_older(
    edge_kit: EdgeKit,
) -> None:
    session = await edge_kit.ready()
    nc, place = edge_kit.edge.nc, (NS, "default")
    runs = await edge_kit.enqueued(*[an_enqueue() for _ in range(6)])
    await edge_kit.store.dispatch(NS, "default", 6, 0)
    ids = [run.id for run in runs]
    await edge_kit.store.claim(NS, "a1", session, "n", ids[:5], None)
    await bus.jsapi(nc, "STREAM.DELETE.WORK")
    made = await ensure_streams(nc, "edge", fsynced=True)
    assert [c for c in made.changed if "WORK" in c] == ["WORK: created"]
    await edge_kit.advance(31)
    (again,) = await edge_kit.store.undispatched({place: 0}, "s")
    assert [run for run, _ in again.runs] == ids[5:]

    async def in_work() -> list[str]:
        subject = subjects.work(*place)
        found = [m async for m in history(nc, subjects.WORK, subject)]
        return [decode(WORK_BODY, m.data).run for m in found]

    assert await until(in_work) == ids[5:]
    # Its beginning is its own: it is neither put right nor reported.
    assert (await ensure_streams(nc, "edge", fsynced=True)).changed == []
    assert not [d for d in await drift(nc) if d.startswith("WORK")]


async def test_a_deployment_larger_than_a_message_is_refused_with_what_to_do(
    edge_kit: EdgeKit,
) -> None:
    schema = Raw(encode({"description": "x" * 1_100_000}))
    with pytest.raises(TooLarge, match=r"the deployment is 1,1.* deploy fewer tasks"):
        await edge_kit.store.deploy(NS, a_deployment(payload_schema=schema))
    assert await edge_kit.store.deployments(NS) == []


LIVE = ("runs_live", "runs_open", "runs_held", "runs_given", "runs_early")
"""Indexes of live runs alone: to read all of one is little work, however many runs have ended."""


async def test_nothing_that_engines_do_all_the_time_looks_at_runs_that_have_ended(
    edge_kit: EdgeKit,
) -> None:
    store, db = edge_kit.edge, edge_kit.edge.db
    session = await edge_kit.ready()
    said: set[str] = set()
    db.set_trace_callback(said.add)
    run = await edge_kit.attempt(session, key="k", key_until=edge_kit.now())
    await store.save([a_checkpoint(run, 1), a_step(run, "s"), a_once(run, "o", "started")])
    await store.enqueue(NS, [an_enqueue()], {"default": (1, 1)})
    await store.set_queue(NS, QueueAsk("default", limit=5, key_limit=2), "user:me")
    await store.dispatch(NS, "default", 5, 5)
    await store.claim(NS, "a1", session, "n2", [run.id], None)
    await store.beat(NS, Beat("a1", session, ""), LEASE)
    await store.commit([(run.id, Lost(run.epoch, "gone"))])
    await store.tick()
    await store.undispatched({}, "s")
    for ask in (store.due, store.overdue, store.late_cancels, store.purges):
        await ask(10)
    for ask in (store.queues, store.agents, store.live, store.prune):
        await ask()
    await store.expire(LEASE)
    await store.deployments(NS)
    await store.kin(NS, run.id, "SmtpError", edge_kit.now())
    db.set_trace_callback(None)
    asked = [s for s in said if s.lstrip().startswith(("SELECT", "WITH"))]
    assert len(asked) > 20
    for statement in asked:
        for *_, plan in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
            if plan.startswith("SCAN runs"):
                assert plan.rsplit(" ", 1)[1] in LIVE, statement
            assert "runs_listed" not in plan, statement


# --- messages that nobody of us wrote


async def test_a_foreign_message_ends_no_run_and_stops_nobody(edge_kit: EdgeKit) -> None:
    session = await edge_kit.ready()
    run = await edge_kit.attempt(session)
    nc = edge_kit.edge.nc
    for body in (b'{"stream":"INGEST","seq":1}', b"\xff\x00", b'{"run":"x","edge":{}}'):
        await bus.publish_acked(nc, subjects.run_event(NS, run.id), body)
    (done,) = await edge_kit.store.save([a_checkpoint(run, 1)])
    assert done.outcome == "ok"
    other = await edge_kit.open("other")
    assert other.projection.skipped == 3
    assert (await other.get(NS, run.id)) == await edge_kit.store.get(NS, run.id)


async def test_a_removed_run_never_has_an_older_message_as_its_last(edge_kit: EdgeKit) -> None:
    await edge_kit.ready()
    await edge_kit.store.register(NS, an_agent(), 15.0)
    old = an_enqueue(id=make_id(int(edge_kit.now().timestamp() * 1000), 1))
    await edge_kit.enqueued(old)
    await edge_kit.move(old.run.id, Cancel("user:me"))
    await edge_kit.advance(31 * 86400)
    await edge_kit.store.prune()
    left = [
        m async for m in history(edge_kit.edge.nc, subjects.RUNS, subjects.run_all(NS, old.run.id))
    ]
    assert len(left) == 1
    other = await edge_kit.open("other")
    ((refused,), _) = await other.enqueue(NS, [old], {})
    assert refused.code == "removed"
    await edge_kit.advance(31 * 86400)
    await edge_kit.store.prune()
    # The other engine still has the tombstone in its projection: RUNS tells it otherwise.
    ((recorded,), _) = await other.enqueue(NS, [old], {})
    assert recorded.outcome == "recorded"


async def test_ended_runs_are_kept_for_as_long_as_the_settings_say(edge_kit: EdgeKit) -> None:
    (run,) = await edge_kit.enqueued(an_enqueue())
    await edge_kit.move(run.id, Cancel("user:me"))
    settings = load_config(
        None, {"HEADWAY_EDGE_FOLDER": "engine", "HEADWAY_ENGINE_RETENTION": "7200"}
    )
    folder = edge_kit.folder / "e2"
    store = cast("EdgeStore", make_store(settings, "e2", cast("Any", edge_kit.edge.nc), folder))
    store.clock = edge_kit.clock
    await store.open()
    try:
        await edge_kit.advance(7100)
        assert await store.prune() == 0
        await edge_kit.advance(200)
        assert await store.prune() == 1
        assert await edge_kit.store.get(NS, run.id) is None
    finally:
        await store.close()


async def test_a_key_that_another_engine_has_pruned_can_be_taken(edge_kit: EdgeKit) -> None:
    other = await edge_kit.engine("e2")
    await edge_kit.enqueued(an_enqueue(key="k"))
    assert len((await other.ends(NS, ["x"])).others) == 1  # it has seen the key
    await edge_kit.advance(2 * 86400)
    assert await edge_kit.store.prune() == 1
    ((outcome,), _) = await other.enqueue(NS, [an_enqueue(key="k")], {})
    assert outcome.outcome == "recorded"


# --- figures


@pytest.mark.nightly
async def test_a_checkpoint_costs_at_most_two_and_a_half_publishes(edge_kit: EdgeKit) -> None:
    session = await edge_kit.ready()
    run = await edge_kit.attempt(session)
    nc, state = edge_kit.edge.nc, {"text": "x" * 1000}
    clock = asyncio.get_running_loop().time
    raw: list[float] = []
    saved: list[float] = []
    other, last = an_enqueue().run.id, 0
    for number in range(1, 400):
        body = encode(state)
        begun = clock()
        headers = bus.expect_last(last, subjects.run_all(NS, other))
        last = (await bus.publish_acked(nc, subjects.run_event(NS, other), body, headers)).seq
        raw.append(clock() - begun)
        await edge_kit.edge.journal.fresh()
        begun = clock()
        (done,) = await edge_kit.store.save([a_checkpoint(run, number, state)])
        saved.append(clock() - begun)
        assert done.outcome == "ok"
    ratio = statistics.median(saved) / statistics.median(raw)
    assert ratio <= 2.5, f"{statistics.median(saved) * 1000:.2f} ms, {ratio:.2f} publishes"
