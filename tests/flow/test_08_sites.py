"""Two sites and a hub: what sites did is known there once and whole, whatever is cut or killed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from msgspec import Raw

from headway import bus
from headway.ids import new_run_id
from headway.wire import decode, encode
from headway.wire.events import RUN_EVENTS
from headway_engine.happenings import Tag
from headway_engine.sites import following
from headway_engine.sites.commands import TTL, Command, subject
from support.engines import Caller, calling, config_for, running_engine
from support.factories import NS, an_enqueue
from support.islands import Island, Islands, islands, quick
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SITES = ("berlin", "oslo")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]  # a fixture
    quick(monkeypatch)


@pytest.fixture
async def joined() -> AsyncGenerator[Islands]:
    """A hub and two sites."""
    async with islands(*SITES) as found:
        yield found


async def known(caller: Caller, query: str, count: int) -> dict[str, Any]:
    """The page of runs, once it has so many."""

    async def look() -> dict[str, Any] | None:
        page = await caller.api("runs", {"query": query, "n": 1000})
        return page if len(page["runs"]) >= count else None

    page: Any = await until(look, what=f"{count} runs of {query!r}")
    assert len(page["runs"]) == count
    return page


async def agree(caller: Caller, island: Island, runs: list[str]) -> None:
    """The hub tells of these runs what the site has, event by event."""

    async def same() -> bool:
        for run in runs:
            theirs = await island.events(run)
            answer = await caller.api_raw("events", {"run": run})
            if answer.error is not None:
                return False
            ours = await caller.api("events", {"run": run})
            if [e["n"] for e in ours] != [e.n for e in theirs]:
                return False
        return True

    await until(same, what=f"the hub knows all of {len(runs)} runs of {island.name}")


async def test_a_hub_lists_and_opens_the_runs_of_its_sites(joined: Islands, database: str) -> None:
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        berlin = await joined["berlin"].ended(3)
        oslo = await joined["oslo"].ended(2, fails=True)
        await caller.deploy()
        own = (await caller.enqueue()).run
        page = await known(caller, "site:berlin status:succeeded", 3)
        assert {r["run"] for r in page["runs"]} == set(berlin)
        assert {r["site"] for r in page["runs"]} == {"berlin"}
        page = await known(caller, "status:failed", 2)
        assert {(r["run"], r["site"]) for r in page["runs"]} == {(r, "oslo") for r in oslo}
        page = await known(caller, "", 6)
        assert [r["run"] for r in page["runs"]] == sorted([*berlin, *oslo, own], reverse=True)
        assert set(page["sites"]) == set(SITES)
        assert [r["run"] for r in (await known(caller, "!site:*o*,*b*", 1))["runs"]] == [own]
        await agree(caller, joined["berlin"], berlin)
        detail = await caller.api("run", {"run": berlin[0]})
        assert detail["row"]["site"] == "berlin"
        assert detail["payload"] == {"topic": "tides"}
        assert detail["result"] == "done"
        assert [c["number"] for c in detail["checkpoints"]] == [1]
        assert "owned by site berlin" in detail["why"]
        state = await caller.api("state", {"run": berlin[0]})
        assert state["state"] == {"turn": 1}
        ends = await caller.api("result", {"runs": [berlin[1], own]})
        assert [e["run"] for e in ends["ended"]] == [berlin[1]]


async def test_whoever_has_heard_of_a_run_gets_all_of_it_when_he_asks(
    joined: Islands, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies are told at once and stored later: asked for in between, they are stored first."""
    berlin = joined["berlin"]
    monkeypatch.setattr(following, "EVERY", 3600.0)
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def hear(msg: Any) -> None:
            body = decode(RUN_EVENTS, msg.data)
            if any(event.target == "SUCCEEDED" for event in body.events):
                heard.put_nowait(body.run)

        await caller.nc.subscribe("hw.live.run.>", cb=hear)
        for verb in ("events", "run", "result", "why"):
            (run,) = await berlin.ended(1)
            async with asyncio.timeout(20):
                assert await heard.get() == run
            answer = await caller.api(verb, {"runs": [run]} if verb == "result" else {"run": run})
            match verb:
                case "events":
                    assert answer[-1]["target"] == "SUCCEEDED"
                case "run":
                    assert answer["row"]["status"] == "succeeded"
                case "result":
                    assert [end["run"] for end in answer["ended"]] == [run]
                case _:
                    assert "owned by site berlin" in answer["why"]


async def test_pages_of_a_hub_and_its_sites_lack_and_double_nothing(
    joined: Islands, database: str
) -> None:
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        await caller.deploy()
        runs: list[str] = []
        for _ in range(3):
            runs += await joined["berlin"].ended(2)
            runs.append((await caller.enqueue()).run)
            runs += await joined["oslo"].ended(1)
        await known(caller, "", 12)
        for sort in ("newest", "oldest"):
            found: list[str] = []
            after = ""
            while True:
                page = await caller.api("runs", {"n": 5, "after": after, "sort": sort})
                found += [r["run"] for r in page["runs"]]
                if not page.get("more"):
                    break
                after = page["next"]
            assert found == sorted(runs, reverse=sort == "newest")


async def test_what_a_site_did_while_its_link_was_cut_is_known_after_it(
    joined: Islands, database: str
) -> None:
    berlin, oslo = joined["berlin"], joined["oslo"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        first = await berlin.ended(2)
        await known(caller, "site:berlin status:succeeded", 2)
        await agree(caller, berlin, first)
        berlin.link.cut()
        away = await berlin.ended(20)
        other = await oslo.ended(1)
        await known(caller, "site:oslo status:succeeded", 1)
        page = await known(caller, "site:berlin", 2)
        before = page["sites"]["berlin"]
        page = await known(caller, "site:berlin", 2)
        assert page["sites"]["berlin"] == before, "nothing new is known of a site that is cut off"
        berlin.link.heal()
        await known(caller, "site:berlin status:succeeded", 22)
        await agree(caller, berlin, [*first, *away])
        await agree(caller, oslo, other)

        async def newer() -> bool:
            page = await known(caller, "site:berlin", 22)
            return page["sites"]["berlin"] > before

        await until(newer, what="the hub knows berlin anew")


async def test_a_hub_that_was_killed_goes_on_where_it_was(joined: Islands, database: str) -> None:
    berlin = joined["berlin"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        first = await berlin.ended(5)
        await known(caller, "site:berlin status:succeeded", 5)
    joined.hub.kill()
    second = await berlin.ended(5)
    await joined.hub.start()
    async with running_engine(config), calling(joined.hub.url) as caller:
        await known(caller, "site:berlin status:succeeded", 10)
        await agree(caller, berlin, [*first, *second])


async def test_a_copy_that_the_hub_has_lost_is_made_again_and_counts_once(
    joined: Islands, database: str
) -> None:
    berlin = joined["berlin"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        first = await berlin.ended(3)
        await known(caller, "site:berlin status:succeeded", 3)
        await agree(caller, berlin, first)
        count = await events_in(database)
        nc = await bus.connect(settings_for(joined.hub.url), kind="engine", ident="x")
        await bus.jsapi(nc, "STREAM.DELETE.RUNS_berlin")
        await nc.close()
        second = await berlin.ended(2)
        await known(caller, "site:berlin status:succeeded", 5)
        await agree(caller, berlin, [*first, *second])
        added = sum([len(await berlin.events(run)) for run in second])
        assert await events_in(database) == count + added


async def events_in(dsn: str) -> int:
    """Rows of events of sites."""
    conn: Any = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval("SELECT count(*) FROM headway_sites.events")
    finally:
        await conn.close()


async def test_a_site_that_began_anew_is_not_mixed_with_what_it_was(
    joined: Islands, database: str
) -> None:
    berlin = joined["berlin"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        first = await berlin.ended(1)
        await known(caller, "site:berlin status:succeeded", 1)
        await agree(caller, berlin, first)
        nc = await bus.connect(settings_for(berlin.nats.url), kind="engine", ident="x")
        await bus.jsapi(nc, "STREAM.DELETE.WORK")
        info = await bus.jsapi(nc, "STREAM.INFO.RUNS")
        await bus.jsapi(nc, "STREAM.DELETE.RUNS")
        await bus.jsapi(nc, "STREAM.CREATE.RUNS", info["config"])
        await nc.close()

        async def said() -> bool:
            why = await caller.api("why", {"run": first[0]})
            return "made anew" in why["why"]

        await until(said, what="the hub says that berlin began anew")


async def test_what_only_the_owner_can_answer_is_refused(joined: Islands, database: str) -> None:
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        (run,) = await joined["berlin"].ended(1, fails=True)
        await known(caller, "site:berlin status:failed", 1)
        for verb in ("ack", "fork", "bundle"):
            more = {"new_run": new_run_id(), "checkpoint": 1} if verb == "fork" else {}
            answer = await caller.api_raw(verb, {"run": run, **more})
            assert answer.error is not None
            assert answer.error.code == "refused", answer.error
            assert "site berlin" in answer.error.message
        assert (await caller.api("run", {"run": run}))["row"]["status"] == "failed"


def at_site(island: Island) -> Any:
    """An engine of the site, beside its store."""
    config = config_for(island.nats.url, "", site=island.name)
    return running_engine(config, edge=island.kit.folder / "engine")


async def said(caller: Caller, run: str, words: str) -> str:
    """What the hub says of a run, once it has these words in it."""
    found = ""

    async def look() -> bool:
        nonlocal found
        found = (await caller.api("why", {"run": run}))["why"]
        return words in found

    await until(look, what=f"{words!r} in what is said")
    return found


async def test_a_command_waits_for_the_link_and_is_done_once(
    joined: Islands, database: str
) -> None:
    berlin = joined["berlin"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with at_site(berlin), running_engine(config), calling(joined.hub.url) as caller:
        (waits,) = await berlin.kit.enqueued(an_enqueue(queue="nobody"))
        (old,) = await berlin.ended(1, fails=True)
        await known(caller, "site:berlin", 2)
        berlin.link.cut()
        new = new_run_id()
        for verb, ask in (
            ("cancel", {"run": waits.id, "reason": "enough"}),
            ("replay", {"run": old, "new_run": new}),
            ("replay", {"run": old, "new_run": new}),
        ):
            answer = await caller.api(verb, ask)
            assert answer["outcome"] == "sent"
            assert "kept for site berlin" in answer["message"]
        why = await said(caller, waits.id, "cancel by tester")
        assert "waits for the site, until" in why
        assert (await berlin.kit.record(waits.id)).ended_at is None
        berlin.link.heal()
        await known(caller, f"id:{waits.id} status:cancelled", 1)
        await known(caller, f"id:{new}", 1)
        assert "the site did it" in await said(caller, waits.id, "the site did it")
        await said(caller, old, "the site did it")
        events = await berlin.events(waits.id)
        (cancelled,) = [e for e in events if e.target == "CANCELLED"]
        assert cancelled.actor == "user:tester@hub"
        page = await known(caller, f"origin:{old}", 1)
        assert page["runs"][0]["site"] == "berlin"


async def test_a_run_of_a_site_is_tagged_at_its_hub(joined: Islands, database: str) -> None:
    berlin = joined["berlin"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with at_site(berlin), running_engine(config), calling(joined.hub.url) as caller:
        (run,) = await berlin.ended(1)
        await known(caller, "site:berlin status:succeeded", 1)
        answer = await caller.api("tag", {"run": run, "add": ["golden", "seen"]})
        assert answer["outcome"] == "sent"
        await known(caller, f"tag:golden id:{run}", 1)
        await said(caller, run, "the site did it")
        assert (await berlin.kit.record(run)).tags == ("golden", "seen")
        (event,) = [e for e in await berlin.events(run) if e.kind == "tagged"]
        assert event.actor == "user:tester@hub"
        # Also what somebody says there is known here.
        await berlin.kit.move(run, Tag("user:ana", (), ("golden",)))
        await known(caller, f"!tag:golden tag:seen id:{run}", 1)
        await agree(caller, berlin, [run])


async def test_what_the_site_refuses_is_told_at_the_hub(joined: Islands, database: str) -> None:
    berlin = joined["berlin"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with at_site(berlin), running_engine(config), calling(joined.hub.url) as caller:
        (run,) = await berlin.ended(1)
        await known(caller, "site:berlin status:succeeded", 1)
        assert (await caller.api("resume", {"run": run}))["outcome"] == "sent"
        await said(caller, run, "the site did not do it")


async def test_a_command_whose_time_is_over_is_not_done(joined: Islands, database: str) -> None:
    berlin = joined["berlin"]
    config = config_for(joined.hub.url, database, sites=SITES)
    async with running_engine(config), calling(joined.hub.url) as caller:
        (waits,) = await berlin.kit.enqueued(an_enqueue(queue="nobody"))
        await known(caller, "site:berlin", 1)
        at = datetime.now(UTC) - 2 * TTL
        late = Command("c1", NS, "tester", "cancel", waits.id, at, at + TTL, Raw(b"{}"))
        nc = await bus.connect(settings_for(joined.hub.url), kind="engine", ident="x")
        await bus.publish_acked(nc, subject("berlin", late), encode(late))
        await nc.close()
        await said(caller, waits.id, "its time is over")
        async with at_site(berlin):
            await said(caller, waits.id, "the site did not do it (its time was over")
        assert (await berlin.kit.record(waits.id)).ended_at is None
