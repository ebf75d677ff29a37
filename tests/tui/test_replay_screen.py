"""The replay console, cell by cell, and what its keys do without a server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from headway_tui.draftfile import draft_file, kept
from headway_tui.screens.replay import ReplayScreen
from headway_tui.screens.runs import RunsScreen
from support.consoles import console, show
from support.goldens import SIZES, agreed
from support.replay_facts import JOB, RUNS, a_draft, open_replay
from support.screens import text_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_console_looks_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        await open_replay(app, pilot)
        agreed("replay", size, app)
        for tab in "234":
            await pilot.press(tab)
            await show(app, pilot)
            if size[0] < 100:
                agreed(f"replay-{tab}", size, app)
        await pilot.press("J")
        await show(app, pilot)
        agreed("replay-jobs", size, app)


async def test_ascii_means_ascii_here_too() -> None:
    async with console((120, 40), ascii_only=True) as (app, pilot):
        await open_replay(app, pilot)
        boxes = str.maketrans(dict.fromkeys("╭╮╰╯─│▁▂▃▄▅▆▇", " "))
        assert text_of(app).translate(boxes).isascii()


@pytest.mark.parametrize("size", [(20, 5), (59, 15), (200, 50)], ids=str)
async def test_any_terminal_will_do(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        await open_replay(app, pilot)
        for tab in "1234":
            await pilot.press(tab)
            text_of(app)


async def test_a_bad_value_is_refused_and_the_draft_stays() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        before = screen.draft.script
        await pilot.press("1", "g", "g", "enter", *"x:y", "enter")
        await show(app, pilot)
        assert screen.draft.script is before
        assert "no field 'x'" in text_of(app)
        await pilot.press("j", "space")
        assert screen.draft.script.replay.mode != before.replay.mode
        assert screen.planned is None
        assert kept(draft_file("default")) == screen.draft


async def test_a_new_draft_leaves_the_one_before_on_disk() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("escape", "j", "r")
        fresh = app.pane_screen
        assert isinstance(fresh, ReplayScreen)
        assert len(fresh.draft.script.select.ids) == 1
        before = kept(draft_file("default").with_suffix(".before"))
        assert before is not None
        assert before.script == screen.draft.script


async def test_a_script_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "fix-429.replay.toml").write_text("theirs")
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("w")
        await show(app, pilot)
        assert "is there already" in text_of(app)
        await pilot.press("W", *["backspace"] * 30, *"mine", "enter")
        assert screen.draft.path == "mine.replay.toml"
        assert not screen.draft.dirty
        text = (tmp_path / "mine.replay.toml").read_text()
        assert text.startswith("# recorded by ana in the console")
        assert "sk-1" not in text
        await pilot.press("escape", "colon", *"replay mine", "enter")
        again = app.pane_screen
        assert isinstance(again, ReplayScreen)
        assert again is not screen
    assert (tmp_path / "fix-429.replay.toml").read_text() == "theirs"


async def test_failures_alone_are_shown_and_their_fork_opens() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("3", "E")
        await show(app, pilot)
        assert screen.chosen_runs()[0][1] == "failed"
        assert RUNS[0][4:16] not in text_of(app).split("compare:")[0]


async def test_read_only_starts_nothing() -> None:
    async with console(readonly=True) as (app, pilot):
        screen = await open_replay(app, pilot)
        for key in "SahX":
            await pilot.press(key)
            assert app.screen is screen


async def test_a_lost_link_says_so_and_keeps_the_draft() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        app.link.connected = False
        await pilot.press("D")
        await pilot.pause()
        await show(app, pilot)
        assert "there is no link to NATS" in text_of(app)
        assert (screen.draft.script, screen.draft.job) == (a_draft().script, JOB)


async def test_all_that_match_are_taken_by_the_query_and_some_by_their_ids() -> None:
    async with console() as (app, pilot):
        listed = app.screen
        assert isinstance(listed, RunsScreen)
        assert listed.feed is not None
        listed.filter_text, listed.feed.more = "status:failed", True
        await pilot.press("asterisk", "r")
        screen = app.pane_screen
        assert isinstance(screen, ReplayScreen)
        assert screen.draft.script.select.query == "status:failed"
        await pilot.press("escape", "u", "space", "space", "r")
        screen = app.pane_screen
        assert isinstance(screen, ReplayScreen)
        assert len(screen.draft.script.select.ids) == 2


async def test_two_marked_runs_are_compared() -> None:
    async with console() as (app, pilot):
        await pilot.press("d")
        await show(app, pilot)
        assert "mark two runs" in text_of(app)
        await pilot.press("space", "space", "d")
        await pilot.pause()
        await show(app, pilot)
        screen = app.pane_screen
        assert isinstance(screen, ReplayScreen)
        assert screen.focused is screen.sides
        assert "$ headway replay compare 01JD9K4W2M" in text_of(app)
