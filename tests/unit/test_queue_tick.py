"""How often the queues are read and told: at most once a second, and not while nothing moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway.wire.events import Event
from headway.wire.fleet import QueueAsk, QueueRow
from headway_engine.flows import RATE_OVER, Flows
from headway_engine.presence import DEPTHS, HEAL, QueueTick
from headway_engine.store import StoreDown
from headway_engine.store.memory import MemoryStore
from support.factories import NS, a_deployment, an_enqueue

if TYPE_CHECKING:
    from datetime import datetime


class Rig:
    """A tick whose clock is held, on a store in memory."""

    def __init__(self, *, reads: bool = True) -> None:
        self.store, self.flows = MemoryStore("one"), Flows()
        self.letters: list[tuple[str, bytes]] = []
        self.now = 1000.0
        dispatcher: Any = SimpleNamespace(counted=self._nothing)
        post: Any = SimpleNamespace(put=self._put)
        self.tick = QueueTick("one", dispatcher, self.store, post, self.flows, reads=reads)
        self.tick._clock = lambda: self.now  # pyright: ignore[reportPrivateUsage]

    def _nothing(self, *_: object) -> None:
        """Nobody dispatches."""

    def _put(self, subject: str, body: bytes) -> None:
        self.letters.append((subject, body))

    async def second(self) -> tuple[int, list[QueueRow]]:
        """A second later: how often the store was asked, and what was told."""
        self.now += 1.0
        reads, self.letters = self.tick.reads, []
        await self.tick.once()
        rows = [msgspec.json.decode(body, type=QueueRow) for _, body in self.letters]
        return self.tick.reads - reads, rows

    async def quiet(self) -> Rig:
        """A queue is known, and all of it has been told."""
        await self.store.set_queue(NS, QueueAsk("q"), "user:me")
        for _ in range(2):
            await self.second()
        return self


def queued(at: datetime) -> Event:
    return Event(1, at, "queued", target="QUEUED")


async def test_what_changed_is_told_twice_and_then_nothing_is_asked_or_told() -> None:
    rig = Rig()
    await rig.store.set_queue(NS, QueueAsk("q", paused=True, reason="bill"), "user:ana")
    reads, (row,) = await rig.second()
    assert (reads, row.paused, row.reason, row.paused_by) == (1, True, "bill", "user:ana")
    assert row.at is not None
    assert await rig.second() == (0, [row])
    for _ in range(int(HEAL) - 2):
        assert await rig.second() == (0, [])
    assert await rig.second() == (1, [])  # in case somebody died before saying what it did


async def test_a_move_here_or_in_another_engine_is_looked_for_once() -> None:
    rig = await Rig().quiet()
    rig.flows.moves += 1
    assert (await rig.second())[0] == 1
    assert (await rig.second())[0] == 0
    rig.tick.heard("two", 7)
    assert (await rig.second())[0] == 1
    rig.tick.heard("two", 7)
    rig.tick.heard("one", 99)  # our own beat
    assert (await rig.second())[0] == 0
    rig.tick.stir()
    assert (await rig.second())[0] == 1
    rig.tick.wake()
    assert (await rig.second())[0] == 1


async def test_while_something_waits_it_is_read_every_second() -> None:
    rig = await Rig().quiet()
    await rig.store.deploy(NS, a_deployment("v1", queue="q"))
    await rig.store.enqueue(NS, [an_enqueue(queue="q")], {})
    rig.flows.moves += 1
    for i in range(DEPTHS + 3):
        reads, rows = await rig.second()
        assert (reads, len(rows)) == (1, i < 2)
    assert tuple(rig.tick.depths[NS, "q"]) == (1,) * DEPTHS


async def test_what_came_and_went_is_told_until_it_is_over() -> None:
    rig = await Rig().quiet()
    rig.flows.seen(NS, "q", [queued(rig.store.clock.now())])
    _, (row,) = await rig.second()
    assert [(f.engine, f.came) for f in row.flows] == [("one", 0.1)]
    told = [len((await rig.second())[1]) for _ in range(int(RATE_OVER) + 4)]
    assert sum(told) in {2, 3}  # again, then that it is over, and that again


async def test_an_engine_that_does_not_read_tells_what_it_saw_alone() -> None:
    rig = Rig(reads=False)
    await rig.store.set_queue(NS, QueueAsk("q"), "user:me")
    assert await rig.second() == (0, [])
    rig.flows.seen(NS, "q", [queued(rig.store.clock.now())])
    reads, (row,) = await rig.second()
    assert (reads, row.at, row.flows[0].came) == (0, None, 0.1)


async def test_after_an_outage_it_is_read_again() -> None:
    rig = await Rig().quiet()
    rig.flows.moves += 1
    rig.store.down = True
    with pytest.raises(StoreDown):
        await rig.second()
    rig.store.down = False
    assert (await rig.second())[0] == 1
