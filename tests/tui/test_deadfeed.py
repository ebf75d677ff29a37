"""The feed of dead letters: joined late without a hole, asked again after an event."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from headway.errors import NotReachable
from headway.wire import encode
from headway.wire.events import Event, RunEvents
from headway.wire.runs import RunRow, RunsPage, RunsQuery
from headway.wire.steering import DeadAsk, DeadPage
from headway_tui import deadfeed
from headway_tui.deadfeed import DeadFeed
from headway_tui.model.dead import DeadView
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "01JD9K4W2M8QZ5V7N3XBTRFHCA"


class World:
    """An engine behind a link: what it knows, and what it was asked."""

    def __init__(self) -> None:
        self.connected, self.lives, self.changed = True, 1, asyncio.Event()
        connection = SimpleNamespace(is_closed=False)
        self.client = SimpleNamespace(namespace="default", connection=connection)
        self.total = 0
        self.rows: dict[str, RunRow] = {}
        self.asked: list[Any] = []
        self.trouble = 0
        self.before_answer: Callable[[], None] | None = None
        self._heard: Callable[[Any], None] = lambda _: None

    async def hear(self, subject: str, on_message: Callable[[Any], None]) -> Any:
        """Subscribe."""
        self._heard = on_message

        async def unsubscribe() -> None: ...

        return SimpleNamespace(unsubscribe=unsubscribe)

    def tell(self, run: str, n: int, kind: str, target: str = "") -> None:
        """Publish an event."""
        body = RunEvents(run, "default", "t", [Event(n, NOW, kind, target=target)])
        self._heard(SimpleNamespace(data=encode(body)))

    async def ask(self, verb: str, body: Any, kind: Any) -> Any:
        """Answer what is true when it is asked, and let the world go on before that arrives."""
        self.asked.append(body)
        if self.trouble:
            self.trouble -= 1
            raise NotReachable("no answer")
        if isinstance(body, DeadAsk):
            answer: Any = DeadPage([], NOW, self.total)
        else:
            assert isinstance(body, RunsQuery)
            answer = RunsPage(
                [r for r in self.rows.values()
                 if (r.run in body.ids if body.ids else r.status == "review")], NOW
            )  # fmt: skip
        if self.before_answer is not None:
            hook, self.before_answer = self.before_answer, None
            hook()
        return answer


def row(run: str, n: int, status: str = "review") -> RunRow:
    return RunRow(run, "t", status, "default", NOW, n=n)


@asynccontextmanager
async def followed(world: World) -> AsyncGenerator[DeadView]:
    """A view that a feed keeps true."""
    view = DeadView()
    link: Any = world
    feed = DeadFeed(link, view, lambda: None)
    task = asyncio.get_running_loop().create_task(feed.run())
    try:
        await until(lambda: not feed.loading, what="first answers")
        yield view
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadfeed, "PAUSE", 0.0)
    monkeypatch.setattr(deadfeed, "AGAIN", 0.01)


def total(view: DeadView) -> int:
    return view.page.total if view.page is not None else -1


async def test_what_happens_while_the_first_answer_is_on_its_way_is_not_missed() -> None:
    world = World()

    def meanwhile() -> None:
        world.total, world.rows[RUN] = 1, row(RUN, 4)
        world.tell("other", 3, "failed", "FAILED")
        world.tell(RUN, 4, "review", "REVIEW")

    world.before_answer = meanwhile
    async with followed(world) as view:
        await until(lambda: (total(view), view.order) == (1, [RUN]), what="both lists are true")


async def test_without_events_nothing_is_asked_and_a_storm_is_a_few_requests() -> None:
    world = World()
    async with followed(world) as view:
        for _ in range(20):
            await asyncio.sleep(0)
        asked = len(world.asked)
        for n in range(500):
            world.tell(f"run-{n}", 3, "failed", "FAILED")
        world.total = 500
        await until(lambda: total(view) == 500, what="the sums")
        assert len(world.asked) <= asked + 2
        world.tell("run-1", 1, "queued", "QUEUED")
        assert not view.stale
        assert not view.wanted


async def test_a_request_that_fails_is_made_again() -> None:
    world = World()
    async with followed(world) as view:
        world.trouble, world.total = 3, 7
        world.tell("a", 2, "timed_out", "TIMED_OUT")
        await until(lambda: total(view) == 7, what="the sums")


async def test_after_a_reconnect_everything_is_read_anew() -> None:
    world = World()
    world.rows[RUN] = row(RUN, 3)
    async with followed(world) as view:
        assert view.order == [RUN]
        # Nothing of this was heard.
        world.rows[RUN], world.total = row(RUN, 9, "queued"), 2
        world.lives = 2
        await until(lambda: (view.order, total(view)) == ([], 2), what="what is true now")


async def test_a_review_that_was_decided_or_removed_leaves_the_list() -> None:
    world = World()
    world.rows = {RUN: row(RUN, 3), "gone": row("gone", 3)}
    async with followed(world) as view:
        assert len(view.order) == 2
        world.rows = {RUN: row(RUN, 5, "queued")}
        world.tell(RUN, 5, "resumed", "QUEUED")
        world.tell("gone", 4, "exited")
        await until(lambda: view.order == [], what="an empty list")
