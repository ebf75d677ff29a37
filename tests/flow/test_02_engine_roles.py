"""Engines with split roles: together they do what one engine with all roles does."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from msgspec import Raw

from headway import subjects
from headway.bus import jsapi
from headway.ids import new_run_id
from headway.wire import ErrorInfo, decode
from headway.wire.enqueue import EnqueueItem
from headway.wire.events import ENGINE_BEAT
from headway.wire.fleet import TaskSpec
from headway.wire.reports import AttemptFailed, Finished
from headway_engine.roles import ALL
from headway_ops.checks.engines import engines
from support.engines import calling, config_for, running_engine
from support.scripted_agent import finish
from support.site import running_site
from support.stacks import agent_on
from support.wait import until

if TYPE_CHECKING:
    import pytest

    from headway_engine.assembly import Engine

RETRIES = TaskSpec("noop", max_attempts=3, min_delay=0.1, jitter=0.0)


async def split(
    stack: AsyncExitStack, nats: str, dsn: str, *roles: tuple[str, ...]
) -> list[Engine]:
    """One engine for each set of roles."""
    return [
        await stack.enter_async_context(
            running_engine(config_for(nats, dsn, id=f"e{i}", roles=these))
        )
        for i, these in enumerate(roles)
    ]


async def test_each_role_in_an_engine_of_its_own_carries_a_run_from_enqueue_to_result(
    nats: str, database: str
) -> None:
    async with AsyncExitStack() as stack, calling(nats) as caller, agent_on(nats) as agent:
        await split(stack, nats, database, *((role,) for role in ALL))
        await caller.deploy(RETRIES)
        agent.script = lambda a: (
            [AttemptFailed(a.run, a.epoch, "error", ErrorInfo("ValueError", "no"))]
            if a.attempt < 2
            else [Finished(a.run, a.epoch, Raw(b"2"), size=1)]
        )
        await agent.start()
        assert bytes((await caller.end((await caller.enqueue()).run)).result) == b"2"
        later = await caller.enqueue(delay=3600.0)
        await caller.api("resume", {"run": later.run})
        assert (await caller.end(later.run)).status == "succeeded"
        stopped = await caller.enqueue(delay=3600.0)
        assert (await caller.api("cancel", {"run": stopped.run}))["outcome"] == "ok"
        assert (await caller.end(stopped.run)).status == "cancelled"


async def test_a_dispatcher_of_its_own_hears_of_runs_and_slots_without_looking_at_the_store(
    nats: str, database: str
) -> None:
    async with AsyncExitStack() as stack, calling(nats) as caller, agent_on(nats) as agent:
        agent.slots = 2
        rest = tuple(r for r in ALL if r != "dispatch")
        lone, _ = await split(stack, nats, database, ("dispatch",), rest)
        await caller.deploy()
        agent.script = finish()
        await agent.start()
        ticks = next(s for s in lone.services if s.name == "queue-tick")
        for _ in range(2):  # it has seen the agent
            await ticks.passed.next()
        ticks.period = 3600.0  # pyright: ignore[reportAttributeAccessIssue]  # a Ticker
        await ticks.passed.next()
        runs = [new_run_id() for _ in range(40)]
        await caller.send(*(EnqueueItem(r, "noop", Raw(b"{}")) for r in runs))
        for run in runs:  # twenty times the slots
            assert (await caller.end(run)).status == "succeeded"
        looks = ticks.passed.count
        assert (await caller.end((await caller.enqueue()).run)).status == "succeeded"
        assert ticks.passed.count == looks


async def test_a_dispatcher_of_its_own_keeps_work_as_shallow_as_the_agents_say(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack, calling(nats) as caller, agent_on(nats) as agent:
        agent.slots, agent.shared_slots = 4, 0
        rest = tuple(r for r in ALL if r != "dispatch")
        lone, _ = await split(stack, nats, database, ("dispatch",), rest)
        await caller.deploy()
        await agent.register()
        ticks = next(s for s in lone.services if s.name == "queue-tick")
        for _ in range(2):  # it has seen the agent
            await ticks.passed.next()
        ticks.period = 3600.0  # pyright: ignore[reportAttributeAccessIssue]  # a Ticker
        await ticks.passed.next()

        async def depth(count: int) -> None:
            async def there() -> bool:
                info = await jsapi(caller.nc, f"STREAM.INFO.{subjects.WORK}")
                return info["state"]["messages"] == count

            await until(there, what=f"{count} in WORK")

        # Its slots are taken, whatever the store thinks: one is to come, so that none waits.
        monkeypatch.setattr(agent, "free", lambda: (0, 0))
        await agent.beat()
        await caller.send(*(EnqueueItem(new_run_id(), "noop", Raw(b"{}")) for _ in range(20)))
        await until(lambda: len(caller.recorded) == 20)
        await depth(1)
        monkeypatch.setattr(agent, "free", lambda: (2, 0))
        await agent.beat()
        await depth(3)


async def test_beats_and_info_name_the_roles(nats: str, database: str) -> None:
    async with AsyncExitStack() as stack, calling(nats) as caller:
        beats: dict[str, tuple[str, ...]] = {}

        async def hear(msg: object) -> None:
            beat = decode(ENGINE_BEAT, getattr(msg, "data", b""))
            beats[beat.engine] = beat.roles

        await caller.nc.subscribe("hw.hb.engine.*", cb=hear)
        await split(stack, nats, database, ("intake", "api"), ("dispatch", "agents"))
        await until(lambda: len(beats) == 2)
        assert beats == {"e0": ("intake", "api"), "e1": ("dispatch", "agents")}
        assert (await caller.api("info"))["roles"] == ["intake", "api"]


async def test_leases_end_only_where_agents_can_renew_them(nats: str, database: str) -> None:
    async with AsyncExitStack() as stack, calling(nats):
        engines = await split(stack, nats, database, ("timers", "upkeep"), ("agents",))
        names = [{s.name for s in e.services} for e in engines]
        rescuers = ["rescuer" in n for n in names]
        doors = ["door" in n for n in names]
        assert rescuers == doors == [False, True]


async def test_doctor_names_the_engines_and_the_roles_that_nobody_has(
    nats: str, database: str
) -> None:
    async with AsyncExitStack() as stack, calling(nats) as caller:
        await split(stack, nats, database, ("intake", "api"), ("dispatch", "agents", "timers"))
        found = await engines(caller.nc)
        assert [f.what.split(" ", 1)[0] for f in found if f.state == "ok"] == ["e0", "e1"]
        assert found[0].what.endswith(": intake, api")
        (bad,) = [f for f in found if f.state == "bad"]
        assert bad.what.startswith("no engine has the role upkeep")
        assert "headway engine --roles upkeep" in bad.todo
        await stack.enter_async_context(running_engine(config_for(nats, database, id="whole")))
        assert all(f.state == "ok" for f in await engines(caller.nc))


async def test_doctor_is_silent_about_one_engine_that_does_everything(
    nats: str, database: str
) -> None:
    async with AsyncExitStack() as stack, calling(nats) as caller:
        await split(stack, nats, database, ALL)
        assert await engines(caller.nc) == []


async def test_processes_with_split_roles_survive_the_kill_of_each() -> None:
    async with running_site(start=False) as site:
        parts = ("intake,api", "dispatch,timers", "agents,upkeep")
        engines = [site.role("engine", f"e{i}", "--roles", roles) for i, roles in enumerate(parts)]
        site.role("agent", "a1")
        await site.ready()
        await site.deploy()
        runs = await site.work(3, steps=30, pace=0.05)
        async with site.load():
            await site.saved(runs, 2)
            for engine in engines:
                engine.kill()
                engine.start()
                done = site.outcomes["recorded"]
                await until(lambda done=done: site.outcomes["recorded"] > done + 5, 20)
        await site.verify()
