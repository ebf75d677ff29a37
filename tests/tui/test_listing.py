"""The list's feed: pages of any size from both ends, other queries in between, new runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from headway.config import Settings
from headway.errors import NotReachable
from headway.query import parse
from headway.query.evaluate import matches
from headway.wire.events import Event, RunEvents
from headway.wire.runs import RunRow, RunsPage, RunsQuery
from headway_tui.listing import RunsFeed
from headway_tui.model.rows import RunsView
from support.consoles import StillLink
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run_id(number: int) -> str:
    return f"01JD9K4W2M8QZ5V7N3XB{number:06d}"


class Engine:
    """Answers `runs` as engines do: it looks at so many runs for one page, and no more."""

    def __init__(self, count: int, scan: int, page: int) -> None:
        ids = [run_id(i) for i in range(count)]
        self.rows = {run: RunRow(run, "even" if i % 2 == 0 else "odd", "queued", "q", T0, n=1)
                     for i, run in enumerate(ids)}  # fmt: skip
        self.scan, self.page = scan, page
        self.held: asyncio.Event | None = None
        self.down = False
        self.answered = 0

    def __call__(self, ask: RunsQuery) -> RunsPage:
        """A page."""
        if self.down:
            raise NotReachable("nobody answers")
        self.answered += 1
        query = parse(ask.query)
        oldest = ask.sort == "oldest"
        ids = sorted(self.rows, reverse=not oldest)
        if ask.ids:
            ids = [i for i in ids if i in ask.ids]
        left = [i for i in ids if not ask.after or (i > ask.after if oldest else i < ask.after)]
        seen = left[: self.scan]
        found = [i for i in seen if matches(query, self.rows[i], T0)]
        shown = found[: min(self.page, ask.n)]
        cut = len(shown) < len(found)
        more = cut or len(left) > len(seen)
        total = sum(matches(query, row, T0) for row in self.rows.values())
        return RunsPage([self.rows[i] for i in shown], T0, more,
                        next=(shown[-1] if cut else seen[-1]) if more else "",
                        total=total if ask.total else None)  # fmt: skip


class _Connection:
    is_closed = True


class _Client:
    namespace, connection = "default", _Connection()


class HeardLink(StillLink):
    """Events come from the test."""

    async def hear(self, subject: str, on_message: Any) -> Any:
        """Nobody publishes."""
        return None


@asynccontextmanager
async def following(engine: Any) -> AsyncGenerator[tuple[RunsFeed, RunsView]]:
    link: Any = HeardLink(Settings())
    link.connected, link.lives, link.client = True, 1, _Client()
    link.answers["runs"] = engine
    view = RunsView()
    feed = RunsFeed(link, view, lambda: None)
    task = asyncio.create_task(feed.run())
    try:
        yield feed, view
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def expected(engine: Engine, text: str = "") -> list[str]:
    query = parse(text)
    rows = engine.rows
    return [i for i in sorted(rows, reverse=True) if matches(query, rows[i], T0)]


@pytest.mark.parametrize(("scan", "page"), [(1, 5), (7, 3), (50, 200), (1000, 10)])
async def test_pages_may_be_short_or_empty_and_nothing_is_left_out(scan: int, page: int) -> None:
    engine = Engine(100, scan, page)
    async with following(engine) as (feed, view):
        feed.ask("task:even")
        feed.want(1000)
        await until(lambda: not feed.loading and not feed.more, what="all of it")
        assert view.order == expected(engine, "task:even")
        assert feed.total == 50


async def test_only_what_is_wanted_is_read() -> None:
    engine = Engine(5000, 2500, 200)
    async with following(engine) as (feed, view):
        await until(lambda: not feed.loading, what="the first page")
        await until(lambda: len(view.order) >= 100, what="what is on screen")
        assert engine.answered == 1
        feed.want(450)
        await until(lambda: len(view.order) >= 450, what="what the reader came to")
        assert engine.answered == 3


@pytest.mark.parametrize(("scan", "page"), [(3, 5), (7, 3), (1000, 40)])
async def test_the_end_is_read_from_the_end_and_both_parts_meet(scan: int, page: int) -> None:
    engine = Engine(1000, scan, page)
    async with following(engine) as (feed, view):
        feed.ask("task:odd")
        await until(lambda: not feed.loading, what="the first page")
        feed.want(20)
        feed.want_bottom(20)
        await until(lambda: len(view.bottom) >= 20 or not feed.more, what="the end")
        assert view.bottom == expected(engine, "task:odd")[-len(view.bottom) :]
        assert view.at(view.count() - 1) is engine.rows[run_id(1)]
        assert view.id_at(len(view.order)) == ""
        assert view.index_of(run_id(1)) == view.count() - 1
        feed.want(9000)
        feed.want_bottom(9000)
        await until(lambda: not feed.more, what="both met")
        assert view.order == expected(engine, "task:odd")
        assert view.bottom == []
        assert [view.index_of(i) for i in view.order] == list(range(500))


async def test_another_query_drops_what_was_asked_before() -> None:
    engine = Engine(40, 1, 5)
    async with following(engine) as (feed, view):
        feed.ask("task:nothing")
        feed.want(1000)
        await until(lambda: bool(feed.looked), what="it looks further", every=0)
        feed.ask("task:even")
        feed.want(1000)
        await until(lambda: not feed.loading and not feed.more, what="the other one")
        assert view.order == expected(engine, "task:even")


async def test_an_engine_that_is_away_is_asked_again() -> None:
    engine = Engine(3, 10, 10)
    engine.down = True
    async with following(engine) as (feed, view):
        await until(lambda: bool(feed.trouble), what="it says so")
        assert feed.loading
        engine.down = False
        feed.ask()
        await until(lambda: not feed.loading, what="the answer")
        assert feed.trouble == ""
        assert len(view.order) == 3


async def test_a_run_that_comes_to_match_is_new_and_others_are_not() -> None:
    engine = Engine(10, 100, 100)
    async with following(engine) as (feed, view):
        feed.ask("task:even status:queued")
        await until(lambda: not feed.loading, what="the list")
        for number in (20, 21, 22):
            task = "even" if number % 2 == 0 else "odd"
            state = "failed" if number == 22 else "queued"
            engine.rows[run_id(number)] = RunRow(run_id(number), task, state, "q", T0, n=1)
            event = Event(1, T0, "queued", target="QUEUED")
            view.hear(RunEvents(run_id(number), "default", task, [event], "q"))
        await until(lambda: not view.maybe, what="asked")
        assert list(view.new) == [run_id(20)]
        assert run_id(20) not in view.order
