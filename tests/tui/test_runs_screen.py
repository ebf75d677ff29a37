"""The list of runs: its cursor, marks, filter, views, and the verbs on many runs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from headway.replays.plans import read
from headway.wire.replays import JobRow, PlanStart
from headway.wire.runs import RunAsk, RunDetail, RunsPage, RunsQuery
from headway.wire.steering import BulkAsk, BulkPage
from headway_tui.screens.replay import ReplayScreen
from headway_tui.screens.runs import RunsScreen
from support.consoles import NOW, RUN, console, rows, show
from support.screens import strips_of, text_of
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


async def test_rows_keep_their_place_and_keys_move_the_cursor() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("G")
        assert screen.table.cursor == 12
        await pilot.press("g", "g", "j")
        chosen = screen.chosen()
        assert chosen is not None
        assert chosen.run == RUN
        await pilot.press("space")
        assert screen.marks.runs == {RUN}
        await pilot.press("colon", *"mark-all", "enter")
        assert len(screen.marks) == 13


async def test_a_paint_between_a_key_and_its_message_moves_nothing_back() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("j")
        view = screen.view
        screen.table.do_down()  # its message is in the queue yet
        view.changed = True
        screen.settle()
        assert screen.table.cursor == 2
        new = replace(rows()[0], run="0" * 26)
        view.rows[new.run] = new
        view.order.insert(0, new.run)
        view.place = {run: k for k, run in enumerate(view.order)}
        view.changed = True
        screen.settle()
        assert screen.table.cursor == 3
        await pilot.pause()
        view.changed = True
        screen.settle()
        assert screen.table.cursor == 3


def matching(link: Any, count: int) -> None:
    """An engine that has so many runs for any bulk request, 5 on a page, and does every plan."""
    ids = [r.run for r in rows()]

    def bulk(ask: BulkAsk) -> BulkPage:
        begun = int(ask.after or 0)
        end = min(begun + 5, count)
        return BulkPage(NOW, ids[begun:end], str(end) if end < count else "")

    def start(ask: PlanStart) -> JobRow:
        plan = read(bytes(ask.plan))
        n = len(plan.items)
        return JobRow("rj_1", ask.sha256, "done", n, NOW, plan.name, succeeded=n)

    link.answers |= {"bulk": bulk, "plan-start": start}


async def test_many_runs_are_counted_by_the_engine_and_need_their_number_typed() -> None:
    async with console() as (app, pilot):
        link: Any = app.link
        matching(link, 12)
        await pilot.press("asterisk", "c")
        await pilot.pause()
        text = text_of(app)
        assert "12 runs on default" in text
        assert "type 12 to do it" in text
        assert "1 of those marked cannot be meant" in text
        await pilot.press("1", "3", "enter")
        await pilot.pause()
        assert "type 12, or esc" in text_of(app)
        await pilot.press("escape")
        await show(app, pilot)
        assert "left as it is" in text_of(app)
        assert "plan-start" not in {verb for verb, _ in link.asked}
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("1", "2", "enter")
        await pilot.pause()
        await show(app, pilot)
        assert "12 cancelled" in text_of(app)
        (begun,) = [b for verb, b in link.asked if verb == "plan-start"]
        plan = read(bytes(begun.plan))
        assert (plan.mode, plan.planned_at, plan.name) == ("cancel", NOW, "cancel marked runs")
        assert [i.run for i in plan.items] == sorted(r.run for r in rows()[:12])
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert not screen.marks


async def test_all_that_match_are_meant_by_their_query() -> None:
    async with console() as (app, pilot):
        link: Any = app.link
        matching(link, 9)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.feed is not None
        screen.set_filter("status:live")
        screen.feed.more = True
        await pilot.press("asterisk", "R")
        await pilot.pause()
        assert "all that match  status:live" in text_of(app)
        assert "$ headway resume --query status:live" in text_of(app)
        await pilot.press("enter")
        await pilot.pause()
        await show(app, pilot)
        assert "9 resumed" in text_of(app)
        await pilot.press("asterisk", "r")
        await show(app, pilot)
        screen_now = app.screen
        assert isinstance(screen_now, ReplayScreen)
        assert screen_now.draft.script.select.query == "status:live"


async def test_the_filter_follows_what_is_typed_and_escape_takes_it_back() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("slash", *"status:fai")
        await show(app, pilot)
        text = text_of(app)
        assert "failed 1" in text
        assert screen.filter_text == ""
        await pilot.press("tab")
        await pilot.pause(0.2)
        assert screen.filter.value == screen.filter_text == "status:failed"
        await pilot.press("escape")
        assert screen.filter_text == ""
        await pilot.press("slash", *"status:failed", "enter")
        assert screen.filter_text == "status:failed"
        await pilot.press("minus")
        assert screen.filter_text == ""
        await pilot.press("minus")
        assert screen.filter_text == "status:failed"


async def test_a_flaw_is_underlined_where_it_is() -> None:
    async with console() as (app, pilot):
        await pilot.press("slash", *"task:x status:fail since:2h")
        await show(app, pilot)
        underlined = [s.text for strip in strips_of(app) for s in strip
                      if s.style and s.style.underline]  # fmt: skip
        assert "".join(underlined) == "fail"
        assert "did you mean failed?" in text_of(app)


async def test_same_error_facets_and_saved_views_are_filters(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "console.json"
    async with console(memory=file) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("j", "E")
        assert screen.filter_text == 'error:"RateLimitError: "'
        await pilot.press("colon", *"view save noisy", "enter")
        await pilot.press("colon", *"runs *", "enter")
        assert screen.filter_text == ""
        await pilot.press("f", "j", "enter")
        await pilot.pause()
        assert screen.filter_text.startswith("status:")
        await pilot.press("colon", *"view no", "tab", "enter")
        assert screen.filter_text == 'error:"RateLimitError: "'
    async with console(memory=file) as (app, pilot):
        assert app.memory.views["noisy"].query == 'error:"RateLimitError: "'
        await pilot.press("colon", "up", "enter")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.filter_text == 'error:"RateLimitError: "'
        await pilot.press("colon", *"view drop noisy", "enter")
        assert not app.memory.views


async def test_a_broken_file_of_views_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "console.json"
    file.write_text("{")
    async with console(memory=file) as (app, pilot):
        await pilot.press("colon", *"view save x", "enter")
        await show(app, pilot)
        assert "cannot be read" in text_of(app)
    assert file.read_text() == "{"


async def test_a_range_is_marked_from_where_it_began() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("j", "V", "j", "j", "k", "V", "G", "space")
        order = screen.view.order
        assert screen.marks.runs == {order[1], order[2], order[-1]}
        await pilot.press("u")
        assert not screen.marks


async def test_the_preview_goes_beside_the_list_where_there_is_room() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("P")
        await show(app, pilot)
        assert screen.box.region.x > screen.table.region.x
        text_of(app)
        await pilot.press("p")
        assert not screen.box.display
    async with console((80, 24)) as (app, pilot):
        await pilot.press("P")
        await show(app, pilot)
        assert "needs 100 columns" in text_of(app)


async def test_why_a_run_is_where_it_is_is_told_anew_when_it_has_moved() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        link: Any = app.link

        def detail(ask: RunAsk) -> RunDetail:
            row = screen.view.rows[ask.run]
            return RunDetail(row, why=f"it is {row.status} for a reason")

        async def told(status: str) -> bool:
            await show(app, pilot)
            return f"it is {status} for a reason" in text_of(app)

        link.answers["run"] = detail
        await pilot.press("G", "g", "g")  # a reader comes to the first one
        await until(lambda: told("running"), 10)
        row = screen.chosen()
        assert row is not None
        del link.answers["run"]  # nobody says it at once
        screen.view.rows[row.run] = replace(row, status="waiting", n=row.n + 1)
        await show(app, pilot)
        assert "for a reason" not in text_of(app), "it was running for it"
        link.answers["run"] = detail
        screen.view.rows[row.run] = replace(row, status="review", n=row.n + 2)
        await until(lambda: told("review"), 10)


async def test_an_empty_list_says_the_next_step() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        link: Any = app.link
        assert isinstance(screen, RunsScreen)
        assert screen.feed is not None

        def answer(ask: RunsQuery) -> RunsPage:
            return RunsPage([], NOW, total=211 if ask.query == "status:failed" else 0)

        link.answers["runs"] = answer
        screen.set_filter("status:failed since:2h")
        screen.view.snapshot([])
        screen.feed.loading, screen.feed.more, screen.feed.answers = False, False, 1
        await show(app, pilot)
        await pilot.pause()
        await show(app, pilot)
        assert "no run matches; nearest: drop since:2h: 211 runs" in text_of(app)
        screen.set_filter("")
        screen.feed.loading = False
        await show(app, pilot)
        assert "no run has been queued yet: `headway run TASK`" in text_of(app)


async def test_a_bad_filter_keeps_the_list_and_says_what_was_expected() -> None:
    async with console() as (app, pilot):
        await pilot.press("slash", *"status:xail", "enter")
        await show(app, pilot)
        text = text_of(app)
        assert "no status 'xail'" in text
        assert RUN[:14] in text


async def test_rows_are_exported_and_a_bad_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    async with console() as (app, pilot):
        await pilot.press("j", "space", "colon", *f"export {file}", "enter")
        assert [json.loads(line)["run"] for line in file.read_text().splitlines()] == [RUN]
        await pilot.press("u", "colon", *f"export {file}", "enter")
        assert len(file.read_text().splitlines()) == 13
        await pilot.press("colon", *f"export {tmp_path}/no/x", "enter")
        await show(app, pilot)
        assert "was not written: No such file" in text_of(app)
