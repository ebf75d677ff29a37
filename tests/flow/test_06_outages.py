"""Servers and processes go away under load and come back: nothing is lost, nothing done twice.

Everything here is real: engines and agents are processes of their own, tasks run in runners. The
lease is shorter than the outages; `Site.verify` says what must hold after each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from headway import subjects
from headway.bus import jsapi
from support.site import LEASE, running_site
from support.wait import until

if TYPE_CHECKING:
    from support.site import Site

pytestmark = pytest.mark.timeout(240)

OUTAGE = LEASE * 1.5


async def outage(seconds: float = OUTAGE) -> None:
    """The time that an outage lasts is what is tested."""
    await asyncio.sleep(seconds)


async def frozen(site: Site) -> None:
    await until(lambda: "saves wait" in site.roles[-1].log, 20, what="the agent holds its attempts")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_postgres_stopped_under_load_costs_nothing_but_time(how: int) -> None:
    async with running_site() as site:
        works = await site.work(4)
        async with site.load():
            await site.saved(works)
            await site.stop_postgres(how)
            site.outcomes.clear()
            await frozen(site)
            listed, seen, _ = await asyncio.gather(
                site.headway("ls"), site.headway("doctor"), outage()
            )
            during = dict(site.outcomes)
            await site.postgres.start()
            await until(lambda: "saves go on" in site.roles[-1].log, 20)
        # Enqueues went on, and said what they were worth.
        assert during.get("accepted", 0) > 0
        assert set(during) <= {"accepted", "recorded"}
        assert (listed.returncode, seen.returncode) == (5, 1)
        assert "the store does not answer" in listed.stderr
        assert "engine running" not in listed.stderr
        assert "not reachable" in seen.stdout
        assert "its store does not answer" in " ".join(seen.stdout.split())
        engine = site.roles[0].log
        # Said when it begins and when it ends, not once for each request.
        assert 1 <= engine.count("the store is away") <= 3
        assert 1 <= engine.count("the store answers again") <= 3
        assert "Traceback" not in engine
        await site.verify()
        for run in works:
            kinds = await site.kinds(run)
            assert "lost" not in kinds
            assert kinds.count("starting") == 1


async def test_a_postgres_that_hangs_is_an_outage_too() -> None:
    async with running_site() as site:
        works = await site.work(3)
        async with site.load():
            await site.saved(works)
            family = site.postgres_family()
            for process in family:
                process.suspend()
            try:
                await frozen(site)
                engine = site.roles[0]
                await until(lambda: "the store is away" in engine.log, 20)
                listed, seen, _ = await asyncio.gather(
                    site.headway("ls"), site.headway("doctor"), outage()
                )
            finally:
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):  # it ended as it woke up
                        process.resume()
            await until(lambda: "saves go on" in site.roles[-1].log, 30)
        assert (listed.returncode, seen.returncode) == (5, 1)
        assert "the store does not answer" in listed.stderr
        assert "its store does not answer" in " ".join(seen.stdout.split())
        await site.verify()
        for run in works:
            assert "lost" not in await site.kinds(run)


async def test_nats_killed_under_load_costs_nothing_but_time() -> None:
    async with running_site() as site:
        works = await site.work(4)
        async with site.load():
            await site.saved(works)
            site.nats.kill()
            seen, _ = await asyncio.gather(site.headway("doctor"), outage())
            await site.nats.start()
        assert seen.returncode == 1
        assert "bad" in seen.stdout
        await site.verify()
        for run in works:
            kinds = await site.kinds(run)
            assert "lost" not in kinds
            assert kinds.count("starting") == 1


async def test_an_engine_killed_under_load_is_replaced_by_the_other() -> None:
    async with running_site(engines=2) as site:
        works = await site.work(4)
        async with site.load():
            await site.saved(works)
            site.roles[0].kill()
            await site.saved(works, 12)
            # Both engines are gone for a moment: agents hold, then ask whoever comes.
            site.roles[1].kill()
            await outage(1.0)
            site.roles[0].start()
        await site.verify()
        for run in works:
            assert "lost" not in await site.kinds(run)


async def test_an_agent_that_comes_back_within_its_lease_keeps_its_runs() -> None:
    # Long enough for a start on a busy machine.
    async with running_site(engine={"lease": 20.0, "beat_every": 0.5}) as site:
        works = await site.work(4)
        await site.saved(works)
        site.roles[1].kill()
        site.roles[1].start()
        await site.verify()
        for run in works:
            kinds = await site.kinds(run)
            assert "lost" not in kinds
            assert kinds.count("starting") == 1


async def test_an_agent_that_stays_away_loses_its_runs_to_another_and_is_fenced() -> None:
    async with running_site(agents=2) as site:
        works = await site.work(6, steps=60)
        await site.saved(works)
        held = await site.rows(
            "SELECT id, epoch FROM runs WHERE agent = 'a1' AND id = ANY($1)", works
        )
        assert held
        site.roles[1].kill()
        # Its runners live on, and save nothing.
        await until(lambda: _lost(site, [r["id"] for r in held]), 30, every=0.1)
        site.roles[1].start()
        await site.ready(2)
        await site.verify(killed_inside_once=True)
        for run in held:
            kinds = await site.kinds(run["id"])
            assert kinds.count("lost") == 1
            assert kinds.count("starting") == 2
            starts = await site.rows(
                "SELECT data FROM events WHERE run = $1 AND kind = 'started' ORDER BY n", run["id"]
            )
            # The second attempt went on from a checkpoint, not from the start.
            assert json.loads(starts[-1]["data"])["resumed_from"] >= 2


async def _lost(site: Site, runs: list[str]) -> bool:
    found = await site.rows(
        "SELECT DISTINCT run FROM events WHERE kind = 'lost' AND run = ANY($1)", runs
    )
    return len(found) == len(runs)


async def test_a_nats_that_lost_its_store_is_filled_again() -> None:
    async with running_site() as site:
        site.roles[1].kill()  # nobody claims: runs are queued and dispatched when the store is lost
        works = await site.work(3, steps=3)
        async with site.load():
            await until(lambda: len(site.acknowledged) > 40, 20)
        site.acknowledged &= await _recorded(site)
        site.nats.kill()
        shutil.rmtree(site.nats.directory / "store")
        await site.aged_dispatches()
        await site.nats.start()
        site.roles[1].start()
        async with site.load():
            await site.saved(works)
        # What RUNS had before is gone; Postgres has it.
        await site.verify(stream=False)


async def test_a_deleted_work_stream_is_filled_again_under_load() -> None:
    async with running_site() as site:
        async with site.load():
            works = await site.work(4, steps=5)
            await site.aged_dispatches()
            await jsapi(site.client.connection, f"STREAM.DELETE.{subjects.WORK}")
            works += await site.work(4, steps=5)
        await site.verify()


async def _recorded(site: Site) -> set[str]:
    return {r["id"] for r in await site.rows("SELECT id FROM runs")}


async def test_engine_and_agent_wait_for_their_servers_and_say_for_which() -> None:
    async with running_site(start=False) as site:
        site.nats.kill()
        await site.stop_postgres(signal.SIGINT)
        engine, agent = site.role("engine", "e1"), site.role("agent", "a1")
        await until(lambda: "waits for NATS" in engine.log and "waits for NATS" in agent.log, 20)
        await site.nats.start()
        await until(lambda: "waits for store" in engine.log, 20)
        assert "Traceback" not in engine.log + agent.log
        await site.postgres.start()
        await site.ready()
        await site.deploy()
        await site.work(2, steps=2)
        await site.verify()
