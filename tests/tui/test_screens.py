"""Every screen in both sizes, cell by cell. `WRITE_GOLDEN=1` writes what is shown now."""

from __future__ import annotations

import time

import pytest

from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from support.consoles import RUN, console, open_run, show
from support.screens import SIZES, agreed, text_of


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


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


async def test_ascii_means_ascii() -> None:
    async with console((120, 40), ascii_only=True) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        boxes = str.maketrans(dict.fromkeys("╭╮╰╯─│▁▂▃▄▅▆▇", " "))
        assert text_of(app).replace("研究", "").translate(boxes).isascii()
        await open_run(app, pilot)
        assert text_of(app).translate(boxes).isascii()


@pytest.mark.parametrize("size", [(20, 5), (59, 15), (200, 50)], ids=str)
async def test_any_terminal_will_do(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        text_of(app)
        await open_run(app, pilot)
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
