"""A hub of two engines, one that was set back, and what its verbs with a query say of sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.sites import following
from support.engines import Caller, calling, config_for, running_engine
from support.islands import Island, islands, quick
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]  # a fixture
    quick(monkeypatch)


async def rows(dsn: str, sql: str, *values: Any) -> list[Any]:
    """Of a database."""
    conn: Any = await asyncpg.connect(dsn)
    try:
        return await conn.fetch(sql, *values)
    finally:
        await conn.close()


async def exact(dsn: str, island: Island, runs: Iterable[str]) -> None:
    """The hub has all events of these runs, each once."""
    told = {(run, e.n) for run in runs for e in await island.events(run)}

    async def same() -> bool:
        found = await rows(dsn, "SELECT run, n FROM headway_sites.events")
        return sorted((r["run"], r["n"]) for r in found) == sorted(told)

    await until(same, what=f"{len(told)} events of {island.name} are at the hub, each once")


async def copied(dsn: str) -> str:
    """A copy of this database, as a backup of now would be."""
    base, _, name = dsn.rpartition("/")
    name, _, options = name.partition("?")
    copy = f"{name}_old"
    admin: Any = await asyncpg.connect(f"{base}/postgres?{options}")
    try:
        # Both names are ours: no test data reaches this text.
        await admin.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
    finally:
        await admin.close()
    return f"{base}/{copy}?{options}" if options else f"{base}/{copy}"


@pytest.mark.nightly
async def test_a_hub_that_was_set_back_asks_again_and_has_everything_once(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that copies are cleared away soon, as they are after two thousand messages.
    monkeypatch.setattr(following, "LEFT", 5)
    async with islands("berlin") as found:
        berlin = found["berlin"]
        config = config_for(found.hub.url, database, sites=("berlin",))
        made: list[str] = []
        async with running_engine(config):
            made += await berlin.ended(2)
            await exact(database, berlin, made)
        old = await copied(database)
        async with running_engine(config):
            made += await berlin.ended(10)
            await exact(database, berlin, made)
            made += await berlin.ended(1)
            await exact(database, berlin, made)
        assert len(await rows(old, "SELECT DISTINCT run FROM headway_sites.events")) == 2
        back = config_for(found.hub.url, old, sites=("berlin",))
        async with running_engine(back), calling(found.hub.url) as caller:
            await exact(old, berlin, made)
            made += await berlin.ended(1)
            await exact(old, berlin, made)
            (site,) = (await caller.api("sites"))["sites"]
            assert "skipped" not in site


@pytest.mark.nightly
async def test_two_engines_of_a_hub_take_turns(database: str) -> None:
    async with islands("berlin") as found:
        berlin = found["berlin"]
        config = config_for(found.hub.url, database, sites=("berlin",))
        async with running_engine(config):
            async with running_engine(config):
                made = await berlin.ended(20)
                await exact(database, berlin, made)
            made += await berlin.ended(5)
            await exact(database, berlin, made)


async def refused(caller: Caller, verb: str, ask: dict[str, Any]) -> str:
    """Why."""
    answer = await caller.api_raw(verb, ask)
    assert answer.error is not None, answer
    assert answer.error.code == "refused"
    return answer.error.message


async def test_verbs_with_a_query_count_sites_or_refuse_them(database: str) -> None:
    async with islands("berlin", "oslo") as found:
        config = config_for(found.hub.url, database, sites=("berlin", "oslo"))
        async with running_engine(config), calling(found.hub.url) as caller:
            made = await found["berlin"].ended(2, fails=True)
            await found["oslo"].ended(1)
            await caller.deploy()
            own = (await caller.enqueue()).run

            async def count(query: str) -> dict[str, int]:
                page = await caller.api("facets", {"query": query, "by": ["status"]})
                return {f["value"]: f["runs"] for f in page["values"]["status"]}

            async def all_known() -> bool:
                return await count("") == {"failed": 2, "succeeded": 1, "queued": 1}

            await until(all_known, what="facets count the hub and its sites")
            assert await count("site:berlin") == {"failed": 2}
            assert await count("!site:berlin,oslo") == {"queued": 1}
            for query in ("site:berlin", "status:failed !site:oslo"):
                why = await refused(caller, "bulk", {"verb": "resume", "query": query})
                assert "this query names runs of sites" in why
                assert "one by one" in why
                assert "site" in await refused(caller, "plan-rows", {"query": query})
            why = await refused(caller, "bulk", {"verb": "cancel", "ids": [*made, own]})
            assert "2 of these 3 runs are those of berlin" in why
            page = await caller.api("bulk", {"verb": "cancel", "query": "status:live"})
            assert page["runs"] == [own]
            page = await caller.api("bulk", {"verb": "cancel", "query": "!site:berlin,oslo"})
            assert page["runs"] == [own]
            assert await caller.api("usage", {"by": "run", "run": made[0]}) == []


def classes(page: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Runs by (site, task)."""
    return {(c.get("site", ""), c["task"]): c["count"] for c in page["classes"]}


async def test_dead_letters_and_use_are_those_of_hub_and_sites(database: str) -> None:
    async with islands("berlin", "oslo") as found:
        config = config_for(found.hub.url, database, sites=("berlin", "oslo"))
        async with running_engine(config), calling(found.hub.url) as caller:
            berlin, oslo = found["berlin"], found["oslo"]
            made = await berlin.ended(2, fails=True)
            await oslo.ended(1, fails=True)
            record = await berlin.kit.record(made[0])
            used = SaveUsage(made[0], record.epoch, [ModelUsage("m", 100, 20, 0.5)])
            assert (await berlin.kit.store.save([used]))[0].outcome == "ok"

            async def known() -> bool:
                rows = await caller.api("usage", {"by": "model"})
                page = await caller.api("dead")
                return bool(rows) and page["total"] == 3

            await until(known, what="the hub knows dead letters and use of its sites")
            page = await caller.api("dead")
            assert classes(page) == {("berlin", "research"): 2, ("oslo", "research"): 1}
            assert page["classes"][0]["sample"] in made
            page = await caller.api("dead", {"by": "error", "n": 1})
            assert (classes(page), page["more"]) == ({("berlin", "research"): 2}, 1)
            page = await caller.api("dead", {"site": "oslo"})
            assert (classes(page), page["total"]) == ({("oslo", "research"): 1}, 1)
            assert not (await caller.api("dead", {"site": "-"}))["classes"]
            (row,) = await caller.api("usage", {"by": "task"})
            assert (row["key"], row["runs"], row["cost_usd"]) == ("research", 1, 0.5)
            assert await caller.api("usage", {"site": "berlin"}) == [row]
            assert await caller.api("usage", {"site": "oslo"}) == []
            assert await caller.api("usage", {"site": "-"}) == []
            for verb in ("dead", "usage"):
                assert "no site 'paris'" in await refused(caller, verb, {"site": "paris"})
