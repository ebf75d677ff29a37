"""What an edge store has published and not yet written to its file: seen by all, lost by none."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from headway import subjects
from headway.history import history
from headway.wire.runs import RunsQuery
from headway_engine.store import StoreDown
from headway_engine.store.edge.applying import Message
from support.edgestories import rows
from support.factories import NS, a_checkpoint, a_step
from support.wait import until

if TYPE_CHECKING:
    from headway_engine.store.edge import EdgeStore
    from support.stores import EdgeKit


def in_file(store: EdgeStore) -> tuple[int, int]:
    """How far the file is, and how many checkpoints stand in it."""
    with sqlite3.connect(f"file:{store.projection.path}?mode=ro", uri=True) as db:
        ((upto,),) = db.execute("SELECT value FROM meta WHERE name = 'watermark'")
        ((count,),) = db.execute("SELECT count(*) FROM checkpoints")
    db.close()
    return int(upto), count


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written by itself."""
    monkeypatch.setattr("headway_engine.store.edge.journal.WRITE_WITHIN", 3600)


@pytest.mark.usefixtures("patient")
async def test_a_save_is_answered_before_its_rows_are_written_and_seen_by_whoever_looks(
    edge_kit: EdgeKit,
) -> None:
    store = edge_kit.edge
    run = await edge_kit.attempt(await edge_kit.ready())
    upto = store.projection.watermark
    for number in (1, 2):
        (saved,) = await store.save([a_checkpoint(run, number)])
        assert (saved.outcome, in_file(store)[1]) == ("ok", 0)
    again, other = await store.save([a_checkpoint(run, 2), a_checkpoint(run, 2, "else")])
    assert (again.outcome, other.outcome) == ("ok", "conflict")
    (step,) = await store.save([a_step(run, "k", "x")])
    (same,) = await store.save([a_step(run, "k", "x")])
    assert (step.outcome, same.outcome, same.n) == ("ok", "ok", 0)
    assert in_file(store) == (upto + 2, 2), "the repeat of a checkpoint has looked there"
    assert store.projection.watermark == upto + 3
    (saved,) = await store.save([a_checkpoint(run, 3)])
    assert in_file(store) == (upto + 2, 2)
    page = await store.runs(NS, RunsQuery())
    assert [row.checkpoint for row in page.runs] == [3], "by another connection, in another thread"
    assert in_file(store) == (upto + 4, 3)


async def test_rows_are_written_although_nobody_looks(edge_kit: EdgeKit) -> None:
    store = edge_kit.edge
    run = await edge_kit.attempt(await edge_kit.ready())
    await store.save([a_checkpoint(run, 1)])
    await until(lambda: in_file(store) == (store.projection.watermark, 1))


@pytest.mark.usefixtures("patient")
async def test_what_was_not_written_when_an_engine_died_is_read_again(edge_kit: EdgeKit) -> None:
    store = edge_kit.edge
    run = await edge_kit.attempt(await edge_kit.ready())
    await store.save([a_checkpoint(run, 1)])
    await store.save([a_step(run, "k", "x")])
    assert in_file(store)[1] == 0
    # The file as a kill leaves it.
    shutil.copytree(edge_kit.folder / "e1", edge_kit.folder / "e9")
    late = await edge_kit.open("e9")
    assert rows(late) == rows(await edge_kit.open("other")) == rows(store)
    assert in_file(late)[1] == 1


@pytest.mark.usefixtures("patient")
async def test_rows_that_could_not_be_written_come_again_also_those_after_a_hole(
    edge_kit: EdgeKit,
) -> None:
    store, session = edge_kit.edge, await edge_kit.ready()
    one, two = await edge_kit.attempt(session), await edge_kit.attempt(session)
    other = await edge_kit.engine("e2")
    before = store.projection.watermark
    await other.save([a_checkpoint(one, 1)])
    await store.save([a_checkpoint(two, 1, "x" * 99_000)])
    assert store.projection.watermark == before, "there is a hole before its own message"
    ((pages,),) = store.projection._db.execute("PRAGMA page_count")  # pyright: ignore[reportPrivateUsage]
    store.projection._db.execute(f"PRAGMA max_page_count={pages}")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreDown):
        await store.get(NS, two.id)
    store.projection._db.execute("PRAGMA max_page_count=1000000")  # pyright: ignore[reportPrivateUsage]
    # What fills the hole is heard of alone.
    (missed,) = [
        Message(m.subject, m.seq, m.data)
        async for m in history(
            edge_kit.edge.nc, subjects.RUNS, subjects.of_run(NS, one.id, ">"), before + 1
        )
    ]
    store.journal._apply_own([missed])  # pyright: ignore[reportPrivateUsage]
    assert store.projection.watermark == before + 1
    assert (await edge_kit.record(two.id)).ck == 1
    assert rows(store) == rows(await edge_kit.open("other"))
