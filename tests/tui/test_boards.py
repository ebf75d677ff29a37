"""Queues, agents and metrics: what their keys do."""

from __future__ import annotations

import time

import pytest

from headway.errors import NotReachable
from headway.wire.fleet import QueueAsk, QueueRow
from headway_tui import sending
from headway_tui.screens.runs import RunsScreen
from support.boards import open_metrics, open_queues
from support.consoles import StillLink, console, show
from support.screens import text_of
from support.wait import until


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("keys", "filter_"), [(["j"], "queue:default"), (["tab", "j"], "agent:edge-4")], ids=str
)
async def test_the_runs_of_a_queue_or_an_agent_are_the_list_with_a_filter(
    keys: list[str], filter_: str
) -> None:
    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press(*keys, "enter")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.filter_text == filter_


async def test_rows_are_sorted_and_the_window_is_changed() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        await pilot.press("o")
        await show(app, pilot)
        assert [line.name for line in screen.queue_lines] == ["agents", "slow", "gpu", "default"]
        metrics = await open_metrics(app, pilot)
        await pilot.press("w", "w")
        await show(app, pilot)
        assert metrics.window == 60
        assert "metrics  1m" in text_of(app)
        await pilot.press("colon", *"window 1h", "enter")
        assert metrics.window == 3600
        await pilot.press("colon", *"metrics 15m", "enter")
        await until(lambda: metrics.window == 900, 5, what="`:met 15m`, from here")
        await pilot.press("1", "colon", *"met 1m", "enter")
        await until(lambda: getattr(app.screen, "window", 0) == 60, 5, what="and from elsewhere")


async def test_a_switch_can_be_typed_with_its_name() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        await pilot.press("colon", *"drain edge-4", "enter")
        await pilot.pause()
        assert "$ headway agents drain edge-4" in text_of(app)
        await pilot.press("escape", "colon", *"pause nothing", "enter")
        await show(app, pilot)
        assert "no 'nothing': agents, default, gpu, slow" in text_of(app)
        assert screen.place == "agents"


async def test_to_go_on_needs_no_reason_and_what_was_not_answered_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "AGAIN", 0.0)
    asked: list[QueueAsk] = []

    def lost_once(ask: QueueAsk) -> QueueRow:
        asked.append(ask)
        if len(asked) == 1:
            raise NotReachable("no answer in 5 s")
        return QueueRow(ask.queue)

    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press("G", "s")
        await pilot.pause()
        text = text_of(app)
        assert "$ headway queue resume slow" in text
        assert "goes on: 14 runs" in " ".join(text.replace("│", " ").split())
        assert "reason" not in text
        await pilot.press("enter")
        await pilot.pause()
        await show(app, pilot)
        assert "not done: " in text_of(app)
        link = app.link
        assert isinstance(link, StillLink)
        link.answers["queue-set"] = lost_once
        await pilot.press("s", "enter")
        await until(lambda: "queue slow is open again" in text_of(app), 5, what="its answer")
        assert asked == [QueueAsk("slow", paused=False)] * 2


async def test_a_limit_has_to_be_a_number_before_it_is_sent() -> None:
    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press("L", *"x", "enter")
        await pilot.pause()
        assert "a whole number from 0 (no limit) to 1,000,000" in text_of(app)
        await pilot.press("backspace", *"40")
        await pilot.pause()
        assert "$ headway queue limit agents 40" in text_of(app)
        await pilot.press("escape")
        await show(app, pilot)
        assert "left as it is" in text_of(app)


async def test_what_may_be_old_is_dimmed_and_its_age_said() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        app.link.connected, app.link.since = False, screen.clock() - 12
        screen.queue_table.touch()
        await show(app, pilot)
        assert "as of 12.0s ago" in text_of(app)
        cells = screen.queue_table._fetch(0)  # pyright: ignore[reportPrivateUsage]
        assert cells is not None
        assert {cell.role for cell in cells[1:]} == {"muted"}
        await pilot.press("s")
        await show(app, pilot)
        assert "not done: there is no link to NATS" in text_of(app)


async def test_an_empty_screen_says_the_next_step() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        screen.queues.snapshot([])
        screen.agents.snapshot([])
        screen.queue_table.touch()
        await show(app, pilot)
        text = text_of(app)
        assert "no queue yet" in text
        assert "no agent is connected; 0 runs wait: `headway agent`" in text
        await pilot.press("s")
        await show(app, pilot)
        assert "no queue is meant" in text_of(app)
