"""A site's history goes home: retention waits for the hub, unless told so, or for want of room."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from chaos.figures.sites import CHUNK, hub_down
from headway.wire import ErrorInfo, encode
from headway.wire.runs import RunsQuery
from headway_engine.config import EdgeConfig
from headway_engine.happenings import Failed, Started
from headway_ops.checks.edge import home
from support.engines import Caller, calling, config_for, running_engine
from support.factories import NS, an_enqueue
from support.islands import Island, islands, quick
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_engine.assembly import Engine

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]  # a fixture
    quick(monkeypatch)


SHORT = {"retention": 0.2, "prune_every": 0.1}


@asynccontextmanager
async def site_engine(island: Island, room: int = 1 << 30, **more: Any) -> AsyncGenerator[Engine]:
    """Of a site whose retention is over at once; `room`: bytes of RUNS."""
    config = config_for(island.nats.url, "", site=island.name, **SHORT, **more)
    config = replace(config, edge=EdgeConfig(runs_bytes=room))
    async with running_engine(config, edge=island.kit.folder / "engine") as engine:
        yield engine


async def at_site(island: Island) -> set[str]:
    """The runs that the site has."""
    return {row.run for row in (await island.kit.store.runs(NS, RunsQuery(n=1000))).runs}


async def pruned(engine: Engine, times: int = 5) -> None:
    """So many looks of the pruner from now on."""
    (pruner,) = [s for s in engine.services if s.name == "pruner"]
    await pruner.passed.after(pruner.passed.count + times)


async def hub_has(caller: Caller, query: str, count: int) -> None:
    async def look() -> bool:
        return len((await caller.api("runs", {"query": query, "n": 100}))["runs"]) == count

    await until(look, what=f"the hub has {count} runs of {query}")


async def test_nothing_goes_at_the_site_before_the_hub_has_it(database: str) -> None:
    async with islands("berlin") as found:
        berlin = found["berlin"]
        config = config_for(found.hub.url, database, sites=("berlin",))
        async with (
            site_engine(berlin) as engine,
            running_engine(config),
            calling(found.hub.url) as caller,
        ):
            first = await berlin.ended(2)

            async def gone() -> bool:
                return not await at_site(berlin)

            await until(gone, what="what the hub has is removed at the site")
            berlin.link.cut()
            away = await berlin.ended(3)
            await pruned(engine)
            assert await at_site(berlin) == set(away)
            berlin.link.heal()
            await until(gone, what="what came home is removed at the site")
            await hub_has(caller, "site:berlin status:succeeded", 5)
            for run in (*first, *away):
                events = await caller.api("events", {"run": run})
                assert [e["n"] for e in events] == list(range(1, len(events) + 1))
                assert (await caller.api("run", {"run": run}))["result"] == "done"
            (row,) = (await caller.api("sites"))["sites"]
            assert "skipped" not in row
    assert home(7, 9, 0).state == "ok"


async def test_want_of_room_goes_before_the_hub_s_word_and_is_said(database: str) -> None:
    async with islands("berlin") as found:
        berlin = found["berlin"]
        config = config_for(found.hub.url, database, sites=("berlin",))
        async with running_engine(config), calling(found.hub.url) as caller:
            (begun,) = await berlin.kit.enqueued(an_enqueue())
            open_one = (await berlin.kit.claimed(begun.id, berlin.session)).run
            await berlin.kit.move(begun.id, Started(open_one.epoch))
            await hub_has(caller, "site:berlin status:running", 1)
            berlin.link.cut()
            why = ErrorInfo("ValueError", "no")
            await berlin.kit.move(begun.id, Failed(open_one.epoch, "error", why, retry=False))
            big = Raw(encode({"topic": "x" * 120_000}))
            away = await berlin.ended(8, payload=big)
            async with site_engine(berlin, 1 << 20), calling(berlin.nats.url) as there:

                async def gone() -> bool:
                    return not await at_site(berlin)

                await until(gone, what="the site makes room")
                info = await there.api("info")
                assert info["detail"]["shipping"]["lost"] == len(away) + 1
            berlin.link.heal()
            await hub_has(caller, "site:berlin status:failed", 1)

            async def told() -> bool:
                (row,) = (await caller.api("sites"))["sites"]
                return row.get("skipped", 0) == len(away) + 1

            await until(told, what="the hub says how many it cannot have")
    finding = home(7, 9, len(away))
    assert finding.state == "bad"
    assert "8 runs were removed before that" in finding.what


async def test_a_site_that_is_told_not_to_wait_does_not(database: str) -> None:
    async with islands("berlin") as found:
        berlin = found["berlin"]
        berlin.link.cut()
        await berlin.ended(1)
        async with site_engine(berlin, ship=False), calling(berlin.nats.url) as there:

            async def gone() -> bool:
                return not await at_site(berlin)

            await until(gone, what="retention waits for nobody")
            assert "shipping" not in (await there.api("info"))["detail"]


@pytest.mark.nightly
async def test_a_hub_that_was_down_has_all_of_its_site_once() -> None:
    """The figure of `ops/test --figures`, without its target: its time is not looked at."""
    back = await hub_down(1000, print)
    assert (back.runs, back.missing, back.double) == (1000 + CHUNK, 0, 0)
