"""The edge store by itself: several engines, crashes, its file."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headway.states import RunState
from headway.wire.fleet import QueueAsk
from headway_engine.happenings import (
    Cancel,
)
from headway_engine.store import StoreDown
from support.edgestories import rows, story
from support.factories import NS, a_checkpoint, a_step, an_enqueue

if TYPE_CHECKING:
    from support.stores import EdgeKit

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
    # It is in RUNS: that is what a save waits for.
    saved = await edge_kit.store.save([a_step(run, f"k{k}", "x" * 9000) for k in range(99)])
    assert {done.outcome for done in saved} == {"ok"}
    for _ in range(2):
        with pytest.raises(StoreDown, match="projection"):
            await edge_kit.numbers(run.id)
    with pytest.raises(StoreDown, match="projection"):
        await edge_kit.store.save([a_checkpoint(run, 1)])
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
