"""The edge store while its projection lacks nearly everything, or cannot be trusted any more."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from headway.states import RunState
from headway.wire.fleet import QueueAsk
from headway.wire.rpc import Beat
from headway.wire.runs import RunsQuery
from headway_engine.happenings import Cancel, Finished
from headway_engine.store import StoreDown
from headway_engine.store.edge import FILLING, journal, projection
from support.edgestories import rows
from support.factories import NS, a_checkpoint, an_agent, an_enqueue
from support.stores import LEASE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from headway_engine.store.edge import EdgeStore
    from support.stores import EdgeKit


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Every projection that lacks a message is filled in the background, once this is set."""
    event = asyncio.Event()
    fill = journal.Journal._fill  # pyright: ignore[reportPrivateUsage]

    async def held(self: journal.Journal) -> None:
        await event.wait()
        await fill(self)

    monkeypatch.setattr(journal, "FEW", 0)
    monkeypatch.setattr(journal.Journal, "_fill", held)
    return event


async def emptied(kit: EdgeKit) -> EdgeStore:
    """The same engine, its projection deleted."""
    await kit.edge.close()
    shutil.rmtree(kit.folder / "e1")
    kit.edge = kit.store = await kit.open("e1")
    return kit.edge


async def test_an_engine_works_while_its_projection_is_filled(
    edge_kit: EdgeKit, gate: asyncio.Event
) -> None:
    session = await edge_kit.ready()
    until = edge_kit.now().replace(year=2027)
    ended, held, given, waiting, keyed = await edge_kit.enqueued(
        *[an_enqueue(priority=9 - k) for k in range(4)], an_enqueue(key="k", key_until=until)
    )
    await edge_kit.store.dispatch(NS, "default", 3, 0)
    claims = await edge_kit.store.claim(NS, "a1", session, "n", [ended.id, held.id], None)
    attempt = next(c.run for c in claims.claimed if c.run.id == held.id)
    await edge_kit.store.save([a_checkpoint(attempt, 1)])
    await edge_kit.move(ended.id, Finished(1))
    store = await emptied(edge_kit)
    assert rows(store)["runs"] == []
    assert (await store.facts()).problems == [FILLING]

    (found,) = (await store.ends(NS, [ended.id])).ended
    assert found.run == ended.id
    assert [e.n for e in await store.events(NS, held.id, 0, 99)] == [1, 2, 3, 4]
    ((again,), _) = await store.enqueue(NS, [an_enqueue(key="k", key_until=until)], {})
    assert (again.outcome, again.winner) == ("duplicate", keyed.id)
    (saved,) = await store.save([a_checkpoint(attempt, 2)])
    assert (saved.outcome, saved.n) == ("ok", 5)
    (moved,) = await store.commit([(held.id, Finished(1))])
    assert moved.outcome == "ok"
    taken = await store.claim(NS, "a1", session, "n2", [given.id], None)
    assert [c.run.id for c in taken.claimed] == [given.id]
    ((new,), _) = await store.enqueue(NS, [an_enqueue()], {})
    assert new.outcome == "recorded"
    (gone,) = await store.commit([(waiting.id, Cancel("user:me"))])
    assert gone.outcome == "ok"

    gate.set()
    await store.journal.whole()
    assert (await store.facts()).problems == []
    assert rows(store) == rows(await edge_kit.open("other"))


async def test_what_needs_all_runs_waits_until_they_are_known(
    edge_kit: EdgeKit, gate: asyncio.Event
) -> None:
    session = await edge_kit.ready()
    await edge_kit.store.set_queue(NS, QueueAsk("default", limit=1), "user:me")
    run, _ = await edge_kit.enqueued(an_enqueue(priority=1), an_enqueue())
    await edge_kit.claimed(run.id, session)
    store = await emptied(edge_kit)
    lost = [(NS, run.id)]

    assert await store.dispatch(NS, "default", 5, 5) is None
    assert await store.unnamed(lost) == set()
    assert await store.expire(LEASE) == []
    # An agent that holds what the projection does not know yet must not be told to stop it.
    beaten = await store.beat(NS, Beat("a1", session, "", [(run.id, 1)]), LEASE)
    assert (beaten.live, beaten.stop) == (True, [])
    _, kept, stop = await store.register(NS, an_agent(session=session, holds=[(run.id, 1)]), LEASE)
    assert ([tuple(h) for h in kept], stop) == ([(run.id, 1)], [])
    store.journal.timeout = 0.1
    with pytest.raises(StoreDown, match="0 % are read"):
        await store.journal.whole()

    gate.set()
    store.journal.timeout = 5.0
    await store.journal.whole()
    given = await store.dispatch(NS, "default", 5, 5)
    assert given is not None
    assert given.runs == []  # the limit is taken


async def test_what_is_read_and_not_yet_written_counts(
    edge_kit: EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered, go_on = asyncio.Event(), asyncio.Event()
    gather = journal.Journal._gather  # pyright: ignore[reportPrivateUsage]

    async def held(self: journal.Journal) -> AsyncGenerator[None]:
        async for _ in gather(self):
            gathered.set()
            await go_on.wait()
            yield

    monkeypatch.setattr(journal, "FEW", 0)
    monkeypatch.setattr(journal, "GATHERED", 5)
    monkeypatch.setattr(journal.Journal, "_gather", held)
    attempt = await edge_kit.attempt(await edge_kit.ready())
    await edge_kit.store.save([a_checkpoint(attempt, 1)])
    await edge_kit.enqueued(an_enqueue(), an_enqueue())
    before = rows(edge_kit.edge)
    store = await emptied(edge_kit)
    await gathered.wait()
    assert rows(store)["runs"] == []
    # The record says that there is a checkpoint; so must the table by which it is compared.
    (again,) = await store.save([a_checkpoint(attempt, 1)])
    assert (again.outcome, again.n) == ("ok", 0)
    go_on.set()
    await store.journal.whole()
    assert rows(store) == before


def cut_off(store: EdgeStore) -> None:
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with store.projection.path.open("r+b") as file:
        file.truncate(8192)
    store.db.execute("PRAGMA shrink_memory")


def write_over(store: EdgeStore) -> None:
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = store.projection.path.stat().st_size
    with store.projection.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    store.db.execute("PRAGMA shrink_memory")


def spoil_a_record(store: EdgeStore) -> None:
    store.db.execute("UPDATE runs SET record = x'7b00ff'")


def remove(store: EdgeStore) -> None:
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.rmtree(store.projection.path.parent)


@pytest.mark.parametrize("spoil", [cut_off, write_over, spoil_a_record, remove])
async def test_damage_that_is_met_at_work_is_mended(
    edge_kit: EdgeKit,
    spoil: Callable[[EdgeStore], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(projection, "CACHED", 0)  # each record is read from the file
    ids = [run.id for run in await edge_kit.enqueued(*[an_enqueue() for _ in range(40)])]
    before = rows(edge_kit.edge)
    store = edge_kit.edge
    spoil(store)

    async def read_all() -> None:
        await store.runs(NS, RunsQuery())
        for run in ids:
            await store.get(NS, run)

    with pytest.raises(StoreDown, match="anew"):
        await read_all()
    assert "the projection is damaged and is made anew" in caplog.text
    found = await store.get(NS, ids[0])
    assert found is not None
    assert found.state is RunState.QUEUED
    await store.journal.whole()
    assert rows(store) == before
    assert len((await store.runs(NS, RunsQuery())).runs) == len(ids)
