"""The edge store by itself: what it makes of RUNS, crashes, other engines, foreign messages."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import bus, subjects
from headway.errors import TooLarge
from headway.history import Stored, history
from headway.ids import encode as make_id
from headway.states import RunState
from headway.wire import ErrorInfo, decode, encode
from headway.wire.events import RUN_EVENTS
from headway.wire.fleet import QueueAsk
from headway.wire.rpc import WORK_BODY, Beat
from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.happenings import (
    Cancel,
    Due,
    Failed,
    Finished,
    Happening,
    Lost,
    Resume,
    Started,
    Suspended,
)
from headway_engine.store import StoreDown
from headway_engine.streams import drift, ensure_streams
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
    from headway_engine.store.records import Run
    from support.stores import EdgeKit, Kit, MemoryKit

TABLES = ("runs", "bodies", "events", "checkpoints", "marks", "usage", "keys", "purges")


def rows(store: EdgeStore) -> dict[str, list[Any]]:
    """All that the projection says."""
    return {
        table: sorted(store.db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
        for table in TABLES
    }


async def story(kit: Kit, seed: int, length: int = 100) -> list[str]:
    """Something happens to some runs, again and again; the same for the same seed."""
    dice = random.Random(seed)
    session = await kit.ready(keep_checkpoints=1)
    ids: list[str] = []
    for k in range(length):
        if len(ids) < 4 or dice.random() < 0.1:
            new = an_enqueue(
                {"k": k},
                id=make_id(1_767_225_600_000 + k, dice.getrandbits(60)),
                tags=("a", f"t{k}"),
                priority=dice.randrange(3),
                key=dice.choice(["", "", "one", "two"]),
                key_until=kit.now().replace(year=2027),
                limit_key=dice.choice(["", "x"]),
            )
            await kit.store.enqueue(NS, [new], {})
            ids.append(new.run.id)
            continue
        run = await kit.store.get(NS, dice.choice(ids))
        if run is not None:
            await step(kit, dice, run, session)
        if dice.random() < 0.2:
            await kit.advance(dice.randrange(1, 9))
            await kit.store.beat(NS, Beat("a1", session, ""), LEASE)
    return ids


async def step(kit: Kit, dice: random.Random, run: Run, session: int) -> None:
    """One thing that may happen to a run, mostly one that fits."""
    store, epoch = kit.store, run.epoch
    fits = {
        RunState.QUEUED: ["claim"],
        RunState.STARTING: ["save", "mark", "start"],
        RunState.RUNNING: ["save", "save", "mark", "mark", "end"],
        RunState.CANCELLING: ["mark", "lose"],
    }.get(run.state, ["due"])
    match dice.choice(fits) if dice.random() < 0.85 else dice.choice(["claim", "save", "end"]):
        case "claim":
            await store.dispatch(NS, "default", 3, 3)
            await store.claim(NS, "a1", session, f"n{run.n}", [run.id], None)
        case "save":
            count = dice.choice([2, 3, 18])
            await store.save([a_checkpoint(run, run.ck + k) for k in range(1, count)])
        case "mark":
            status = dice.choice(["started", "done", "failed"])
            once = a_once(run, f"o{run.n % 3}", status)
            used = SaveUsage(run.id, epoch, [ModelUsage("m", run.n, 1, 0.5)])
            await store.save([a_step(run, f"s{run.n}", "v" * dice.randrange(50)), once, used])
        case "start":
            await store.commit([(run.id, Started(epoch))])
        case "lose":
            await store.commit([(run.id, Lost(epoch, "gone")), (run.id, Lost(epoch, "gone"))])
        case "end":
            error = ErrorInfo("ValueError", "no")
            options: list[Happening] = [
                Finished(epoch),
                Failed(epoch, "error", error),
                Suspended(epoch, f"w{run.n}", "sleep", seconds=3),
                Cancel("user:me"),
                Failed(epoch, "state", error),
                Lost(epoch, "gone"),
            ]
            await store.commit([(run.id, dice.choice(options))])
        case _:
            await store.commit([(run.id, Due()), (run.id, Resume("user:me"))])


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
    db.set_trace_callback(None)
    asked = [s for s in said if s.lstrip().startswith(("SELECT", "WITH"))]
    assert len(asked) > 20
    for statement in asked:
        for *_, plan in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
            if plan.startswith("SCAN runs"):
                assert plan.rsplit(" ", 1)[1] in LIVE, statement
            assert "runs_listed" not in plan, statement


# --- several engines


async def test_of_two_engines_one_takes_each_run(edge_kit: EdgeKit) -> None:
    session = await edge_kit.ready()
    other = await edge_kit.engine("e2")
    runs = await edge_kit.enqueued(*[an_enqueue() for _ in range(8)])
    ids = [run.id for run in runs]
    await edge_kit.store.dispatch(NS, "default", 9, 9)
    answers = await asyncio.gather(
        *(s.claim(NS, "a1", session, name, ids, None) for s, name in
          ((edge_kit.store, "n1"), (other, "n2")))
    )  # fmt: skip
    taken = [c.run.id for a in answers for c in a.claimed]
    assert sorted(taken) == sorted(ids)
    for run in ids:
        assert (await edge_kit.record(run)).epoch == 1


async def test_of_two_engines_one_records_a_key(edge_kit: EdgeKit) -> None:
    stores = [edge_kit.store, await edge_kit.engine("e2")]
    until = edge_kit.now().replace(year=2027)
    for k in range(5):
        items = [an_enqueue(key=f"k{k}", key_until=until) for _ in stores]
        found = await asyncio.gather(
            *(s.enqueue(NS, [new], {}) for s, new in zip(stores, items, strict=True))
        )
        outcomes = sorted(o.outcome for ((o,), _) in found)
        assert outcomes == ["duplicate", "recorded"]


async def test_two_engines_keep_a_limit(edge_kit: EdgeKit) -> None:
    await edge_kit.ready()
    await edge_kit.store.set_queue(NS, QueueAsk("default", limit=3), "user:me")
    await edge_kit.enqueued(*[an_enqueue() for _ in range(12)])
    stores = [edge_kit.store, await edge_kit.engine("e2")]
    for _ in range(3):
        await asyncio.gather(*(s.dispatch(NS, "default", 3, 3) for s in stores))
    (queue,) = await edge_kit.store.queues()
    assert queue.dispatched == 3


async def test_a_save_at_another_engine_is_not_stale_because_that_one_looked_before(
    edge_kit: EdgeKit,
) -> None:
    session = await edge_kit.ready()
    (queued,) = await edge_kit.enqueued(an_enqueue())
    other = await edge_kit.engine("e2")
    run = (await edge_kit.claimed(queued.id, session)).run
    (done,) = await other.save([a_checkpoint(run, 1)])
    assert done.outcome == "ok"
    (again,) = await edge_kit.store.save([a_checkpoint(run, 1)])
    assert (again.outcome, again.n) == ("ok", 0)


async def test_writers_of_one_run_at_two_engines_leave_no_gap(edge_kit: EdgeKit) -> None:
    session = await edge_kit.ready()
    run = await edge_kit.attempt(session)
    stores = [edge_kit.store, await edge_kit.engine("e2")]
    found = await asyncio.gather(*(stores[k % 2].save([a_step(run, f"k{k}")]) for k in range(20)))
    assert {done.outcome for (done,) in found} == {"ok"}
    numbers = await edge_kit.numbers(run.id)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({done.n for (done,) in found}) == 20


# --- crashes


async def test_a_nats_server_that_is_killed_loses_nothing_that_was_acknowledged(
    edge_kit: EdgeKit,
) -> None:
    session = await edge_kit.ready()
    run = await edge_kit.attempt(session)
    saved = 0
    for round_ in range(3):
        for _ in range(5):
            (done,) = await edge_kit.store.save([a_checkpoint(run, saved + 1)])
            assert done.outcome == "ok"
            saved += 1
        edge_kit.nats.kill()
        save = asyncio.create_task(edge_kit.store.save([a_checkpoint(run, saved + 1)]))
        await edge_kit.nats.start()
        (done,) = await save
        assert done.outcome == "ok", round_
        saved += 1
    assert (await edge_kit.record(run.id)).ck == saved
    before = rows(edge_kit.edge)
    assert rows(await edge_kit.open("other")) == before


async def test_while_nats_is_away_the_store_is_down_and_back_with_it(edge_kit: EdgeKit) -> None:
    (run,) = await edge_kit.enqueued(an_enqueue())
    edge_kit.nats.kill()
    edge_kit.edge.journal.timeout = edge_kit.edge.settings.timeout = 0.3
    with pytest.raises(StoreDown):
        await edge_kit.store.commit([(run.id, Cancel("user:me"))])
    with pytest.raises(StoreDown):
        await edge_kit.store.get(NS, run.id)
    edge_kit.edge.journal.timeout = edge_kit.edge.settings.timeout = 5.0
    await edge_kit.nats.start()
    (done,) = await edge_kit.store.commit([(run.id, Cancel("user:me"))])
    assert done.outcome in ("ok", "already")
    assert (await edge_kit.record(run.id)).state is RunState.CANCELLED
    assert await edge_kit.numbers(run.id) == [1, 2]


ENGINE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from headway.bus import connect
from headway_engine.clock import ManualClock
from headway_engine.store.edge import EdgeStore
from support.factories import EPOCH, NS, an_enqueue
from support.servers import settings_for

async def main():
    nc = await connect(settings_for(sys.argv[1]), kind="engine", ident="e9")
    store = EdgeStore(nc, Path(sys.argv[2]), "e9", ManualClock(EPOCH))
    await store.open()
    for _ in range(9):
        new = an_enqueue()
        print(new.run.id, flush=True)
        await store.enqueue(NS, [new], {})

asyncio.run(main())
"""


async def test_an_engine_that_dies_before_it_has_applied_what_it_stored_finds_it_again(
    edge_kit: EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_FAULTS", "engine.edge.stored=crash@3")
    tests = str(Path(__file__).parents[1])
    folder = edge_kit.folder / "e9"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENGINE, edge_kit.nats.url, str(folder), tests,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    ids = out.decode().split()
    assert len(ids) == 3
    store = await edge_kit.open("e9")
    for run in ids:
        assert await store.get(NS, run) is not None
    assert rows(store) == rows(await edge_kit.open("other"))


# --- the file


async def test_a_file_that_is_gone_damaged_or_old_is_made_anew(edge_kit: EdgeKit) -> None:
    await story(edge_kit, 7, 30)
    before = rows(edge_kit.edge)
    await edge_kit.edge.close()
    path = edge_kit.folder / "e1" / "projection.sqlite3"

    def remove() -> None:
        shutil.rmtree(path.parent)

    def damage() -> None:
        path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 8000)

    def age() -> None:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version=0")
        db.close()

    for spoil in (remove, damage, age):
        spoil()
        store = await edge_kit.open("e1")
        assert rows(store) == before, spoil.__name__
        await store.close()


async def test_a_disk_that_is_full_for_the_projection_loses_nothing(edge_kit: EdgeKit) -> None:
    session = await edge_kit.ready()
    run = await edge_kit.attempt(session)
    db = edge_kit.edge.db
    ((pages,),) = db.execute("PRAGMA page_count")
    db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreDown, match="projection"):
        await edge_kit.store.save([a_step(run, f"k{k}", "x" * 9000) for k in range(99)])
    db.execute("PRAGMA max_page_count=1000000")
    (done,) = await edge_kit.store.save([a_checkpoint(run, 1)])
    assert done.outcome == "ok"
    numbers = await edge_kit.numbers(run.id)
    assert numbers == list(range(1, done.n + 1))
    assert rows(await edge_kit.open("other")) == rows(edge_kit.edge)


async def test_it_goes_on_where_it_was(edge_kit: EdgeKit) -> None:
    await story(edge_kit, 3, 30)
    before, upto = rows(edge_kit.edge), edge_kit.edge.projection.watermark
    await edge_kit.edge.close()
    other = await edge_kit.open("e2")
    (late,), _ = await other.enqueue(NS, [an_enqueue()], {})
    again = await edge_kit.open("e1")
    assert again.projection.watermark > upto
    assert await again.get(NS, late.run) is not None
    assert len(rows(again)["runs"]) == len(before["runs"]) + 1


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
