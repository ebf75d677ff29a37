"""What Prometheus sees of a real engine and of a real agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire.reports import Finished
from support.agentrig import first, rigged
from support.fakelink import until as until_true
from support.scrape import scrape
from support.scripted_agent import finish
from support.stacks import stack

if TYPE_CHECKING:
    from headway_engine.assembly import Engine
    from headway_engine.metrics.endpoint import Endpoint


def endpoint_of(engine: Engine) -> Endpoint:
    [found] = [s for s in engine.services if s.name == "metrics"]
    return found  # pyright: ignore[reportReturnType]  # that is its name


async def test_a_scrape_of_an_engine_shows_the_run_that_it_carried(
    nats: str, database: str
) -> None:
    async with stack(nats, database, metrics_listen="0") as (engine, caller, agent):
        agent.script = finish(b"1")
        await agent.start()
        word = await caller.enqueue()
        assert (await caller.end(word.run)).status == "succeeded"
        found = await scrape(endpoint_of(engine).address)
        assert found["headway_engine_recorded_total"][()] == 1
        assert found["headway_engine_claimed_total"][()] == 1
        assert found["headway_engine_transitions_total"][(("kind", "succeeded"),)] == 1
        assert found["headway_engine_commit_seconds_count"][()] >= 1
        assert found["headway_engine_intake_seconds_count"][()] >= 1
        assert found["headway_engine_ready"][()] == found["headway_engine_store_up"][()] == 1
        [(labels, one)] = found["headway_engine_info"].items()
        assert (dict(labels)["engine"], one) == (engine.id, 1)


async def test_an_engine_without_the_setting_listens_nowhere(nats: str, database: str) -> None:
    async with stack(nats, database) as (engine, _, _agent):
        assert "metrics" not in {s.name for s in engine.services}


async def test_a_scrape_of_an_agent_shows_attempts_slots_and_dropped_lines() -> None:
    async with rigged() as rig:
        rig.options |= {"metrics_listen": "0", "log_rate": 64, "log_burst": 64}
        agent = await rig.agent()
        run = rig.engine.add("chatty", {"lines": 400})
        done = await until_true(lambda: first(rig.engine.of(run, Finished)))
        await until_true(lambda: agent.attempts.finished)
        assert agent.metrics is not None
        found = await scrape(agent.metrics.address)
        assert found["headway_agent_ended_total"][()] == 1
        assert found["headway_agent_start_seconds_count"][()] == 1
        assert found["headway_agent_attempt_seconds_count"][()] == 1
        slots = found["headway_agent_slots_free"][(("isolation", "run"),)]
        assert slots == agent.config.slots
        dropped = found["headway_agent_log_lines_dropped_total"][()]
        assert dropped > 0
        assert isinstance(done, Finished)
        assert done.lines_lost == dropped
        chunks = rig.engine.logs
        await until_true(lambda: sum(c.dropped for r, _, c in chunks if r == run) == dropped)
