"""Every screen in both sizes, cell by cell. `WRITE_GOLDEN=1` writes what is shown now."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from headway_tui.screens.queues import QueuesScreen
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from support.boards import open_metrics, open_queues
from support.consoles import RUN, console, open_run, show
from support.screens import text_of

GOLDEN = Path(__file__).with_name("golden")
SIZES = [(120, 40), (80, 24)]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def agreed(name: str, size: tuple[int, int], text: str) -> None:
    file = GOLDEN / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_screens_look_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        agreed("runs", size, text_of(app))
        await pilot.press("r")
        await pilot.pause()
        agreed("sheet", size, text_of(app))
        await pilot.press("escape")
        await open_run(app, pilot)
        agreed("run", size, text_of(app))
        await pilot.press("question_mark")
        await pilot.pause()
        agreed("help", size, text_of(app))


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_queues_agents_and_metrics_look_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        await open_queues(app, pilot)
        agreed("queues", size, text_of(app))
        await pilot.press("s", *"bill")
        await pilot.pause()
        agreed("pause", size, text_of(app))
        await pilot.press("escape", "tab")
        await show(app, pilot)
        agreed("agents", size, text_of(app))
        await pilot.press("l")
        await pilot.pause()
        agreed("agent", size, text_of(app))
        await pilot.press("escape")
        await open_metrics(app, pilot)
        agreed("metrics", size, text_of(app))


async def test_ascii_means_ascii() -> None:
    async with console((120, 40), ascii_only=True) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        boxes = str.maketrans(dict.fromkeys("╭╮╰╯─│▁▂▃▄▅▆▇", " "))
        assert text_of(app).replace("研究", "").translate(boxes).isascii()
        await open_run(app, pilot)
        assert text_of(app).translate(boxes).isascii()
        corners = str.maketrans(dict.fromkeys("╭╮╰╯─│", " "))
        await open_queues(app, pilot)
        assert text_of(app).translate(corners).isascii()
        await open_metrics(app, pilot)
        assert text_of(app).translate(corners).isascii()


@pytest.mark.parametrize("size", [(20, 5), (59, 15), (200, 50)], ids=str)
async def test_any_terminal_will_do(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        text_of(app)
        await open_run(app, pilot)
        text_of(app)
        await open_queues(app, pilot)
        text_of(app)
        await open_metrics(app, pilot)
        text_of(app)


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
        assert screen.marks == {RUN}
        await pilot.press("colon", *"mark-all", "enter")
        assert len(screen.marks) == 13


async def test_many_runs_need_their_number_typed() -> None:
    async with console() as (app, pilot):
        await pilot.press("asterisk", "c")
        await pilot.pause()
        assert "type 13 and enter" in text_of(app)
        await pilot.press("1", "2", "enter")
        await pilot.pause()
        await show(app, pilot)
        assert "left as it is" in text_of(app)


async def test_read_only_takes_the_writes_away() -> None:
    async with console(readonly=True) as (app, pilot):
        await pilot.press("c")
        await show(app, pilot)
        text = text_of(app)
        assert "not done: this console is read-only" in text
        assert "cancel" not in text.splitlines()[-2]


async def test_a_bad_filter_keeps_the_list_and_says_what_was_expected() -> None:
    async with console() as (app, pilot):
        await pilot.press("slash", *"status:fail", "enter")
        await show(app, pilot)
        text = text_of(app)
        assert "no status 'fail'" in text
        assert RUN[:14] in text


async def test_output_is_searched_and_its_failures_found() -> None:
    async with console() as (app, pilot):
        screen = await open_run(app, pilot)
        assert isinstance(screen, RunScreen)
        await pilot.press("slash", *"/4\\d9/", "enter")
        line = screen.logs.store.line(screen.logs.hit)
        assert line is not None
        assert line.text.startswith("ERROR llm 429")
        await pilot.press("shift+tab", "n")
        node = screen.waterfall.chosen()
        assert node is not None
        assert node.bad


async def test_walking_through_checkpoints_shows_what_changed() -> None:
    async with console() as (app, pilot):
        screen = await open_run(app, pilot)
        assert screen.number == 2
        assert [r.sign + r.key for r in screen.state.rows] == [" topic", "~i", "~messages", "+[1]"]
        await pilot.press("left_square_bracket")
        await pilot.pause(0.1)
        assert screen.number == 1


async def test_keys_go_between_the_screens_and_the_list_stays_below() -> None:
    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press("5")
        await pilot.press("2", "2")
        await pilot.pause()
        assert isinstance(app.screen, QueuesScreen)
        assert len(app.screen_stack) == 2
        await pilot.press("1")
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)


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
        assert (screen.filter_text, screen.flaw) == (filter_, "")


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


async def test_to_go_on_needs_no_reason() -> None:
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
        assert "not done: there is no connection to NATS" in text_of(app)


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
