"""Tags changed from the console: one run or many, typed in a sheet, seen at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headway.replays.plans import read as plan_of
from headway.tags import TAGS_LIMIT, Retag
from headway.wire.api import Done
from headway.wire.events import Event, RunEvents
from headway.wire.replays import JobRow, PlanStart
from headway.wire.steering import BulkAsk, BulkPage, TagAsk
from headway_tui.model.tagging import flags, present, read
from headway_tui.screens.runs import RunsScreen
from headway_tui.sheets import Decide
from support.consoles import NOW, RUN, console, rows, show
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from headway_tui.app import HeadwayApp


@pytest.mark.parametrize(
    ("text", "change", "flaw"),
    [
        ("+late -canary", Retag(("late",), ("canary",)), ""),
        ('  +a "+two words" +a -b=c ', Retag(("a", "two words"), ("b=c",)), ""),
        ("++a --b", Retag(("+a",), ("-b",)), ""),
        ("late", Retag(), "'late': write +late to add it, -late to remove it"),
        ("", Retag(), "no tag to add or to remove"),
        ("+", Retag(("",)), "'' is no tag: 1 to 256 characters, not blank, without NUL"),
        ("+a -a", Retag(("a",), ("a",)), "'a' is to be added and to be removed: one of them"),
        ('+"a', Retag(), "a quote is left open"),
        ("''", Retag(), "'': write + to add it, - to remove it"),
    ],
)
def test_what_is_typed_is_read_or_its_flaw_is_said(text: str, change: Retag, flaw: str) -> None:
    assert read(text) == (change, flaw)


def test_a_change_is_written_as_it_is_read() -> None:
    change = Retag(("a", "two words", "it's"), ("-b",))
    assert read(str(change)) == (change, "")
    assert flags(change) == [
        "--add", "a", "--add", "two words", "--add", "it's", "--remove", "-b",
    ]  # fmt: skip
    many = Retag(tuple(f"t{k}" for k in range(TAGS_LIMIT + 1)))
    assert read(str(many))[1] == f"at most {TAGS_LIMIT} tags at once"


def test_the_tags_of_several_runs_stand_in_a_line() -> None:
    assert present([]) == present([(), ()]) == "none"
    assert present([("b", "a")]) == "a  b"
    assert present([("a", "b"), ("b",), ("b", "c\x1b")]) == "b  a (1 of 3)  c\\x1b (1 of 3)"
    assert present([[f"t{k:02}" for k in range(30)]]).endswith("t23  and 6 more")


def answering(app: HeadwayApp, outcome: str = "ok", message: str = "") -> list[Any]:
    """An engine that does it; what it is asked."""
    link: Any = app.link
    ids = [r.run for r in rows()]

    def tag(ask: TagAsk) -> Done:
        return Done(ask.run, outcome, "running", message)

    def bulk(_: BulkAsk) -> BulkPage:
        return BulkPage(NOW, ids[:12])

    def start(ask: PlanStart) -> JobRow:
        return JobRow("rj_1", ask.sha256, "done", 12, NOW, succeeded=12)

    link.answers |= {"tag": tag, "bulk": bulk, "plan-start": start}
    return link.asked


async def test_the_run_under_the_cursor_is_tagged_and_its_row_changes_with_its_event() -> None:
    async with console() as (app, pilot):
        asked = answering(app)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("g", "g", "j", "t")
        await pilot.pause()
        text = text_of(app)
        assert "1 run on default" in text
        assert RUN in text
        assert "tags now:" in text
        await pilot.press(*"late", "enter")
        await pilot.pause()
        assert "write +late to add it" in text_of(app)
        await pilot.press(*"+late -demo")
        await pilot.pause()
        assert f"$ headway tag {RUN} --add late --remove demo" in text_of(app)
        await pilot.press("enter")
        await pilot.pause()
        await show(app, pilot)
        assert f"{RUN} tagged +late -demo" in text_of(app)
        (body,) = [b for verb, b in asked if verb == "tag"]
        assert body == TagAsk(RUN, ("late",), ("demo",))
        row = screen.view.rows[RUN]
        data = {"tags": ["late", "x"], "added": ["late"]}
        event = Event(row.n + 1, NOW, "tagged", row.epoch, actor="user:ana", data=data)
        screen.view.hear(RunEvents(RUN, "default", row.task, [event], row.queue))
        assert screen.view.rows[RUN].tags == ("late", "x")
        assert screen.view.rows[RUN].status == row.status


async def test_marked_runs_are_tagged_by_a_job_after_their_number_was_typed() -> None:
    async with console() as (app, pilot):
        asked = answering(app)
        await pilot.press("asterisk", "colon", *"tag +golden", "enter")
        await until(lambda: isinstance(app.screen, Decide), what="the sheet")
        await pilot.pause()
        text = text_of(app)
        assert "12 runs on default" in text
        assert "demo (" in text
        assert "type 12 to do it" in text
        await pilot.press("enter", "1", "2", "enter")
        await until(lambda: "plan-start" in {verb for verb, _ in asked}, what="the job")
        await show(app, pilot)
        assert "rj_1: 12 tagged" in text_of(app)
        (count,) = [b for verb, b in asked if verb == "bulk"]
        assert isinstance(count, BulkAsk)
        assert (count.verb, len(count.ids)) == ("tag", 13)
        (begun,) = [b for verb, b in asked if verb == "plan-start"]
        assert isinstance(begun, PlanStart)
        plan = plan_of(bytes(begun.plan))
        assert (plan.mode, plan.tags, plan.untag, len(plan.items)) == ("tag", ("golden",), (), 12)
        assert plan.name == "tag +golden marked runs"
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert not screen.marks


async def test_all_that_match_are_tagged_by_their_query() -> None:
    async with console() as (app, pilot):
        answering(app)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.feed is not None
        screen.set_filter("status:live")
        screen.feed.more = True
        await pilot.press("asterisk", "t")
        await until(lambda: isinstance(app.screen, Decide), what="the sheet")
        await pilot.press(*"-demo", "enter", "1", "2")
        await pilot.pause()
        text = text_of(app)
        assert "all that match  status:live" in text
        assert "$ headway tag --query status:live --remove demo" in text


async def test_a_refusal_is_said_and_escape_leaves_all_as_it_is() -> None:
    async with console() as (app, pilot):
        asked = answering(app, "refused", "the run would have 33 tags, at most 32: remove some")
        await pilot.press("t")
        await pilot.pause()
        await pilot.press("escape")
        await show(app, pilot)
        assert "left as it is" in text_of(app)
        assert "tag" not in {verb for verb, _ in asked}
        await pilot.press("colon", *"tag +a", "enter")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        await show(app, pilot)
        assert "not done: the run would have 33 tags" in text_of(app)
