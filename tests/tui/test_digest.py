"""Above some thousand events a second the list hears digests: engine, broker and feed together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Raw

from headway import subjects
from headway.ids import new_run_id
from headway.query import parse
from headway.wire import decode, encode
from headway.wire.enqueue import EnqueueItem
from headway.wire.events import RUNS_DIGEST, Event, RunEvents, RunsDigest
from headway.wire.fleet import TaskSpec
from headway.wire.runs import RunAsk
from headway_engine import digest
from headway_engine.digest import Digests
from headway_tui import listing
from headway_tui.link import Link
from headway_tui.listing import RunsFeed
from headway_tui.model.rows import RunsView
from headway_tui.query import possible
from headway_tui.screens.runs import RunsScreen
from support.consoles import NOW, console, rows, show
from support.engines import calling, config_for, running_engine
from support.screens import text_of
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    import pytest
    from nats.aio.msg import Msg

    from headway_ops.local.nats import NatsServer
    from support.engines import Caller


class Box:
    """A postbox that keeps what is put into it."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, bytes]] = []

    def put(self, subject: str, body: bytes) -> None:
        """Keep it."""
        self.letters.append((subject, body))

    def told(self) -> list[RunsDigest]:
        """What was told since the last look."""
        found = [decode(RUNS_DIGEST, body) for _, body in self.letters]
        self.letters.clear()
        return found


def told(run: str, n: int, count: int = 1, ns: str = "default") -> RunEvents:
    return RunEvents(run, ns, "t", [Event(n + i, NOW, "step") for i in range(count)])


# --- the engine's side


async def test_digests_are_told_while_much_happens_and_once_when_it_ends() -> None:
    box, now = Box(), [0.0]
    digests = Digests("e", box, lambda: now[0])  # pyright: ignore[reportArgumentType]

    async def after(seconds: float) -> list[RunsDigest]:
        now[0] += seconds
        await digests.once()
        return box.told()

    digests.note(told("A", 1, 100))
    assert await after(0.25) == [], "so few are heard one by one"
    digests.note(told("A", 101, 300))
    digests.note(told("B", 1, 300))
    digests.note(told("B", 301, 1))
    (said,) = await after(0.25)
    assert (said.new, said.moved, said.partly) == (["B"], ["A"], False)
    assert said.events == 601
    assert said.rate == 701
    (said,) = await after(0.25)
    assert (said.new, said.moved, said.events) == ([], [], 0)
    await after(0.8)
    assert await after(2) == [], "the end was told, then nothing more"
    assert digests._seen == {}, "of a quiet namespace nothing is kept"  # pyright: ignore[reportPrivateUsage]


async def test_a_digest_never_grows_beyond_a_message_and_says_so() -> None:
    box = Box()
    digests = Digests("e", box, lambda: 0.0)  # pyright: ignore[reportArgumentType]
    for i in range(3 * digest.RUNS):
        digests.note(told(f"{i:026d}", 2))
    await digests.once()
    assert len(box.letters[0][1]) < 512 * 1024
    (said,) = box.told()
    assert said.partly
    assert len(said.moved) == digest.RUNS
    assert said.events == 3 * digest.RUNS


# --- the console's side


def test_rows_of_a_digest_are_asked_for_again_and_new_runs_counted() -> None:
    view = RunsView()
    view.asking()
    view.snapshot(rows())
    here = view.order[0]
    assert view.digested(["X" * 26], [here, "Y" * 26]) == [here]
    assert list(view.new) == ["X" * 26]
    query = parse("task:a")
    view.interest = lambda body: possible(query, body)
    view.new.clear()
    assert view.digested(["Z" * 26], []) == []
    assert not view.new, "whether it belongs to a filtered list only the engine knows"


async def test_the_list_says_that_it_hears_digests() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.feed is not None
        screen.feed.digest, screen.feed.rate = True, 6203.4
        screen.view.changed = True
        await show(app, pilot)
        assert "digest of 6,203 events/s" in text_of(app)


async def many(caller: Caller, count: int) -> list[str]:
    """So many runs, recorded; their ids."""
    items = [EnqueueItem(new_run_id(), "t", Raw(b"{}")) for _ in range(count)]
    await caller.send(*items)
    for item in items:
        await caller.word(item.run)
    return [item.run for item in items]


async def test_a_feed_changes_to_digests_and_back_and_misses_nothing(
    nats_server: NatsServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "TELL_FROM", 1.0)
    monkeypatch.setattr(listing, "HEAVY", 40.0)
    monkeypatch.setattr(listing, "LIGHT", 20.0)
    monkeypatch.setattr(listing, "CALM", 1.0)
    async with (
        running_engine(config_for(nats_server.url, database)),
        calling(nats_server.url) as caller,
    ):
        await caller.deploy(TaskSpec("t"))  # no agent: they stay queued
        link, view = Link(settings_for(nats_server.url)), RunsView()
        feed = RunsFeed(link, view, lambda: None)
        heard: list[str] = []

        async def hear(msg: Msg) -> None:
            heard.append(msg.subject)

        await caller.nc.subscribe(subjects.beat_runs("default"), cb=hear)
        tasks = [asyncio.ensure_future(link.run()), asyncio.ensure_future(feed.run())]
        try:
            await until(lambda: not feed.loading, 20)
            every = list[str]()
            while not feed.digest:
                every += await many(caller, 30)
            assert heard
            every += await many(caller, 5)
            await until(lambda: set(every) <= set(view.new) | set(view.rows), 20)
            feed.ask()
            await until(lambda: set(every[-5:]) <= set(view.rows), 20)
            last = every[-1]
            await caller.api("cancel", RunAsk(last))
            await until(lambda: view.rows[last].status == "cancelled", 20)
            await until(lambda: not feed.digest, 20)
            await caller.api("cancel", RunAsk(every[-2]))
            await until(lambda: view.rows[every[-2]].status == "cancelled", 20)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def test_the_body_is_what_it_was() -> None:
    body = encode(RunsDigest("e", NOW, 6000.5, 1500, ["A"], ["B"], partly=True))
    assert decode(RUNS_DIGEST, body).moved == ["B"]
