"""The mouse does what keys do: screens in the header, breadcrumbs, tabs, the keys at the bottom."""

from __future__ import annotations

from typing import Any

import pytest

from headway_tui.screens.dead import DeadScreen
from headway_tui.screens.queues import QueuesScreen
from headway_tui.screens.replay import ReplayScreen
from headway_tui.screens.runs import RunsScreen
from support.consoles import console, open_run, show
from support.screens import text_of

SIZES = [(120, 40), (80, 24)]


async def click(app: Any, pilot: Any, text: str, step: int = 1) -> None:
    """On the first letter of a text, where the screen has it first (1) or last (-1)."""
    lines = text_of(app).splitlines()
    y = next(i for i in range(len(lines))[::step] if text in lines[i])
    await pilot.click(offset=(lines[y].index(text), y))
    await show(app, pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_screens_are_opened_by_their_digits_and_names(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        for text, kind in (("2Queu", QueuesScreen), ("Dead", DeadScreen), ("1Runs", RunsScreen),
                           ("Repl", ReplayScreen)):  # fmt: skip
            await click(app, pilot, text)
            assert isinstance(app.screen, kind)


async def test_a_breadcrumb_leads_back_to_what_it_names() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        header = text_of(app).splitlines()[0]
        await pilot.click(offset=(header.index("> 01"), 0))
        assert app.screen is run, "only what lies above is somewhere else"
        await click(app, pilot, "Runs >")
        assert isinstance(app.screen, RunsScreen)


@pytest.mark.parametrize("size", SIZES)
async def test_a_key_at_the_bottom_is_as_good_as_pressed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        await click(app, pilot, "space mark", -1)
        assert "1 marked" in text_of(app)
        await click(app, pilot, "enter open", -1)
        assert not isinstance(app.screen, RunsScreen)
        await show(app, pilot)
        await click(app, pilot, "esc back", -1)
        assert isinstance(app.screen, RunsScreen)
        await click(app, pilot, "cancel…", -1)
        assert "Cancel" in text_of(app)
        assert not isinstance(app.screen, RunsScreen), "a sheet asks first, as for the key"


async def test_tabs_of_a_small_terminal_are_clicked() -> None:
    async with console((80, 24)) as (app, pilot):
        await click(app, pilot, "6Repl")
        replay = app.screen
        assert isinstance(replay, ReplayScreen)
        await click(app, pilot, "[2] Plan")
        assert app.focused is replay.plan
        await pilot.press("escape")
        await click(app, pilot, "4Dead")
        dead = app.screen
        assert isinstance(dead, DeadScreen)
        await click(app, pilot, "[reviews")
        assert app.focused is dead.reviews
        await click(app, pilot, "2Queu")
        queues = app.screen
        assert isinstance(queues, QueuesScreen)
        await click(app, pilot, " agents  ")
        assert app.focused is queues.agent_table
