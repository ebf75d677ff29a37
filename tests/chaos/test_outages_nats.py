"""NATS goes away, loses what it had, is full, is slow, is changed by hand while it runs.

Fault matrix rows 20-22, 25-29, 33, 34, 53, 56 and 57; rows 20 and 22 under load are in
`flow/test_06_outages`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import bus, subjects
from headway.bus import JetStreamRefused, jsapi
from headway.history import history
from headway.ids import new_run_id
from headway.wire import decode
from headway.wire.enqueue import EnqueueItem
from headway.wire.events import RUN_EVENTS
from headway_engine import streams
from headway_engine.declared import declared, intake_consumer, work_consumer
from support.proxy import Proxy
from support.scripted_agent import finish
from support.site import LEASE, running_site
from support.stacks import stack
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.engines import Caller
    from support.site import Site

pytestmark = pytest.mark.timeout(240)


async def a_run_goes_through(caller: Caller) -> str:
    """Enqueued, recorded, run, its end pushed and told in RUNS."""
    run = new_run_id()

    async def sent() -> bool:
        with contextlib.suppress(bus.HeadwayError):
            # The same id again is the same run, wherever the first one got lost.
            await caller.send(EnqueueItem(run, "noop", Raw(b"{}")))
            return True
        return False

    await until(sent, 20, what="JetStream takes it")
    try:
        await until(lambda: run in caller.recorded, 3)
    except AssertionError:
        await until(sent, 20)
    assert (await caller.word(run)).outcome in ("recorded", "duplicate")
    await until(lambda: run in caller.ended, 20, what="its end")
    assert caller.ended[run].status == "succeeded"
    return run


async def told(caller: Caller, run: str) -> list[str]:
    """What RUNS tells of it."""
    subject = subjects.run_event("default", run)
    with contextlib.suppress(bus.HeadwayError):
        return [
            e.kind
            async for m in history(caller.nc, subjects.RUNS, subject)
            for e in decode(RUN_EVENTS, m.data).events
        ]
    return []


async def config_of(caller: Caller, stream: str, consumer: str = "") -> dict[str, Any]:
    """The configuration that is in force; empty if it is not there."""
    verb = f"CONSUMER.INFO.{stream}.{consumer}" if consumer else f"STREAM.INFO.{stream}"
    try:
        return (await jsapi(caller.nc, verb))["config"]
    except JetStreamRefused:
        return {}


WORK_CONSUMER = subjects.work_consumer("default", "default")
DELETED = [
    *(
        f"STREAM.DELETE.{name}"
        for name in (subjects.INGEST, subjects.WORK, subjects.RUNS, subjects.LOGS)
    ),
    f"CONSUMER.DELETE.{subjects.INGEST}.{subjects.INTAKE_CONSUMER}",
    f"CONSUMER.DELETE.{subjects.WORK}.{WORK_CONSUMER}",
]


async def test_row_57_what_an_operator_deletes_while_it_runs_is_made_again(
    nats: str, database: str
) -> None:
    async with stack(nats, database, watch_every=0.3) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        await a_run_goes_through(caller)
        for verb in DELETED:
            _, _, stream, *consumer = verb.split(".")
            await jsapi(caller.nc, verb)
            run = await a_run_goes_through(caller)
            await until(lambda s=stream, c=consumer: config_of(caller, s, *c), what=verb)

            async def whole(run: str = run) -> bool:
                return "succeeded" in await told(caller, run)

            await until(whole, what=f"RUNS tells of it after {verb}")


EDITED = [
    (subjects.INGEST, subjects.INTAKE_CONSUMER, {"max_deliver": 1, "ack_wait": 10**9}),
    (subjects.WORK, WORK_CONSUMER, {"max_deliver": 1, "max_ack_pending": 1}),
    (subjects.INGEST, "", {"discard": "old", "max_bytes": 1000}),
    (subjects.RUNS, "", {"max_age": 10**9}),
]


async def test_row_56_settings_that_an_operator_changes_are_put_right_and_said(
    nats: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stack(nats, database, watch_every=0.3) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        await a_run_goes_through(caller)
        for stream, consumer, change in EDITED:
            config = await config_of(caller, stream, consumer)
            if consumer:
                verb = f"CONSUMER.CREATE.{stream}.{consumer}"
                if config.get("filter_subject"):
                    verb += f".{config['filter_subject']}"
                body = {"stream_name": stream, "config": config | change, "action": "update"}
            else:
                verb, body = f"STREAM.UPDATE.{stream}", config | change
            await jsapi(caller.nc, verb, body)
            wanted = (
                declared()[stream]
                if not consumer
                else intake_consumer()
                if stream == subjects.INGEST
                else work_consumer("default", "default")
            )

            async def right(
                wanted: dict[str, Any] = wanted, at: tuple[str, str] = (stream, consumer)
            ) -> bool:
                return not streams.differences(wanted, await config_of(caller, *at))

            await until(right, what=f"{stream} {consumer} is as declared")
            for setting, value in change.items():
                said = f"{setting}: {value!r}, declared"
                await until(lambda text=said: text in caplog.text, what=said)
        await a_run_goes_through(caller)


# --- what lies between a part and NATS


async def lasting(seconds: float) -> None:
    """The time that a fault lasts is what is tested."""
    await asyncio.sleep(seconds)


async def resets(*proxies: Proxy, seconds: float) -> None:
    """All connections broken, five times a second."""
    for _ in range(int(seconds * 5)):
        for proxy in proxies:
            proxy.reset()
        await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def site_behind_proxies() -> AsyncGenerator[tuple[Site, Proxy, Proxy]]:
    """An engine and an agent that reach NATS through a proxy each; the client does directly."""
    async with (
        running_site(start=False) as site,
        Proxy(site.nats.port) as of_engine,
        Proxy(site.nats.port) as of_agent,
    ):
        for name, proxy in (("e1", of_engine), ("a1", of_agent)):
            site.ways[name] = f"nats://127.0.0.1:{proxy.port}"
        site.role("engine", "e1")
        site.role("agent", "a1")
        await site.ready()
        await site.deploy()
        yield site, of_engine, of_agent


async def test_rows_26_27_29_faults_between_an_engine_and_nats_cost_time_only() -> None:
    async with site_behind_proxies() as (site, of_engine, of_agent):
        works = await site.work(3, steps=30)
        await site.saved(works)
        # The engine hears nothing, and believes that it is connected: nobody's lease ends.
        of_engine.blackhole()
        await lasting(LEASE * 1.3)
        of_engine.heal()
        await site.saved(works, await _next(site, works))
        # It is heard, and hears nothing: what it did is asked for again.
        of_engine.half_open()
        await lasting(LEASE * 1.3)
        of_engine.heal()
        await site.saved(works, await _next(site, works))
        async with site.load(0.3):
            await resets(of_engine, of_agent, seconds=1)
        await site.verify()
        for run in works:
            kinds = await site.kinds(run)
            assert "lost" not in kinds
            assert kinds.count("starting") == 1


@pytest.mark.nightly
@pytest.mark.timeout(400)
async def test_rows_25_to_29_long_faults_of_all_kinds_between_all_parts_and_nats() -> None:
    async with site_behind_proxies() as (site, of_engine, of_agent):
        works = await site.work(3, steps=600)
        async with site.load(0.3):
            await site.saved(works)
            site.nats_process().suspend()
            await lasting(30)
            site.nats_process().resume()
            await site.saved(works, await _next(site, works))
            for proxy in (of_engine, of_agent):
                for fault in (proxy.blackhole, proxy.half_open):
                    fault()
                    await lasting(30)
                    proxy.heal()
                    await site.saved(works, await _next(site, works))
            await resets(of_engine, of_agent, seconds=30)
            await site.saved(works, await _next(site, works))
            # Added to each piece in its turn: under load that is a slow link as well.
            of_engine.delay = of_agent.delay = 0.05
            await site.saved(works, await _next(site, works) + 5)
            of_engine.heal()
            of_agent.heal()
        await site.verify(killed_inside_once=True)


@pytest.mark.nightly
async def test_row_21_nats_killed_every_three_seconds_lets_work_go_on() -> None:
    async with running_site() as site:
        works = await site.work(3, steps=500)
        await site.saved(works)
        async with site.load(0.3):
            for _ in range(8):
                before = await _next(site, works)
                site.nats.kill()
                await site.nats.start()
                await lasting(3)
                assert await _next(site, works) > before
        await site.verify()
        for run in works:
            assert "lost" not in await site.kinds(run)


async def _next(site: Site, runs: list[str]) -> int:
    rows = await site.rows("SELECT max(ck) AS ck FROM runs WHERE id = ANY($1)", runs)
    return rows[0]["ck"] + 1
