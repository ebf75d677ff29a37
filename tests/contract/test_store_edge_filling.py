"""The edge store while its projection lacks nearly everything, or cannot be trusted any more."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headway.states import RunState
from headway.wire.fleet import QueueAsk
from headway.wire.rpc import Beat
from headway.wire.runs import RunsQuery
from headway_engine.happenings import Cancel, Finished
from headway_engine.store import StoreDown
from headway_engine.store.edge import FILLING, filler, journal, projection
from headway_engine.store.edge.filling import Job, aside
from support.edgestories import rows, story
from support.factories import NS, a_checkpoint, an_agent, an_enqueue
from support.stores import LEASE
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from headway.errors import HeadwayError
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
    other = await edge_kit.open("other")
    await other.journal.whole()
    assert rows(store) == rows(other)


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


async def filled(kit: EdgeKit, name: str = "e1") -> EdgeStore:
    """An engine whose projection was filled by another process."""
    store = await kit.open(name)
    await store.journal.whole()
    return store


@pytest.fixture
def by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is missing is much."""
    monkeypatch.setattr(journal, "FEW", 0)


@pytest.mark.usefixtures("by_another")
async def test_a_file_that_was_made_aside_is_as_one_that_was_always_there(
    edge_kit: EdgeKit,
) -> None:
    await story(edge_kit, 11, 60)
    store = await emptied(edge_kit)
    await store.journal.whole()
    schema = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    anew = projection.Projection(edge_kit.folder / "anew" / "p.sqlite3")
    anew.open("s", 0)
    assert store.db.execute(schema).fetchall() == anew.db.execute(schema).fetchall()
    anew.close()
    # What is missing in a file that is there is added to a copy of it.
    other = await filled(edge_kit, "other")
    assert rows(other) == rows(store)
    await other.close()
    await story(edge_kit, 12, 20)
    assert rows(await filled(edge_kit, "other")) == rows(store)
    assert not list(edge_kit.folder.rglob("*filling*"))


@pytest.mark.usefixtures("by_another")
async def test_what_an_interrupted_process_has_left_is_gone_on_with(edge_kit: EdgeKit) -> None:
    await story(edge_kit, 13, 40)
    await edge_kit.edge.close()
    left = aside(edge_kit.edge.projection.path)
    edge_kit.edge.projection.path.rename(left)
    db = sqlite3.connect(left, isolation_level=None)
    db.execute("INSERT INTO meta VALUES ('mine', 'yes')")
    db.execute("UPDATE meta SET value = '0' WHERE name = 'closed'")
    db.close()
    writer = edge_kit.store = await filled(edge_kit, "writer")
    await story(edge_kit, 14, 20)
    store = await filled(edge_kit)
    assert store.db.execute("SELECT value FROM meta WHERE name = 'mine'").fetchall() == [("yes",)]
    assert rows(store) == rows(writer)
    # One that is spoiled is not.
    await store.close()
    store.projection.path.unlink()
    left.write_bytes(b"SQLite format 3\x00" + b"\xff" * 8000)
    assert rows(await filled(edge_kit)) == rows(writer)


@pytest.mark.usefixtures("by_another")
async def test_a_write_that_meets_the_new_file_counts_in_it(
    edge_kit: EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, go_on, read_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    fill, append = journal.fill_aside, journal.fencing.append_all
    pages = journal.Journal._pages  # pyright: ignore[reportPrivateUsage]

    async def fill_and_wait(*args: Any) -> None:
        await fill(*args)
        made.set()
        await go_on.wait()

    async def wait_and_read(self: journal.Journal, start: int = 0) -> AsyncGenerator[None]:
        await read_on.wait()
        async for _ in pages(self, start):
            yield

    async def until_it_is_there(*args: Any, **options: Any) -> list[int | HeadwayError]:
        found = await append(*args, **options)
        go_on.set()
        await until(lambda: store.projection.made > before, what="the other file is there")
        return found

    attempt = await edge_kit.attempt(await edge_kit.ready())
    await edge_kit.store.save([a_checkpoint(attempt, 1)])
    monkeypatch.setattr(journal, "fill_aside", fill_and_wait)
    monkeypatch.setattr(journal.Journal, "_pages", wait_and_read)
    store = await emptied(edge_kit)
    before = store.projection.made
    await made.wait()
    told = store.filling()
    assert told is not None
    assert told[0] == told[1] > 0
    assert store.projection.watermark == 0
    await store.save([a_checkpoint(attempt, 2)])  # this is not in the other file
    monkeypatch.setattr(journal.fencing, "append_all", until_it_is_there)
    (saved,) = await store.save([a_checkpoint(attempt, 3)])
    assert (saved.outcome, saved.n) == ("ok", 6)
    monkeypatch.setattr(journal.fencing, "append_all", append)
    (saved,) = await store.save([a_checkpoint(attempt, 4)])
    assert (saved.outcome, saved.n) == ("ok", 7)
    read_on.set()
    await store.journal.whole()
    assert rows(store) == rows(await filled(edge_kit, "other"))


async def test_a_process_that_finds_the_disk_full_gives_its_room_back(
    edge_kit: EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = filler._opened  # pyright: ignore[reportPrivateUsage]

    def small(job: Job, path: Path) -> projection.Projection:
        found = opened(job, path)
        ((pages,),) = found.db.execute("PRAGMA page_count")
        found.db.execute(f"PRAGMA max_page_count={pages + 3}")
        return found

    def job() -> Job:
        nc = edge_kit.edge.nc
        assert nc.settings is not None
        stream = edge_kit.edge.projection.stream
        return Job(nc.settings, str(path), 0, stream, edge_kit.edge.projection.watermark)

    await edge_kit.enqueued(*(an_enqueue({"text": "x" * 3000}) for _ in range(30)))
    path = edge_kit.folder / "e2" / "projection.sqlite3"
    monkeypatch.setattr(filler, "APPLIED", 1)
    monkeypatch.setattr(filler, "TAKEN", 1)
    monkeypatch.setattr(filler, "_opened", small)
    said: list[int] = []
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await filler.fill(job(), said.append)
    assert said  # it had begun
    assert not list(path.parent.iterdir())
    monkeypatch.undo()
    await filler.fill(job(), said.append)
    assert said[-1] == edge_kit.edge.projection.watermark


def fillers(folder: Path) -> list[int]:
    """The processes that work, or wait to work, in a folder."""
    held = str(folder)
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(fd) == held for fd in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


@contextlib.contextmanager
def holding(folder: Path) -> Generator[None]:
    """No process can begin to fill a projection there."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


ENGINE = """
import asyncio, sys
from pathlib import Path
from headway.bus import connect
from headway.config import Settings
from headway_engine.store.edge import EdgeStore, journal

async def main():
    journal.FEW = 0
    nc = await connect(Settings(nats_url=sys.argv[1]), kind="engine", ident="e1")
    await EdgeStore(nc, Path(sys.argv[2]), "e1").open()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.usefixtures("by_another")
async def test_the_process_ends_with_its_engine(edge_kit: EdgeKit) -> None:
    await edge_kit.enqueued(an_enqueue(), an_enqueue())
    before = rows(edge_kit.edge)
    await edge_kit.edge.close()
    folder = edge_kit.folder / "e1"
    shutil.rmtree(folder)
    with holding(folder):
        engine = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ENGINE, edge_kit.nats.url, str(folder)
        )
        await until(lambda: len(fillers(folder)) == 1, what="a process fills")
        engine.kill()
        await engine.wait()
        await until(lambda: not fillers(folder), what="it has ended with its engine")
        store = await edge_kit.open("e1")
        await until(lambda: len(fillers(folder)) == 1, what="a process fills")
        await store.close()
        assert not fillers(folder)
        store = await edge_kit.open("e1")
        await until(lambda: len(fillers(folder)) == 1, what="a process fills")
        os.kill(fillers(folder)[0], signal.SIGKILL)
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
