"""A hub enqueues at its sites: kept while the link is down, made once, and its caller hears it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import bus
from headway.client import Client
from headway.errors import Refused
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.enqueue import EnqueueItem
from headway.wire.runs import RunsQuery
from headway.wire.sites import CommandsAsk, CommandsPage, SitesPage
from headway_engine.sites.commands import DONE, down_stream
from support.engines import config_for, running_engine
from support.factories import NS
from support.islands import Island, Islands, islands, quick
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]  # a fixture
    quick(monkeypatch)


class Place:
    """A hub with its engine and a client, and a site with an engine behind a link."""

    def __init__(self, found: Islands, client: Client) -> None:
        self.islands, self.client = found, client
        self.site: Island = found["berlin"]

    async def kept(self, run: str = "") -> CommandsPage:
        """What waits, or all about one run."""
        return await self.client.api("commands", CommandsAsk("berlin", run), CommandsPage)

    async def runs(self) -> set[str]:
        """Of the site."""
        page = await self.site.kit.store.runs(NS, RunsQuery())
        return {row.run for row in page.runs}


@asynccontextmanager
async def place(database: str, *, engine: bool = True) -> AsyncGenerator[Place]:
    """A hub that knows one site; `engine`: of the site."""
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(islands("berlin"))
        config = config_for(found.hub.url, database, sites=("berlin",))
        await stack.enter_async_context(running_engine(config))
        if engine:
            await stack.enter_async_context(site_engine(found["berlin"]))
        client = await stack.enter_async_context(await Client.open(settings_for(found.hub.url)))
        yield Place(found, client)


def site_engine(island: Island) -> Any:
    """An engine of the site, beside its store."""
    config = config_for(island.nats.url, "", site=island.name)
    return running_engine(config, edge=island.kit.folder / "engine")


def an_item(topic: str = "tides", **more: Any) -> EnqueueItem:
    """Of the task that the site has."""
    return EnqueueItem(new_run_id(), "research", Raw(encode({"topic": topic})), **more)


async def test_an_enqueue_waits_for_the_link_visibly_and_is_made_once(database: str) -> None:
    async with place(database) as at:
        at.site.link.cut()
        items = [an_item(), an_item("moons", key="moon")]
        handles = await at.client.send("berlin", items)
        assert [h.recorded for h in handles] == ["accepted", "accepted"]
        again = await at.client.send("berlin", items)
        assert [h.id for h in again] == [i.run for i in items]
        kept = await at.kept()
        assert [(c.run, c.state, c.task, c.key) for c in kept.commands] == [
            (items[0].run, "waiting", "research", ""),
            (items[1].run, "waiting", "research", "moon"),
        ]
        assert kept.commands[0].until > kept.as_of > kept.commands[0].at

        async def cut_off() -> bool:
            (row,) = (await at.client.api("sites", None, SitesPage)).sites
            return not row.linked and row.waiting == 2

        await until(cut_off, what="the hub says that the site is cut off, and what waits")
        with pytest.raises(Refused, match=r"enqueue by .* waits for the site, until"):
            await handles[0].status()
        assert not await at.runs()
        at.site.link.heal()
        for handle in handles:
            await until(lambda h=handle: h.recorded == "recorded", what="the site has the run")
        assert await at.runs() == {i.run for i in items}
        assert not (await at.kept()).commands
        (row,) = (await at.kept(items[0].run)).commands
        assert row.state == "done"
        once_more = await at.client.send("berlin", items)
        assert [h.recorded for h in once_more] == ["recorded", "recorded"]
        same = await at.client.send("berlin", [an_item("moons", key="moon")])
        await until(lambda: same[0].duplicate, what="the key has a run at the site")
        assert same[0].id == items[1].run
        assert await at.runs() == {i.run for i in items}


async def test_what_the_site_refuses_is_the_caller_s_error(database: str) -> None:
    async with place(database) as at:
        item = EnqueueItem(new_run_id(), "nobody-deployed-it", Raw(b"{}"))
        (handle,) = await at.client.send("berlin", [item])
        with pytest.raises(Refused, match="no task 'nobody-deployed-it'"):
            await handle.result(timeout=30)
        assert handle.recorded == "rejected"
        (row,) = (await at.kept()).commands
        assert (row.run, row.state, row.code) == (item.run, "refused", "unknown_task")
        assert "no task" in row.message
        with pytest.raises(Refused, match="no site 'paris' at this hub: it has berlin"):
            await at.client.send("paris", [an_item()])
        assert not await at.runs()


@pytest.mark.nightly
async def test_an_enqueue_whose_time_is_over_is_told_and_not_made(database: str) -> None:
    async with place(database, engine=False) as at:
        (handle,) = await at.client.send("berlin", [an_item()], ttl=0.2)

        async def overdue() -> bool:
            return [c.state for c in (await at.kept()).commands] == ["overdue"]

        await until(overdue, what="its time is over")
        assert handle.recorded == "accepted"
        async with site_engine(at.site):
            with pytest.raises(Refused, match="its time was over when the link was back"):
                await handle.result(timeout=30)
            assert handle.recorded == "expired"
        assert not await at.runs()


@pytest.mark.nightly
async def test_a_cancel_of_a_run_that_waits_for_its_site_comes_after_it(database: str) -> None:
    async with place(database) as at:
        at.site.link.cut()
        (handle,) = await at.client.send("berlin", [an_item()])
        done = await handle.cancel("enough")
        assert done.outcome == "sent"
        at.site.link.heal()
        await until(lambda: handle.recorded == "recorded", what="the site has the run")

        async def over() -> bool:
            return (await at.site.kit.record(handle.id)).ended_at is not None

        await until(over, what="the run is cancelled at its site")
        kinds = [e.target for e in await at.site.events(handle.id) if e.target]
        assert kinds.count("QUEUED") == kinds.count("CANCELLED") == 1


@pytest.mark.nightly
async def test_a_site_that_forgot_its_answer_makes_no_second_run(database: str) -> None:
    """Killed after the commit and before the answer: it is asked again."""
    async with place(database) as at:
        item = an_item()
        (handle,) = await at.client.send("berlin", [item])
        await until(lambda: handle.recorded == "recorded", what="the site has the run")
        events = len(await at.site.events(item.run))
        (row,) = (await at.kept(item.run)).commands
        hub = await bus.connect(settings_for(at.islands.hub.url), kind="engine", ident="x")
        site = await bus.connect(settings_for(at.site.nats.url), kind="engine", ident="x")
        try:
            await bus.jsapi(site, f"STREAM.PURGE.{DONE}")
            await bus.jsapi(hub, f"STREAM.PURGE.{down_stream('berlin')}")
            second = await at.client.send("berlin", [item])
            assert row.state == "done"

            async def over() -> bool:
                found = (await at.kept(item.run)).commands
                return [c.state for c in found] == ["done"]

            await until(over, what="the same enqueue once more is done")
            assert second[0].id == item.run
        finally:
            await hub.close()
            await site.close()
        assert await at.runs() == {item.run}
        assert len(await at.site.events(item.run)) == events


async def test_an_engine_without_sites_says_that_it_is_no_hub(lone: str) -> None:
    async with await Client.open(settings_for(lone)) as client:
        with pytest.raises(Refused, match="this is no hub"):
            await client.send("berlin", [an_item()])
        assert (await client.api("sites", None, SitesPage)).sites == []
        assert (await client.api("commands", CommandsAsk(run=new_run_id()), CommandsPage)).more == 0


@pytest.fixture
async def lone(nats: str, database: str) -> AsyncGenerator[str]:
    """A lone engine's NATS."""
    async with running_engine(config_for(nats, database)):
        yield nats
