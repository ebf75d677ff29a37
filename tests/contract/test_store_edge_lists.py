"""Lists of the edge: what they are read from may be made anew, or be gone, under them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from headway.wire.runs import RunsQuery
from support.factories import NS, an_enqueue
from support.wait import until

if TYPE_CHECKING:
    import sqlite3

    from support.stores import EdgeKit


async def listed(kit: EdgeKit) -> list[str]:
    page = await kit.store.runs(NS, RunsQuery(sort="oldest", total=True))
    found = [row.run for row in page.runs]
    assert page.total == len(found)
    return found


async def test_lists_follow_a_projection_that_is_made_anew(edge_kit: EdgeKit) -> None:
    first, *_ = await edge_kit.enqueued(an_enqueue())
    assert await listed(edge_kit) == [first.id]
    edge_kit.edge.projection.make_anew()
    second, *_ = await edge_kit.enqueued(an_enqueue())
    assert await listed(edge_kit) == sorted([first.id, second.id])


async def test_a_long_list_does_not_keep_the_engine_from_its_work(edge_kit: EdgeKit) -> None:
    await edge_kit.ready()
    entered, let_go = threading.Event(), threading.Event()

    def long(db: sqlite3.Connection) -> int:
        entered.set()
        assert let_go.wait(30)
        ((count,),) = db.execute("SELECT count(*) FROM runs")
        return count

    reading = asyncio.create_task(edge_kit.edge.reader.read(long))
    await until(entered.is_set)
    run, *_ = await edge_kit.enqueued(an_enqueue())
    assert (await edge_kit.record(run.id)).id == run.id
    let_go.set()
    assert await reading in (0, 1)
