"""The agent's lease: beats, freezing, a session's end, restarts, drains, the breaker."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from headway.wire import encode, rpc
from headway.wire.reports import AttemptFailed, AttemptLost, Finished, GivenBack, Started, Stopped
from headway_engine.agent import claims
from headway_engine.agent.port import WorkItem
from headway_engine.runtime.process import ProcessRuntime
from support.agentrig import Rig, first, gone, reaped, rigged
from support.fakelink import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        yield made


async def test_store_down_freezes_and_kills_nothing(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    rig.engine.store_down = True
    await until(lambda: agent.attempts.frozen)
    rig.engine.store_down = False
    await until(lambda: not agent.attempts.frozen)
    assert run in agent.attempts.live


async def test_beats_that_reach_an_engine_that_hangs_cost_no_lease(rig: Rig):
    rig.engine.lease, rig.engine.beat_every = 1.0, 0.3
    agent = await rig.agent()
    before = agent.leases.beats
    rig.engine.deaf = 4  # one after the other they would take longer than the lease
    await until(lambda: rig.engine.deaf == 0)
    assert not agent.attempts.frozen
    await until(lambda: agent.attempts.frozen or agent.leases.beats > before + 1)
    assert not agent.attempts.frozen


async def test_what_is_being_claimed_is_not_told_to_be_missing_twice_in_a_moment(rig: Rig):
    """What two lists of an agent lack is lost for an engine."""
    rig.engine.beat_every = 0.5
    agent = await rig.agent()
    rig.engine.claiming.clear()
    run = rig.engine.add("sleeps", {})
    await until(lambda: agent.claims.stirring()[0])
    rig.engine.lacks = True  # the claim is committed, its answer is on its way
    rig.engine.beats.clear()
    await until(lambda: len(rig.engine.beats) == 5)
    listed = [at for at, beat in rig.engine.beats if beat.holds is not None]
    assert all(later - sooner > 0.3 for sooner, later in itertools.pairwise(listed))
    rig.engine.claiming.set()
    await until(lambda: rig.engine.of(run, Started))
    # Nothing is being claimed any more: what a list lacks is soon seen to be lost.
    rig.engine.beats.clear()
    await until(lambda: len(rig.engine.beats) == 5)
    first_, *_, last = (at for at, _ in rig.engine.beats)
    assert last - first_ < 4 * 0.5


async def test_a_beat_that_is_asked_again_lists_what_is_held_once(rig: Rig):
    rig.engine.lease, rig.engine.beat_every = 1.0, 0.3
    rig.engine.lacks = True
    await rig.agent()
    await until(lambda: len(rig.engine.beats) > 2)
    rig.engine.beating.clear()
    rig.engine.beats.clear()
    await until(lambda: len(rig.engine.beats) >= 3)
    rig.engine.beating.set()
    copies = [beat for _, beat in rig.engine.beats[:3]]
    assert [beat.holds is not None for beat in copies] == [True, False, False]


async def test_session_over_kills_everything_and_registers_anew(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    pid = rig.pid_of(agent, run)
    rig.engine.session_over = True
    await until(lambda: len(rig.engine.registered) == 2)
    await until(lambda: gone(pid))
    assert not agent.attempts.live
    assert rig.engine.registered[1].holds == []
    assert not rig.engine.of(run, AttemptLost)
    # The run goes on elsewhere, and may wait to hear that this attempt is certainly dead.
    told = await until(lambda: first(rig.engine.of(run, Stopped)))
    assert isinstance(told, Stopped)
    assert (told.run, told.epoch, told.why) == (run, 1, "stale")


async def test_a_late_word_that_an_older_session_is_over_costs_the_next_one_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    rig.engine.beat_every = 0.5
    agent = await rig.agent()
    link, late, given = agent.link, asyncio.Event(), asyncio.Event()
    nak = link.nak

    async def slow(items: Sequence[WorkItem], delay: float) -> None:
        given.set()
        await late.wait()
        await nak(items, delay)

    monkeypatch.setattr(link, "nak", slow)
    rig.engine.session_over = True
    rig.engine.add("sleeps", {})
    await given.wait()  # a claim was told that session 1 is over, and gives its work back first
    await until(lambda: len(rig.engine.registered) == 2)  # a beat was told so too
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    before = agent.leases.beats
    late.set()
    await until(lambda: agent.leases.beats > before + 1)
    assert len(rig.engine.registered) == 2
    assert run in agent.attempts.live


async def test_a_run_that_comes_back_before_its_old_attempt_is_gone_ends_that_one_for_certain(
    rig: Rig,
):
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    old = rig.pid_of(agent, run)
    os.kill(old, signal.SIGSTOP)  # it hears no word to stop
    rig.engine.again(run)
    await until(lambda: len(rig.engine.of(run, Started)) == 2)
    await until(lambda: gone(old))
    told = await until(lambda: first(rig.engine.of(run, Stopped)))
    assert isinstance(told, Stopped)
    assert (told.epoch, told.why) == (1, "stale")  # it may have printed a line before
    assert (agent.attempts.live[run].epoch, agent.attempts.run_used) == (2, 1)
    assert not agent.attempts.superseded


async def test_a_new_agent_adopts_what_runs_and_the_run_goes_on(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("waits", {"path": str(rig.folder / "go")})
    await until(lambda: len(rig.engine.saves) == 1)
    await agent.stop(drain=False)
    second = await rig.agent()
    assert rig.engine.registered[1].holds == [(run, 1)]
    assert rig.engine.registered[1].session == 1
    (rig.folder / "go").touch()
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert (done.epoch, bytes(done.result)) == (1, b'"went on"')
    assert [s.number for s in rig.engine.saves] == [1, 2]
    assert second.pool.starts == 0


async def test_a_channel_that_no_runner_was_started_for_is_removed_at_the_next_start(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("waits", {"path": str(rig.folder / "go")})
    await until(lambda: len(rig.engine.saves) == 1)
    await agent.stop(drain=False)
    channels = rig.folder / "s" / "ch"
    kept = set(channels.iterdir())
    # What is left when an agent is killed after it listened and before the runner was started.
    left = channels / "0123456789ab"
    left.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left / "s.sock"))
    await rig.agent()
    assert set(channels.iterdir()) == kept
    (rig.folder / "go").touch()
    await until(lambda: first(rig.engine.of(run, Finished)))


async def test_what_died_without_an_agent_is_lost_at_the_next_start(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    pid = rig.pid_of(agent, run)
    await agent.stop(drain=False)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: reaped(pid))
    await rig.agent()
    lost = await until(lambda: first(rig.engine.of(run, AttemptLost)))
    assert isinstance(lost, AttemptLost)


async def test_breaker_stops_pulling_after_failed_starts_of_different_runs(rig: Rig):
    agent = await rig.agent()
    for _ in range(3):
        run = rig.engine.add("leaks", {}, secrets=("API_KEY",))
        await until(lambda run=run: rig.engine.of(run, GivenBack))
    await until(lambda: agent.degraded)
    waiting = rig.engine.add("add", {"a": 1, "b": 1})
    assert agent.claims.want() == 0
    assert waiting not in rig.engine.acked


async def test_runners_that_died_with_an_earlier_agent_are_no_failed_starts(rig: Rig):
    agent = await rig.agent()
    runs = [rig.engine.add("sleeps", {}) for _ in range(4)]
    await until(lambda: all(rig.engine.of(run, Started) for run in runs))
    pids = [rig.pid_of(agent, run) for run in runs]
    await agent.stop(drain=False)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        await until(lambda pid=pid: reaped(pid))
    second = await rig.agent()
    await until(lambda: all(rig.engine.of(run, AttemptLost) for run in runs))
    assert second.degraded == ""
    assert second.claims.want() > 0


async def test_code_that_cannot_be_loaded_does_not_stop_the_agent(rig: Rig):
    good = (rig.folder / "src" / "hwtasks.py").read_text()
    (rig.folder / "src" / "hwtasks.py").write_text("import nothing_of_that_name\n")
    agent = await rig.agent()
    for _ in range(4):
        run = rig.engine.add("add", {"a": 1, "b": 1})
        await until(lambda run=run: rig.engine.of(run, AttemptFailed))
    assert agent.degraded == ""
    (rig.folder / "src" / "hwtasks.py").write_text(good)


async def test_drain_lets_runs_end_and_leaves_no_runner(rig: Rig):
    rig.options = {"drain_timeout": 0.3}
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {}, grace=0.5)
    await until(lambda: rig.engine.of(run, Started))
    owner = agent.pool.owner
    await agent.stop(drain=True)
    assert rig.engine.of(run, Stopped)[0].why == "drain"
    assert await ProcessRuntime(rig.folder / "s").list_all(owner) == []


async def test_an_engine_that_is_away_is_asked_again_until_it_answers(rig: Rig):
    await rig.agent()
    run = rig.engine.add("counts", {"until": 3})
    await until(lambda: rig.engine.of(run, Started))
    rig.engine.down = True
    await asyncio.sleep(0)
    rig.engine.down = False
    await until(lambda: len({s.number for s in rig.engine.saves}) == 3)


async def test_an_overdue_lease_freezes_and_kills_nothing(rig: Rig):
    rig.engine.lease, rig.engine.beat_every = 0.3, 0.1
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    rig.engine.down = True
    await until(lambda: agent.attempts.frozen)
    pid = rig.pid_of(agent, run)
    rig.engine.down = False
    await until(lambda: not agent.attempts.frozen)
    assert rig.pid_of(agent, run) == pid
    assert len(rig.engine.registered) == 1


async def test_without_engine_and_nats_for_long_everything_is_killed(rig: Rig):
    rig.engine.beat_every = 0.1
    rig.options = {"orphan_after": 0.5}
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    pid = rig.pid_of(agent, run)
    rig.engine.down = True
    await until(lambda: gone(pid))
    assert not agent.attempts.live
    rig.engine.down = False
    await until(lambda: len(rig.engine.registered) == 2)


async def test_a_runner_that_the_journal_does_not_know_is_ended(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    pid = rig.pid_of(agent, run)
    await agent.stop(drain=False)
    (rig.folder / "s" / "journal").unlink()
    second = await rig.agent()
    await until(lambda: gone(pid))
    assert not second.attempts.live
    assert rig.engine.registered[1].holds == []


async def test_a_stop_of_what_is_not_here_is_confirmed_and_its_late_assignment_dropped(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("add", {"a": 1, "b": 1})
    assignment = rig.engine.runs[run]
    rig.engine.queue.clear()
    agent.attempts.stopping.stop_by_id(run, 1, "cancel")
    await until(lambda: rig.engine.of(run, Stopped))
    agent.plans.learn_version(rig.engine.version)
    agent.plans.learn_spec("v1", rig.engine.specs["add"])
    agent.attempts.accept(assignment, "e1")
    await until(lambda: len(rig.engine.of(run, Stopped)) == 2)
    assert agent.pool.starts == 0
    assert not agent.attempts.live


async def test_messages_over_the_free_slots_go_back_with_a_delay(rig: Rig):
    rig.options = {"slots": 1}
    agent = await rig.agent()
    one, two = rig.engine.add("sleeps", {}), rig.engine.add("sleeps", {})
    rig.engine.queue.clear()
    agent.claims.deliver([WorkItem(encode(rpc.Work(r)), r) for r in (one, two)])
    await until(lambda: one in rig.engine.acked and (two, 0.2) in rig.engine.naked)


async def test_a_draining_agent_takes_nothing_and_what_runs_goes_on_over_its_restart(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("waits", {"path": str(rig.folder / "go")})
    await until(lambda: [s.number for s in rig.engine.saves] == [1])
    rig.engine.drain = "drain"
    await until(lambda: agent.draining == "drain")
    late = rig.engine.add("add", {"a": 1, "b": 1})
    assert agent.claims.want() == 0
    await agent.stop(drain=False)
    second = await rig.agent()
    assert second.claims.want() == 0
    assert second.claims.paused == "draining"
    (rig.folder / "go").touch()
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert not rig.engine.of(late, Started)
    rig.engine.drain = ""
    await until(lambda: rig.engine.of(late, Finished))


async def test_drain_now_gives_a_run_back_at_its_next_checkpoint(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("waits", {"path": str(rig.folder / "go")}, grace=600.0)
    await until(lambda: [s.number for s in rig.engine.saves] == [1])
    rig.engine.drain = "now"
    await until(lambda: agent.attempts.live[run].leave_at)
    assert not agent.attempts.live[run].intent
    (rig.folder / "go").touch()
    stopped = await until(lambda: first(rig.engine.of(run, Stopped)))
    assert isinstance(stopped, Stopped)
    assert stopped.why == "drain"
    assert [s.number for s in rig.engine.saves] == [1, 2]


async def test_drain_now_waits_for_a_checkpoint_no_longer_than_the_grace(rig: Rig):
    await rig.agent()
    run = rig.engine.add("sleeps", {}, grace=0.2)
    await until(lambda: rig.engine.of(run, Started))
    rig.engine.drain = "now"
    stopped = await until(lambda: first(rig.engine.of(run, Stopped)))
    assert isinstance(stopped, Stopped)
    assert stopped.why == "drain"


async def test_a_drain_that_is_undone_lets_runs_stay(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("waits", {"path": str(rig.folder / "go")}, grace=600.0)
    await until(lambda: [s.number for s in rig.engine.saves] == [1])
    rig.engine.drain = "now"
    await until(lambda: agent.attempts.live[run].leave_at)
    rig.engine.drain = ""
    await until(lambda: agent.attempts.live[run].leave_at is None)
    (rig.folder / "go").touch()
    assert await until(lambda: rig.engine.of(run, Finished))


async def test_work_whose_claim_waits_is_marked_until_it_is_decided(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(claims, "WORKING_EVERY", 0.02)
    await rig.agent()
    rig.engine.claiming.clear()
    run = rig.engine.add("add", {"a": 1, "b": 1})
    await until(lambda: rig.engine.working.count(run) >= 3)
    rig.engine.claiming.set()
    await until(lambda: rig.engine.of(run, Finished))
    assert rig.engine.acked == [run]
    # Nothing is under way any more: no timer is left, so no mark can follow.
    assert rig.agents[0].claims.marks is None


async def test_work_that_nobody_can_read_is_thrown_away_and_said_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
):
    agent = await rig.agent()
    bad = [rig.engine.add("add", {"a": 1, "b": 1}) for _ in range(3)]
    rig.engine.garbled = dict.fromkeys(bad, b"{nonsense")
    good = rig.engine.add("add", {"a": 1, "b": 1})
    await until(lambda: rig.engine.of(good, Finished))
    await until(lambda: len(rig.engine.termed) == 3)
    assert [run for run, _ in rig.engine.termed] == bad
    assert "agent cannot read it" in rig.engine.termed[0][1]
    assert rig.engine.naked == []
    assert agent.claims.unreadable == 3
    said = [r for r in caplog.records if "cannot read" in r.message]
    assert len(said) == 1
    assert "upgrade" in said[0].message
    assert agent.claims.want() == agent.config.slots + agent.config.shared_slots
