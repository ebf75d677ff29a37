"""How much is done for a paint: counted, for no clock is to be trusted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import structs

from headway.wire.events import LogChunk
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from support.consoles import NOW, RUN, console, open_run, rows, show
from support.screens import text_of

if TYPE_CHECKING:
    from textual.screen import Screen

    from headway.wire.runs import RunRow


def layouts(screen: Screen[Any]) -> list[object]:
    """Grows with every layout of the screen."""
    found: list[object] = []
    screen.screen_layout_refresh_signal.subscribe(screen, found.append, immediate=True)
    return found


async def test_lines_that_pour_in_are_painted_without_a_layout() -> None:
    async with console() as (app, pilot):
        screen = await open_run(app, pilot)
        assert isinstance(screen, RunScreen)
        first = 2  # after the one line of attempt 3
        many = [f"line {n}" for n in range(500)]
        screen.logs.store.add(3, LogChunk(first, many, NOW))
        screen.logs.touch()
        await show(app, pilot)
        counted = layouts(screen)
        for at in range(1, 9):
            chunk = LogChunk(first + 500 * at, many, NOW)
            screen.logs.store.add(3, chunk)
            screen.logs.touch()
            await show(app, pilot)
        await show(app, pilot)
        await show(app, pilot)  # the count is told at every fourth tick
        assert screen.logs.count() > 4500
        assert "line 499" in text_of(app)
        assert f"{screen.logs.store.received:,} lines" in text_of(app)
        assert counted == []


async def test_letters_of_a_prompt_are_painted_without_a_layout() -> None:
    async with console() as (app, pilot):
        await pilot.press("colon")
        await pilot.pause()
        counted = layouts(app.screen)
        await pilot.press(*"theme")
        assert ": theme" in text_of(app)
        assert counted == []


async def test_what_is_longer_than_a_prompt_is_seen_at_its_end() -> None:
    async with console((80, 24)) as (app, pilot):
        await pilot.press("colon", *("x" * 100), *"end")
        await pilot.pause()
        assert "xxxend" in text_of(app)


async def test_a_row_that_comes_in_above_a_short_list_is_seen() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("j")
        newer = newest("01JD9K4W2M8QZ5V7N3XBTRFJ00")
        screen.view.snapshot([newer, *rows()])
        screen.view.changed = True
        await show(app, pilot)
        assert screen.table.scroll_y == 0
        assert newer.run[:14] in text_of(app)


def newest(run: str) -> RunRow:
    """A row above all others."""
    made = rows()[0]
    return structs.replace(made, run=run, created_at=NOW + timedelta(seconds=1))


async def test_the_clock_is_set_for_a_slow_link_and_nonsense_is_said() -> None:
    async with console() as (app, pilot):
        await pilot.press("colon", *"set clock=4", "enter")
        await pilot.pause()
        assert app.period == 1 / 4
        assert "4 paints a second" in text_of(app)
        for wrong in ("clock=0", "clock=", "clock=x", "mouse=4", "clock=99"):
            await pilot.press("colon", *f"set {wrong}", "enter")
            await pilot.pause()
            assert "not set: `:set clock=N`, 1 to 30" in text_of(app)
        assert app.period == 1 / 4


async def test_a_new_screens_panes_are_painted_at_the_first_tick_that_finds_them() -> None:
    """A tick may come before the screen is made: it must not stand blank for a second then."""
    async with console() as (app, pilot):
        screen = RunScreen(RUN, app.link)
        app.push_screen(screen)
        app.paint()
        await pilot.pause()
        assert screen.logs.is_mounted
        screen.logs.touch()
        had = screen.logs.paints
        app.paint()
        assert screen.logs.paints == had + 1
