"""The engine between the mark on the parent and the child: races and outages, in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.ids import child_run_id
from headway.states import RunState
from headway.wire import decode, encode
from headway.wire.children import ENQUEUED, Child, Enqueued
from headway.wire.children import Children as ChildrenBody
from headway.wire.enqueue import EnqueueItem
from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.children import Children
from headway_engine.credits import Credits
from headway_engine.dispatch import Dispatcher
from headway_engine.door import Asked
from headway_engine.happenings import Lost
from headway_engine.post import Post
from headway_engine.recorder import Recorder
from headway_engine.relay import Relay
from headway_engine.saves import SaveLanes
from headway_engine.service import Health
from headway_engine.store import StoreDown
from headway_engine.store.memory import MemoryStore
from support.factories import NS
from support.stores import MemoryKit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from headway_engine.store.records import Run

NOBODY: Any = None
"""There is no NATS here: what is told waits in its post."""


class Interrupted(MemoryStore):
    """The memory store; something may happen after a read, or instead of the next enqueue."""

    after_get: Callable[[], Awaitable[object]] | None = None
    full = False

    async def get(self, ns: str, run: str) -> Run | None:
        """Read, then let it happen."""
        found = await super().get(ns, run)
        happens, self.after_get = self.after_get, None
        if happens is not None:
            await happens()
        return found

    async def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        """Not while it is full."""
        if self.full:
            raise StoreDown
        return await super().enqueue(*args, **kwargs)


class Bench:
    """The service over one store."""

    def __init__(self, store: MemoryStore, kit: MemoryKit) -> None:
        self.store = store
        self.post = Post(NOBODY, "answers")
        health = Health(lambda: 0.0)
        relay = Relay(NOBODY, store, self.post, self.post)
        self.lanes = SaveLanes(store, relay, health)
        dispatcher = Dispatcher(NOBODY, store, self.post, Credits(), lambda: "", NOBODY)
        blobs = MemoryBlobs()
        recorder = Recorder(store, blobs, dispatcher, relay, lambda _due: None)
        self.children = Children(store, blobs, self.lanes, recorder, kit.now)

    async def enqueue(self, parent: Run) -> Enqueued:
        """The attempt enqueues a child under the key `k`."""
        item = EnqueueItem(child_run_id(parent.root, parent.id, "k"), parent.task)
        body = ChildrenBody("a1", 1, [Child(parent.id, parent.epoch, "k", Raw(encode(item)))])
        asked = Asked(partial(self.post.put, "_INBOX.x"), NS, "a1", encode(body))
        await self.children._enqueue(asked)  # pyright: ignore[reportPrivateUsage]  # as the door does
        return decode(ENQUEUED, self.post.letters[-1][1])


@asynccontextmanager
async def bench() -> AsyncGenerator[tuple[Bench, MemoryKit, Interrupted, Run]]:
    """With a running attempt."""
    kit = MemoryKit()
    store = Interrupted("e1", kit.clock)
    kit.memory = kit.store = store
    await kit.start()
    parent = await kit.attempt(await kit.ready())
    made = Bench(store, kit)
    async with asyncio.TaskGroup() as group:
        made.lanes.start(group)
        yield made, kit, store, parent
        await made.lanes.stop()


async def test_an_attempt_that_ends_in_this_moment_starts_no_child() -> None:
    async with bench() as (made, kit, store, parent):
        store.after_get = lambda: kit.move(parent.id, Lost(parent.epoch, "gone"))
        (outcome,) = (await made.enqueue(parent)).outcomes
        assert outcome.outcome == "stale_epoch"
        assert (await kit.record(parent.id)).state is RunState.QUEUED
        assert not await store.marks(NS, parent.id)
        assert await store.get(NS, child_run_id(parent.id, parent.id, "k")) is None


async def test_an_outage_between_the_mark_and_the_child_is_asked_away() -> None:
    async with bench() as (made, _, store, parent):
        store.full = True
        assert (await made.enqueue(parent)).busy
        assert [m.key for m in await store.marks(NS, parent.id)] == ["k"]
        store.full = False
        (outcome,) = (await made.enqueue(parent)).outcomes
        assert (outcome.outcome, outcome.fresh) == ("ok", True)
        (again,) = (await made.enqueue(parent)).outcomes
        assert (again.run, again.fresh) == (outcome.run, False)
        assert [m.key for m in await store.marks(NS, parent.id)] == ["k"]
