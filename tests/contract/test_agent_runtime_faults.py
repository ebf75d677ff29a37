"""Fault rows 17 and 19 on the agent's side: a runtime that hangs, forgets, or does things late."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from headway.wire.reports import AttemptFailed, AttemptLost, Finished, Started, Stopped
from headway_engine.agent import lives, service
from headway_engine.runtime import RuntimeUnavailable
from headway_engine.runtime.process import ProcessRuntime
from support.agentrig import Rig, gone, rigged
from support.fakelink import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headway_engine.runtime import Handle


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        yield made


async def test_a_daemon_that_hangs_costs_no_lease(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "IMAGES_EVERY", 0.0)
    monkeypatch.setattr(service, "IMAGES_PATIENCE", 0.05)
    rig.engine.lease, rig.engine.beat_every = 1.0, 0.2
    asked = 0

    async def images(_runtime: ProcessRuntime) -> tuple[str, ...]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.Event().wait()
        return ("sha256:1",)

    monkeypatch.setattr(ProcessRuntime, "images", images)
    agent = await rig.agent()
    assert [r.images for r in rig.engine.registered] == [("sha256:1",)]
    before = agent.leases.beats
    await until(lambda: asked == 2)
    await until(lambda: agent.attempts.frozen or agent.leases.beats > before + 8)
    assert not agent.attempts.frozen
    assert asked == 2, "it is asked once, until it answers"


async def test_a_runner_whose_removal_failed_is_removed_when_the_daemon_is_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SWEEP_EVERY", 0.0)
    monkeypatch.setattr(lives, "SWEEP_AFTER", 0.0)
    away = True
    refused: list[str] = []
    remove, list_all = ProcessRuntime.remove, ProcessRuntime.list_all

    async def no_remove(runtime: ProcessRuntime, handle: Handle) -> None:
        if not away:
            await remove(runtime, handle)
            return
        refused.append(handle.name)  # as DockerRuntime does: it is said to be swept later

    async def no_list(runtime: ProcessRuntime, owner: str) -> list[Handle]:
        if away and refused:
            raise RuntimeUnavailable("no daemon")
        return await list_all(runtime, owner)

    monkeypatch.setattr(ProcessRuntime, "remove", no_remove)
    monkeypatch.setattr(ProcessRuntime, "list_all", no_list)
    agent = await rig.agent()
    run = rig.engine.add("add", {"a": 1, "b": 2})
    lives_on = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Finished) and refused)
    await until(lambda: rig.engine.of(lives_on, Started))
    beats = agent.leases.beats
    await until(lambda: agent.leases.beats > beats + 2)
    assert agent.pool.swept == 0, "without a daemon nothing is known"
    away = False
    await until(lambda: agent.pool.swept == len(set(refused)))
    beats = agent.leases.beats
    await until(lambda: agent.leases.beats > beats + 2)
    left = await agent.runtime.list_all(agent.pool.owner)
    assert [h.name for h in left] == list(agent.pool.workers), "those that are known stay"
    assert lives_on in agent.attempts.live
    assert not gone(rig.pid_of(agent, lives_on))


async def test_a_runner_of_another_agent_of_this_name_that_has_just_begun_is_left_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SWEEP_EVERY", 0.0)
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    (name,) = agent.pool.workers
    worker = agent.pool.workers.pop(name)  # as the agent of before sees it
    await agent.pool.sweep()
    assert agent.pool.swept == 0
    assert not gone(rig.pid_of(agent, run))
    monkeypatch.setattr(lives, "SWEEP_AFTER", -1.0)
    agent.pool.workers[name] = worker
    await agent.pool.sweep()
    assert agent.pool.swept == 0


@pytest.mark.parametrize("shared", [False, True])
async def test_runs_whose_container_is_stopped_from_outside_are_lost_and_use_no_try(
    rig: Rig, shared: bool
) -> None:
    agent = await rig.agent()
    options = {"isolation": "shared"} if shared else {}
    runs = [rig.engine.add("sleeps", {}, **options) for _ in range(2)]
    await until(lambda: all(rig.engine.of(r, Started) for r in runs))
    pids = {rig.pid_of(agent, r) for r in runs}
    assert len(pids) == (1 if shared else 2)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)  # as a Docker daemon does that is stopped
    await until(lambda: all(rig.engine.of(r, AttemptLost) for r in runs))
    await until(lambda: all(gone(p) for p in pids))
    assert not [r for r in rig.engine.reports if isinstance(r, AttemptFailed | Stopped)]
    again = rig.engine.add("add", {"a": 1, "b": 2}, **options)
    await until(lambda: rig.engine.of(again, Finished))
