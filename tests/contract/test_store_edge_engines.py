"""Several engines on one RUNS: what one wrote, another must not miss by a hair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire.fleet import QueueAsk
from headway.wire.rpc import Beat
from headway_engine.happenings import Cancel, Finished
from headway_engine.store.edge.journal import Journal
from headway_engine.store.edge.settings import Settings
from support.factories import NS, an_agent, an_enqueue
from support.stores import LEASE

if TYPE_CHECKING:
    import pytest

    from support.stores import EdgeKit


def read_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new was always read by another call a moment before."""
    fresh = Journal.fresh

    async def nothing_new(self: Journal) -> bool:
        await fresh(self)
        return False

    monkeypatch.setattr(Journal, "fresh", nothing_new)


async def test_a_run_that_another_engine_dispatched_just_now_is_claimed(
    edge_kit: EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await edge_kit.open("other")
    session = await edge_kit.ready()
    assert (await other.beat(NS, Beat("a1", session, "", []), LEASE)).live
    read_by_others(monkeypatch)
    (run, waits) = await edge_kit.enqueued(an_enqueue(priority=1), an_enqueue())
    await edge_kit.store.dispatch(NS, "default", 1, 0)
    answer = await other.claim(NS, "a1", session, "n", [run.id], None)
    assert [c.run.id for c in answer.claimed] == [run.id], answer.refused
    (done,) = await other.commit([(waits.id, Cancel("user:me"))])
    assert done.outcome == "ok"


async def test_a_slot_that_another_engine_has_freed_and_a_pause_that_it_ended_count_at_once(
    edge_kit: EdgeKit,
) -> None:
    other = await edge_kit.open("other")
    session = await edge_kit.ready()
    await edge_kit.store.set_queue(NS, QueueAsk("default", limit=1), "user:me")
    first, second = await edge_kit.enqueued(an_enqueue(priority=1), an_enqueue())
    await edge_kit.store.dispatch(NS, "default", 1, 0)
    (claimed,) = (await other.claim(NS, "a1", session, "n", [first.id], None)).claimed
    await edge_kit.move(first.id, Finished(claimed.run.epoch))
    await edge_kit.store.dispatch(NS, "default", 1, 0)
    answer = await other.claim(NS, "a1", session, "n2", [second.id], None)
    assert [c.run.id for c in answer.claimed] == [second.id], answer.refused
    await edge_kit.move(second.id, Finished(answer.claimed[0].run.epoch))
    await other.set_queue(NS, QueueAsk("default", paused=True), "user:me")
    (third,) = await edge_kit.enqueued(an_enqueue())
    await edge_kit.store.set_queue(NS, QueueAsk("default", paused=False), "user:me")
    await edge_kit.store.dispatch(NS, "default", 1, 0)
    answer = await other.claim(NS, "a1", session, "n3", [third.id], None)
    assert [c.run.id for c in answer.claimed] == [third.id], answer.refused


async def test_an_agent_that_another_engine_has_registered_lives(
    edge_kit: EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await edge_kit.open("other")
    fresh = Settings.fresh

    async def nothing_new(self: Settings) -> bool:
        await fresh(self)
        return False

    monkeypatch.setattr(Settings, "fresh", nothing_new)
    session, _, _ = await edge_kit.store.register(NS, an_agent(), LEASE)
    beaten = await other.beat(NS, Beat("a1", session, "", []), LEASE)
    assert (beaten.live, beaten.stop) == (True, [])
