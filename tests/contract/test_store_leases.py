"""Agents and leases: register, beat, expire (DECISIONS B), for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headway.states import RunState
from headway.wire.rpc import Beat
from headway_engine.happenings import Cancel, Finished, Stopped
from headway_engine.store.agreement import digest
from support.factories import NS, a_checkpoint, an_agent
from support.stores import LEASE

if TYPE_CHECKING:
    from headway_engine.store.records import Run
    from support.stores import Kit

Holds = list[tuple[str, int]]


def held(*runs: Run) -> Holds:
    return [(r.id, r.epoch) for r in runs]


async def beat(
    kit: Kit, session: int, holds: Holds, *, full: bool = True, agent: str = "a1"
) -> tuple[bool, list[tuple[str, int, str]], bool]:
    ask = Beat(agent, session, digest(holds), holds if full else None)
    return (await kit.store.beat(NS, ask, LEASE))[:3]


async def ticking(kit: Kit, seconds: int) -> None:
    """Engines tick while the time passes."""
    for _ in range(seconds):
        await kit.advance(1)
        await kit.store.tick()


async def test_a_beat_renews_the_lease(kit: Kit) -> None:
    session = await kit.ready()
    for _ in range(4):
        await ticking(kit, 10)
        assert (await beat(kit, session, []))[0]
    assert await kit.store.expire(LEASE) == []
    (agent,) = await kit.store.agents(NS)
    assert agent.alive


async def test_a_lease_that_is_over_loses_its_runs_and_fences_them(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    await ticking(kit, 15)
    (lost,) = await kit.store.expire(LEASE)
    assert lost.run is not None
    assert (lost.run.state, lost.run.epoch, lost.run.unconfirmed) == (
        RunState.QUEUED,
        run.epoch + 1,
        (run.epoch,),
    )
    (save,) = await kit.store.save([a_checkpoint(run, 1)])
    assert save.outcome == "stale_epoch"
    assert await beat(kit, session, held(run)) == (False, [], False)
    assert await kit.store.expire(LEASE) == []


async def test_a_lease_does_not_end_before_its_time(kit: Kit) -> None:
    session = await kit.ready()
    await kit.in_state(RunState.RUNNING, session)
    await ticking(kit, 14)
    assert await kit.store.expire(LEASE) == []


async def test_a_gap_that_uses_up_a_short_lease_is_an_outage(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    await kit.store.beat(NS, Beat("a1", session, ""), 2.5)
    for _ in range(5):
        await kit.advance(1)
        await kit.store.beat(NS, Beat("a1", session, ""), 2.5)
        await kit.store.tick(2.5)
    await kit.advance(2.6)  # all engines were away: nobody could beat
    await kit.store.tick(2.5)
    assert await kit.store.expire(2.5) == []
    for _ in range(3):
        await kit.advance(1)
        await kit.store.tick(2.5)
    assert [o.run.id for o in await kit.store.expire(2.5) if o.run] == [run.id]


async def test_leases_end_only_after_the_store_was_up_for_a_whole_lease(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    await kit.advance(60)  # nobody ticked: an outage
    await kit.store.tick()
    assert await kit.store.expire(LEASE) == []
    await ticking(kit, 14)
    assert await kit.store.expire(LEASE) == []
    await ticking(kit, 1)
    assert [o.run.id for o in await kit.store.expire(LEASE) if o.run] == [run.id]


async def test_a_new_registration_loses_what_the_old_session_had(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    new, kept, stop = await kit.store.register(NS, an_agent(holds=held(run)), LEASE)
    assert (new, kept, stop) == (session + 1, [], held(run))
    assert [o.run.id for o in await kit.store.expire(LEASE) if o.run] == [run.id]
    assert (await beat(kit, session, []))[0] is False


async def test_an_agent_that_restarts_within_its_lease_keeps_its_attempts(kit: Kit) -> None:
    session = await kit.ready()
    run, ended = [await kit.in_state(RunState.RUNNING, session) for _ in range(2)]
    await kit.move(ended.id, Finished(ended.epoch))
    ask = an_agent(session=session, holds=held(run, ended))
    assert await kit.store.register(NS, ask, LEASE) == (session, held(run), held(ended))
    assert await kit.store.expire(LEASE) == []


async def test_agreement_by_digest_needs_no_list(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    assert await beat(kit, session, held(run), full=False) == (True, [], False)
    assert await beat(kit, session, [], full=False) == (True, [], True)


async def test_missing_in_two_beats_is_lost_now(kit: Kit) -> None:
    session = await kit.ready()
    run, other = [await kit.in_state(RunState.RUNNING, session) for _ in range(2)]
    await beat(kit, session, held(other))
    assert await kit.store.expire(LEASE) == []
    await beat(kit, session, held(other))
    (lost,) = await kit.store.expire(LEASE)
    assert lost.run is not None
    assert (lost.run.id, lost.run.state, lost.run.unconfirmed) == (run.id, RunState.QUEUED, ())
    assert await kit.store.expire(LEASE) == []


async def test_missing_once_and_held_again_is_kept(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    for holds in ([], held(run), []):
        await beat(kit, session, holds)
        assert await kit.store.expire(LEASE) == []


async def test_what_is_held_but_not_open_is_on_the_stop_list(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    await kit.move(run.id, Finished(run.epoch))
    assert await beat(kit, session, held(run)) == (True, [(run.id, run.epoch, "stale")], False)


async def test_a_cancel_is_repeated_until_the_attempt_is_gone(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    (cancelling,) = await kit.move(run.id, Cancel("user:me"))
    assert cancelling.stop is not None
    for full in (False, True):
        _, stop, _ = await beat(kit, session, held(run), full=full)
        assert stop == [(run.id, run.epoch, "cancel")]
    await kit.move(run.id, Stopped(run.epoch, "cancel"))
    assert (await beat(kit, session, []))[1] == []


async def test_a_cancelled_run_ends_with_its_lease(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.CANCELLING, session)
    await ticking(kit, 15)
    (end,) = await kit.store.expire(LEASE)
    assert end.run is not None
    assert (end.run.id, end.run.state) == (run.id, RunState.CANCELLED)


async def test_agents_are_listed_with_what_they_hold(kit: Kit) -> None:
    session = await kit.ready()
    await kit.in_state(RunState.RUNNING, session)
    ask = Beat("a1", session, "x", [], degraded="disk full", images=("sha256:1",))
    await kit.store.beat(NS, ask, LEASE)
    (agent,) = await kit.store.agents()
    assert (agent.open, agent.degraded, agent.images) == (1, "disk full", ("sha256:1",))
    (row,) = await kit.store.agent_rows(NS)
    assert (row.agent, row.alive, row.open, row.slots) == ("a1", True, 1, 4)
    assert await kit.store.agents("other") == []


async def test_a_drain_is_told_with_each_beat_and_outlives_the_session(kit: Kit) -> None:
    session = await kit.ready()

    async def told(session: int) -> str:
        return (await kit.store.beat(NS, Beat("a1", session, digest([])), LEASE)).drain

    assert await told(session) == ""
    await kit.store.drain(NS, "a1", "drain", "user:ann")
    assert await told(session) == "drain"
    (row,) = await kit.store.agent_rows(NS)
    assert (row.drain, row.drain_by) == ("drain", "user:ann")
    assert row.drain_at is not None
    assert (await kit.store.agents(NS))[0].drain == "drain"
    session, _, _ = await kit.store.register(NS, an_agent(), LEASE)
    assert await told(session) == "drain"
    await kit.store.drain(NS, "a1", "now", "user:bob")
    assert await told(session) == "now"
    await kit.store.drain(NS, "a1", "", "user:ann")
    assert await told(session) == ""
    (row,) = await kit.store.agent_rows(NS)
    assert (row.drain, row.drain_by) == ("", "user:ann"), "who took it back stays known"


async def test_a_draining_agent_is_none_of_its_queues(kit: Kit) -> None:
    await kit.ready()
    queue = an_agent().queues[0]

    async def agents() -> int:
        return next(q.agents for q in await kit.store.queue_rows(NS) if q.queue == queue)

    assert await agents() == 1
    await kit.store.drain(NS, "a1", "drain", "user:ann")
    assert await agents() == 0
    await kit.store.drain(NS, "nobody", "drain", "user:ann")
    assert [a.agent for a in await kit.store.agents(NS)] == ["a1"]


# --- the store's clock is set


@pytest.mark.parametrize("jump", [600.0, 86_400.0])
async def test_row_44_a_jump_ahead_ends_no_lease_and_no_attempt(kit: Kit, jump: float) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    starting = await kit.attempt(session)
    await kit.store.tick(LEASE, 1.0)
    await kit.advance(jump)
    # Whoever looks first: nothing is over before an engine has said how much time went by.
    assert await kit.store.overdue(10) == []
    await kit.store.tick(LEASE, 1.0)
    assert await kit.store.overdue(10) == []
    assert await kit.store.expire(LEASE) == []
    assert (await beat(kit, session, held(run, starting)))[0]
    await ticking(kit, 14)
    assert await kit.store.expire(LEASE) == []
    # From there on the time counts as ever.
    await ticking(kit, 17)
    assert await kit.store.overdue(10) == [starting.id]


async def test_row_44_a_clock_that_went_back_keeps_no_dead_agent_alive(kit: Kit) -> None:
    session = await kit.ready()
    await kit.ready("a2")
    run = await kit.in_state(RunState.RUNNING, session)
    await kit.store.tick(LEASE)
    await kit.advance(-3600)
    await kit.store.tick(LEASE)
    for _ in range(int(LEASE) + 1):
        assert await kit.store.expire(LEASE) == []
        await kit.advance(1)
        await kit.store.tick(LEASE)
        await kit.store.beat(NS, Beat("a2", 1, digest([]), None), LEASE)
        if (await kit.store.expire(LEASE)) != []:
            break
    lost = await kit.record(run.id)
    assert lost.state is RunState.QUEUED
    alive = {a.agent: a.alive for a in await kit.store.agents(NS)}
    assert alive == {"a1": False, "a2": True}
